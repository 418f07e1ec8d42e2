"""Whose turn it is: weighted fair queueing by the seconds that the keys have used of slots in the last hour.

The next request is of the key with the least used seconds for its weight. Priority and age order requests within a key.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store import usage

UNKNOWN_SECONDS = 60.0
"""A request is thought to take so long where none has ended in the last hour."""

_LEAST_SECONDS = 0.001
_ROUNDING = 1e-6

Place = tuple[int, int]
"""The priority and the number of a request, which order it among those of its key."""


@dataclass(frozen=True)
class Line:
    """What waits of one key for one endpoint and so many slots, prepared or not. `first` is the place of the first."""

    endpoint: str
    prepared: bool
    first: Place
    gpus: int = 1


@dataclass
class Share:
    """A key that waits. `seconds` is what it has used, each running request counted as long as one usually takes."""

    key_id: str
    weight: float
    running: int  # for all endpoints
    most: int  # that may run; 0 is without limit
    seconds: float
    usual: float  # seconds of a request
    lines: list[Line]

    @property
    def full(self) -> bool:
        return bool(self.most) and self.running >= self.most

    @property
    def first(self) -> Line:
        return min(self.lines, key=lambda line: line.first)

    @property
    def turn(self) -> tuple[float, int]:
        """Return what keys are sorted by: the least comes next."""
        return self.seconds / self.weight, self.first.first[1]

    def took_one(self) -> None:
        self.running += 1
        self.seconds += self.usual


def read(
    connection: Connection, max_running: int = 0, endpoints: Sequence[str] | None = None, but: Sequence[str] = ()
) -> list[Share]:
    """Return the keys that wait. `endpoints`: those that count, in seconds used too; None is all `but` these.

    max_running: the limit of keys that have none of their own; 0 is without limit.
    """
    now = time.time()
    first, last = usage.window(now)
    found = connection.execute(
        _READ[connection.dialect.name, endpoints is not None],
        {
            "named": list(but if endpoints is None else endpoints),
            "now": now,
            "window": usage.WINDOW_SECONDS,
            "first": first,
            "last": last,
        },
    ).all()
    past = {row.key_id: (row.used, row.ends) for row in found}
    ends = sum(each[1] for each in past.values())
    usual = sum(each[0] for each in past.values()) / ends if ends else UNKNOWN_SECONDS
    shares: dict[str, Share] = {}
    for row in found:
        share = shares.get(row.key_id)
        if share is None:
            mine = max(_LEAST_SECONDS, row.used / row.ends if row.ends else usual)
            share = shares[row.key_id] = Share(
                key_id=row.key_id,
                weight=row.weight,
                running=row.running,
                most=max_running if row.max_running is None else row.max_running,
                seconds=row.used + max(row.held, row.holding * mine),
                usual=mine,
                lines=[],
            )
        share.lines.append(Line(row.endpoint, bool(row.prepared), (row.priority, row.number), row.gpus))
    return list(shares.values())


def choose(shares: Iterable[Share], before: int = 0) -> Share | None:
    """Return whose turn it is when `before` others are choosing just now, None when nobody may run anything."""
    turns = [(share.turn, share.key_id, share) for share in shares if not share.full]
    if not turns:
        return None
    heapq.heapify(turns)
    for _ in range(before):
        share = turns[0][2]
        share.took_one()
        if share.full and len(turns) > 1:
            heapq.heappop(turns)
        else:
            heapq.heapreplace(turns, (share.turn, share.key_id, share))
    return turns[0][2]


def count_before(share: Share, index: int, others: Iterable[tuple[Share, int]]) -> int:
    """Return how many requests come before the one at `index` of its key's, if all take as long as is usual.

    others: the other keys, and how many wait of each.
    """
    begins = (share.seconds + index * share.usual) / share.weight
    before = index
    for other, waiting in others:
        turns = (begins * other.weight - other.seconds) / other.usual
        before += min(waiting, max(0, math.ceil(turns - _ROUNDING)))
    return before


# One line after the other is found by a jump through the index to its first request, so that the length of the lines
# costs nothing. States are written out, because a plan for any state could not use the indexes of one. SQLite knows no
# LATERAL, and would sort all requests if it were not told the index.
_POSTGRES_LINES = """
WITH RECURSIVE heads(key_id, endpoint, prepared, gpus, priority, number) AS (
  (SELECT r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number FROM requests r
    WHERE r.state = 'queued' ORDER BY r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number LIMIT 1)
  UNION ALL
  SELECT following.* FROM heads, LATERAL (
    SELECT r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number FROM requests r
    WHERE r.state = 'queued'
      AND (r.key_id, r.endpoint, r.prepared, r.gpus) > (heads.key_id, heads.endpoint, heads.prepared, heads.gpus)
    ORDER BY r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number LIMIT 1) following
),
"""
_SQLITE_LINES = """
WITH RECURSIVE numbers(number) AS (
  SELECT (SELECT r.number FROM requests r INDEXED BY requests_waiting WHERE r.state = 'queued'
    ORDER BY r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number LIMIT 1)
  UNION ALL
  SELECT coalesce(
    (SELECT r.number FROM requests r INDEXED BY requests_waiting
      WHERE r.state = 'queued' AND r.key_id = last.key_id AND r.endpoint = last.endpoint AND r.prepared = last.prepared
        AND r.gpus > last.gpus
      ORDER BY r.gpus, r.priority, r.number LIMIT 1),
    (SELECT r.number FROM requests r INDEXED BY requests_waiting
      WHERE r.state = 'queued' AND r.key_id = last.key_id AND r.endpoint = last.endpoint AND r.prepared > last.prepared
      ORDER BY r.prepared, r.gpus, r.priority, r.number LIMIT 1),
    (SELECT r.number FROM requests r INDEXED BY requests_waiting
      WHERE r.state = 'queued' AND r.key_id = last.key_id AND r.endpoint > last.endpoint
      ORDER BY r.endpoint, r.prepared, r.gpus, r.priority, r.number LIMIT 1),
    (SELECT r.number FROM requests r INDEXED BY requests_waiting WHERE r.state = 'queued' AND r.key_id > last.key_id
      ORDER BY r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number LIMIT 1))
  FROM numbers JOIN requests last ON last.number = numbers.number
),
heads AS (
  SELECT r.key_id, r.endpoint, r.prepared, r.gpus, r.priority, r.number
  FROM numbers JOIN requests r ON r.number = numbers.number
),
"""
_SHARES = """
busy(key_id, running, holding, held) AS (
  SELECT key_id, count(*), sum(CASE WHEN endpoint {counted} THEN 1 ELSE 0 END), sum(
    CASE WHEN endpoint {counted} AND claimed_at <= :now
    THEN gpus * CASE WHEN claimed_at < :now - :window THEN :window ELSE :now - claimed_at END ELSE 0.0 END)
  FROM requests {held} WHERE state = 'running' AND owner > '' GROUP BY key_id
),
past(key_id, used, ends) AS (
  SELECT key_id, sum(seconds), sum(ends) FROM usage
  WHERE stretch BETWEEN :first AND :last AND endpoint {counted} GROUP BY key_id
)
SELECT heads.key_id, heads.endpoint, heads.prepared, heads.gpus, heads.priority, heads.number,
  coalesce(busy.running, 0) AS running, coalesce(busy.holding, 0) AS holding, coalesce(busy.held, 0.0) AS held,
  coalesce(past.used, 0.0) AS used, coalesce(past.ends, 0) AS ends, coalesce(keys.weight, 1.0) AS weight,
  keys.max_running
FROM heads
LEFT JOIN busy ON busy.key_id = heads.key_id
LEFT JOIN past ON past.key_id = heads.key_id
LEFT JOIN keys ON keys.id = heads.key_id
WHERE heads.endpoint {counted}
"""


def _reading(database: str, counted: str) -> sa.TextClause:
    lines = {"sqlite": _SQLITE_LINES, "postgresql": _POSTGRES_LINES}[database]
    held = "INDEXED BY requests_held" if database == "sqlite" else ""
    text = sa.text(lines + _SHARES.format(counted=counted, held=held))
    return text.bindparams(sa.bindparam("named", expanding=True, type_=sa.String()))


_READ = {
    (database, named): _reading(database, "IN :named" if named else "NOT IN :named")
    for database in ("sqlite", "postgresql")
    for named in (False, True)
}
"""By database, and whether the endpoints are named that count."""
