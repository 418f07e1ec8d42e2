"""What a status needs of a request, for many requests with one query: never the input nor the result."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store import shares
from soundlora.server.store.database import Database, value_of
from soundlora.server.store.shares import Place, Share
from soundlora.server.store.tables import requests

_AT_A_TIME = 500
_ID = re.compile(r"[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class State:
    """Where a request stands."""

    id: str
    number: int
    priority: int
    endpoint: str
    key_id: str
    state: str  # queued, running, completed
    created_at: float
    started_at: float | None
    ended_at: float | None
    told: int  # grows with every line, point and file: these are as they were while this is
    cancel_asked: bool
    stop_asked: bool
    error: str | None
    error_type: str | None
    progress: dict[str, Any] | None  # of one that runs

    @property
    def place(self) -> Place:
        """Return what the requests of a key are sorted by."""
        return (self.priority, self.number)


def is_id(text: str) -> bool:
    """Return whether a request may have this id. Postgres refuses to look for any text, such as one with a NUL."""
    return _ID.fullmatch(text) is not None


def read_states(database: Database, ids: Sequence[str]) -> dict[str, State]:
    """Return states by id. Requests that don't exist are missing."""
    found: dict[str, State] = {}
    with database.read() as connection:
        for start in range(0, len(ids), _AT_A_TIME):
            statement = _STATES.where(requests.c.id.in_(ids[start : start + _AT_A_TIME]))
            for *row, progress in connection.execute(statement):
                value = value_of(progress)
                row.append(value if isinstance(value, dict) else None)
                state = State(*row)
                found[state.id] = state
    return found


class Queue:
    """All that waits, by key and in the order of each key, and whose turn it is."""

    def __init__(self, places: Mapping[str, list[Place]], found: Iterable[Share]) -> None:
        self.places = places
        self._shares = {share.key_id: share for share in found}

    def ahead(self, key_id: str, place: Place) -> int:
        """Return how many begin before this one. Beside other keys it is an estimate, as by `shares.count_before`."""
        mine = self.places.get(key_id, [])
        return self._before(key_id, bisect.bisect_left(mine, place))

    def in_turn(self) -> list[Place]:
        """Return all places, the next one first."""
        every = [(key_id, index, place) for key_id, mine in self.places.items() for index, place in enumerate(mine)]
        every.sort(key=lambda each: (self._before(each[0], each[1]), each[2][1]))
        return [place for _, _, place in every]

    def _before(self, key_id: str, index: int) -> int:
        return _estimate(key_id, index, self._shares, {key: len(mine) for key, mine in self.places.items()})


def read_queue(database: Database) -> Queue:
    """Return all that waits. The index alone answers it."""
    places: dict[str, list[Place]] = {}
    with database.read() as connection:
        for key_id, priority, number in _waiting(connection, "key_id, priority, number"):
            places.setdefault(key_id, []).append((priority, number))
        found = shares.read(connection) if len(places) > 1 else []
    for mine in places.values():
        mine.sort()  # the index has the lines of each endpoint
    return Queue(places, found)


def read_ahead(database: Database, states: Iterable[State]) -> dict[str, int]:
    """Return how many begin before each of a few requests, by id. The index is counted, which is quicker for few."""
    with database.read() as connection:
        counts = {key_id: count for key_id, count in _waiting(connection, "key_id, count(*)", "GROUP BY key_id")}
        found = {share.key_id: share for share in shares.read(connection)} if len(counts) > 1 else {}
        return {
            state.id: _estimate(state.key_id, count_ahead(connection, state.key_id, state.place), found, counts)
            for state in states
        }


def count_ahead(connection: Connection, key_id: str, place: Place) -> int:
    """Return how many of the same key wait before a request."""
    before = "AND key_id = :key_id AND (priority, number) < (:priority, :number)"
    mine = {"key_id": key_id, "priority": place[0], "number": place[1]}
    return int(_waiting(connection, "count(*)", before, mine).scalar_one())


def _waiting(connection: Connection, what: str, more: str = "", values: Mapping[str, object] | None = None) -> Any:
    """Select of all that waits, from the index alone. SQLite would take another one if it were not told."""
    by = "INDEXED BY requests_waiting" if connection.dialect.name == "sqlite" else ""
    return connection.execute(sa.text(f"SELECT {what} FROM requests {by} WHERE state = 'queued' {more}"), values or {})


def _estimate(key_id: str, index: int, found: Mapping[str, Share], counts: Mapping[str, int]) -> int:
    share = found.get(key_id)
    if share is None:  # there is no other key, or it has begun meanwhile
        return index
    others = [(other, counts[id]) for id, other in found.items() if id != key_id and id in counts]
    return shares.count_before(share, index, others)


@dataclass(frozen=True)
class Result:
    """What a result replays. `response` is JSON text, None when its payloads were deleted."""

    status_code: int
    response: str | None
    error_type: str | None
    units: int


def read_result(database: Database, id: str) -> Result | None:
    """Return the result of a completed request, else None."""
    columns = (requests.c.status_code, requests.c.response, requests.c.error_type, requests.c.units)
    with database.read() as connection:
        row = connection.execute(
            sa.select(*columns).where(requests.c.id == id, requests.c.state == "completed")
        ).one_or_none()
    return None if row is None else Result(*row)


_STATES = sa.select(
    *(requests.c[name] for name in State.__dataclass_fields__ if name != "progress"),
    sa.case((requests.c.state == "running", requests.c.progress)),
)
