"""Duties that one of many servers does for all. A row says when each is due, and who takes it moves that on."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from soundlora.server.store.database import Database
from soundlora.server.store.tables import duties

LEASE_SECONDS = 3600.0
"""Another server does a duty if this one has not said by then that it is done."""


def take(database: Database, name: str, now: float, every: float) -> bool:
    """Return whether this server is to do the duty now, which is due `every` so many seconds."""
    insert: Any = (sqlite if database.engine.dialect.name == "sqlite" else postgresql).insert(duties)
    # A time that lies too far ahead was written by a clock that was wrong.
    due = sa.or_(duties.c.due_at <= now, duties.c.due_at > now + max(every, LEASE_SECONDS))
    with database.write() as connection:
        connection.execute(insert.values(name=name, due_at=0.0).on_conflict_do_nothing())
        mine = sa.update(duties).where(duties.c.name == name, due).values(due_at=now + LEASE_SECONDS)
        return bool(connection.execute(mine).rowcount)


def done(database: Database, name: str, now: float, every: float) -> None:
    """Say that the duty is done, and due again in `every` seconds."""
    with database.write() as connection:
        connection.execute(sa.update(duties).where(duties.c.name == name).values(due_at=now + every))
