"""What a key may take of the server, and what it takes now: running, waiting, and units of a month."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from soundlora.server.settings import Settings
from soundlora.server.store import usage
from soundlora.server.store.database import Database
from soundlora.server.store.keys import Key
from soundlora.server.store.tables import QUEUED, RUNNING, ledger, requests
from soundlora.server.store.tables import usage as used


@dataclass(frozen=True)
class Limits:
    """Numbers of requests, and units a month; 0 is without limit. `weight` is that of its share of the slots."""

    max_running: int = 0
    max_waiting: int = 0
    budget: int = 0
    weight: float = 1.0


def limits_of(key: Key | None, settings: Settings) -> Limits:
    """Return the limits of a key, or of everybody together where there are no keys."""
    waiting = settings.max_queue_per_key
    if key is None:
        return Limits(settings.max_running_per_key, waiting, settings.budget_per_key)
    return Limits(
        max_running=settings.max_running_per_key if key.max_running is None else key.max_running,
        max_waiting=max(0, key.max_queue or waiting),
        budget=settings.budget_per_key if key.budget is None else key.budget,
        weight=key.weight,
    )


@dataclass(frozen=True)
class Taken:
    """What a key takes now. `units` were billed this month, and `asked_units` are those of what waits and runs."""

    running: int
    waiting: int
    units: int
    asked_units: int
    hour_seconds: float


def taken(database: Database, key_id: str, now: float | None = None) -> Taken:
    """Count what a key takes. The month is the calendar's, in UTC."""
    now = time.time() if now is None else now
    units = sa.cast(sa.func.coalesce(sa.func.sum(requests.c.asked_units), 0), sa.BigInteger)
    mine = requests.c.key_id == key_id
    seconds_held = sa.case(
        (requests.c.claimed_at > now, 0.0),
        (requests.c.claimed_at < now - usage.WINDOW_SECONDS, usage.WINDOW_SECONDS),
        else_=now - requests.c.claimed_at,
    )
    held = requests.c.gpus * seconds_held
    first, last = usage.window(now)
    hour = sa.select(sa.func.coalesce(sa.func.sum(used.c.seconds), 0.0)).where(
        used.c.key_id == key_id, used.c.stretch.between(first, last)
    )
    with database.read() as connection:
        waiting, of_waiting = connection.execute(sa.select(sa.func.count(), units).where(QUEUED, mine)).one()
        runs = sa.select(sa.func.count(), units, sa.func.coalesce(sa.func.sum(held), 0.0)).where(RUNNING, mine)
        # SQLite would read all that the key has ever had.
        runs = runs.with_hint(requests, "INDEXED BY requests_held", "sqlite")
        running, of_running, seconds = connection.execute(runs).one()
        return Taken(
            running=running,
            waiting=waiting,
            units=connection.execute(_billed(key_id, now)).scalar_one(),
            asked_units=of_waiting + of_running,
            hour_seconds=seconds + connection.execute(hour).scalar_one(),
        )


def _billed(key_id: str, now: float) -> sa.Select[Any]:
    month = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    units = sa.cast(sa.func.coalesce(sa.func.sum(ledger.c.units), 0), sa.BigInteger)
    return sa.select(units).where(ledger.c.key_id == key_id, ledger.c.at >= month)
