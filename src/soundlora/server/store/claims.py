"""A worker takes the next request: whose turn it is by `shares`, and of that key's line the first that is free.

A few workers choose at the same time on Postgres, and more of them wait in a line, which costs the database nothing:
all at once they would only pass over what the others hold. Each that chooses has a ticket, the number of those that
choose before it, and leaves so many turns to them; what another one has just taken is skipped. SQLite has one writer,
so nobody chooses at the same time.
"""

from __future__ import annotations

import random
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from soundlora.server.store import shares
from soundlora.server.store.database import Database
from soundlora.server.store.shares import Line
from soundlora.server.store.tables import QUEUED, RUNNING, requests

_KEY_LOCKS = 7710421
_TICKETS = 4
"""So many choose at a time."""


@dataclass(frozen=True)
class Room:
    """The slots of whoever takes a request: those that are `free`, and the `most` that it may give to one.

    waits: asked of a line whose turn it is, and which needs more slots than are free: whether these are kept for it.
    Else others pass it. least: requests of fewer slots are not taken.
    """

    free: int
    most: int
    waits: Callable[[Line], bool] = lambda line: False
    least: int = 1

    def takes(self, line: Line) -> bool:
        return self.least <= line.gpus <= self.most


def claim(
    database: Database,
    columns: Sequence[sa.ColumnElement[Any]],
    endpoints: Sequence[str] | None = None,
    but: Sequence[str] = (),
    *,
    prepared: bool = False,
    owner: str | None = None,
    max_running: int = 0,
    room: Room | None = None,
) -> Row[Any] | None:
    """Take the next request and return these columns of its row, or None when there is nothing to do.

    endpoints: those whose requests count; None is all `but` these. prepared: only requests whose data is prepared.
    owner: the token of the one who takes it; None makes one. max_running: as of `shares.read`. room: None takes
    requests of any number of slots.
    """
    # A ticket counts those who choose among the same requests.
    ticket = zlib.crc32(repr((endpoints, but, prepared)).encode()) >> 1
    tried: set[tuple[str, Line]] = set()
    while True:
        with database.write() as connection:
            before = _ticket(connection, ticket)
            found = shares.read(connection, max_running, endpoints, but)
            for share in found:
                share.lines = [
                    line
                    for line in share.lines
                    if (line.prepared or not prepared)
                    and (room is None or room.takes(line))
                    and (share.key_id, replace(line, first=(0, 0))) not in tried
                ]
            chosen = shares.choose([share for share in found if share.lines], before)
            if chosen is None:
                return None
            line = chosen.first
            fits = room is None or line.gpus <= room.free
            token = owner or str(uuid.uuid4())
            taken = _take(connection, columns, chosen.key_id, line, chosen.most, token) if fits else None
        if taken is not None:
            return taken
        if room is not None and not fits and room.waits(line):
            return None
        # Another node has the room for it, or others have taken all of this line meanwhile, or as much as may run.
        tried.add((chosen.key_id, replace(line, first=(0, 0))))


def _ticket(connection: Connection, line: int) -> int:
    """Return how many others are choosing now, once there is a ticket. It is held until the end of the transaction."""
    if connection.dialect.name == "sqlite":
        return 0
    free = connection.execute(_TICKET, {"line": line, "last": _TICKETS - 1}).scalar_one_or_none()
    if free is not None:
        return int(free)
    number = random.randrange(_TICKETS)
    connection.execute(_WAIT, {"line": line, "number": number})
    return number


def _take(
    connection: Connection, columns: Sequence[sa.ColumnElement[Any]], key_id: str, line: Line, most: int, owner: str
) -> Row[Any] | None:
    next_ = (
        sa.select(requests.c.number)
        .where(
            QUEUED,
            requests.c.key_id == key_id,
            requests.c.endpoint == line.endpoint,
            requests.c.prepared.is_(line.prepared),
            requests.c.gpus == line.gpus,
        )
        .order_by(requests.c.priority, requests.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    mine = [requests.c.number == next_.scalar_subquery(), QUEUED]
    if most:
        if connection.dialect.name != "sqlite":
            # Those who take of a key with a limit do it one by one. The next statement sees what was taken before.
            connection.execute(_KEY_LOCK, {"locks": _KEY_LOCKS, "key_id": key_id})
        running = sa.select(sa.func.count()).where(RUNNING, requests.c.key_id == key_id)
        mine.append(running.scalar_subquery() < most)
    now = time.time()
    return connection.execute(
        sa.update(requests)
        .where(*mine)
        .values(
            state="running",
            owner=owner,
            attempts=requests.c.attempts + 1,
            beat=requests.c.beat + 1,
            claimed_at=now,
            started_at=sa.func.coalesce(requests.c.started_at, now),
        )
        .returning(*columns)
    ).one_or_none()


_WAIT = sa.text("SELECT pg_advisory_xact_lock(:line, :number)")
_TICKET = sa.text(
    "SELECT number FROM generate_series(0, :last) AS number WHERE pg_try_advisory_xact_lock(:line, number) LIMIT 1"
)
_KEY_LOCK = sa.text("SELECT pg_advisory_xact_lock(:locks, hashtext(:key_id))")
