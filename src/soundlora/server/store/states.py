"""What a status needs of a request, for many requests with one query: never the input nor the result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store.database import Database, value_of
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
    def place(self) -> tuple[int, int]:
        """Return what the queue is sorted by."""
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


def read_queue(database: Database) -> list[tuple[int, int]]:
    """Return the places of all that wait, the next one first. The index alone answers it."""
    statement = sa.select(requests.c.priority, requests.c.number).where(requests.c.state == "queued")
    with database.read() as connection:
        rows = connection.execute(statement.order_by(requests.c.priority, requests.c.number))
        return [(row[0], row[1]) for row in rows]


def read_ahead(database: Database, states: Iterable[State]) -> dict[str, int]:
    """Return how many wait before each of a few requests, by id. The index is counted, which is quicker for few."""
    with database.read() as connection:
        return {state.id: count_ahead(connection, state.place) for state in states}


def count_ahead(connection: Connection, place: tuple[int, int]) -> int:
    mine = sa.tuple_(*(sa.literal(value) for value in place))
    statement = sa.select(sa.func.count()).where(
        requests.c.state == "queued", sa.tuple_(requests.c.priority, requests.c.number) < mine
    )
    return connection.execute(statement).scalar_one()


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
