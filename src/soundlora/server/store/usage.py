"""The time that requests have held a slot, by key, over the last hour. What is fair is counted by it.

A run is written down when it ends or is given back, in stretches of five minutes; what runs now is read from its own
row. Clocks may jump: nothing counts for more than an hour, and nothing that seems to lie in the future counts.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from soundlora.server.store.tables import usage

STRETCH_SECONDS = 300
WINDOW_SECONDS = 3600.0
"""So far back counts what a key has used."""


def window(now: float) -> tuple[int, int]:
    """Return the first and the last stretch of the hour that ends at `now`."""
    return int((now - WINDOW_SECONDS) // STRETCH_SECONDS) + 1, int(now // STRETCH_SECONDS)


def charge(
    connection: Connection,
    key_id: str,
    endpoint: str,
    claimed_at: float | None,
    now: float,
    *,
    ended: bool,
    slots: int = 1,
) -> None:
    """Write down that a request has held `slots` since `claimed_at`. `ended`: it has ended, and was not given back.

    It should be the last statement of its transaction, because other requests of the key wait for the same row.
    """
    if claimed_at is None:
        return
    began = min(now, max(claimed_at, now - WINDOW_SECONDS))
    rows = []
    last = int(now // STRETCH_SECONDS)
    # Rows are locked in order, so that nobody waits for each other.
    for stretch in range(int(began // STRETCH_SECONDS), last + 1):
        start = stretch * STRETCH_SECONDS
        seconds = slots * (min(now, start + STRETCH_SECONDS) - max(began, start))
        ends = int(ended and stretch == last)
        rows.append({"key_id": key_id, "stretch": stretch, "endpoint": endpoint, "seconds": seconds, "ends": ends})
    insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(usage)
    added = {name: usage.c[name] + insert.excluded[name] for name in ("seconds", "ends")}
    statement = insert.on_conflict_do_update(index_elements=["key_id", "stretch", "endpoint"], set_=added)
    for row in rows:
        connection.execute(statement, row)


def forget(connection: Connection, now: float) -> None:
    """Delete what no longer counts."""
    connection.execute(sa.delete(usage).where(usage.c.stretch < window(now)[0]))
