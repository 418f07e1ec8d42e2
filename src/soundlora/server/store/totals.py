"""The totals count all that was done and all that goes on now, for whoever watches the server."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store.database import Database, value_of
from soundlora.server.store.tables import QUEUED, RUNNING, deliveries, ledger, requests

BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""The bounds of a histogram in seconds of work. Longer runs are counted in none of them."""

_OVERLAP = 1000


@dataclass
class Totals:
    """Sums over the ledger since its first line, so that a restarted server goes on with the same counts.

    `ended` counts requests by (endpoint, status code, error type). `units`, `runs` and `seconds` are sums by endpoint;
    `runs` counts requests that were started. `within` counts runs by (endpoint, bound of BUCKETS).
    """

    database: Database
    ended: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    within: Counter[tuple[str, float]] = field(default_factory=Counter)
    _last: int = 0
    _recent: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self) -> None:
        """Count the lines that were added since the last call."""
        # On Postgres a transaction with a higher number may end before one with a lower number. The last lines are
        # therefore read again, and those that were counted are left out.
        statement = (
            sa.select(
                ledger.c.number,
                ledger.c.endpoint,
                ledger.c.units,
                requests.c.status_code,
                requests.c.error_type,
                requests.c.started_at,
                requests.c.ended_at,
            )
            .join(requests, requests.c.id == ledger.c.request_id)
            .where(ledger.c.number > self._last - _OVERLAP)
            .order_by(ledger.c.number)
        )
        with self._lock, self.database.read() as connection:
            if not self._last:
                self._sum_up(connection)
                statement = statement.where(ledger.c.number > self._last - _OVERLAP)
            for number, endpoint, units, status_code, error_type, started_at, ended_at in connection.execute(statement):
                if number in self._recent:
                    continue
                self._recent.add(number)
                self._last = max(self._last, number)
                self.ended[endpoint, status_code, error_type or ""] += 1
                self.units[endpoint] += units
                if started_at is None:
                    continue
                took = max(0.0, ended_at - started_at)
                self.runs[endpoint] += 1
                self.seconds[endpoint] = self.seconds.get(endpoint, 0.0) + took
                for bound in BUCKETS:
                    self.within[endpoint, bound] += took <= bound
            self._recent = {number for number in self._recent if number > self._last - _OVERLAP}

    def _sum_up(self, connection: Connection) -> None:
        """Let the database count all but the last lines, of which there may be millions."""
        last = connection.scalar(sa.select(sa.func.max(ledger.c.number))) or 0
        if last <= _OVERLAP:
            return
        took = requests.c.ended_at - requests.c.started_at
        within = [sa.func.sum(sa.case((took <= bound, 1), else_=0)) for bound in BUCKETS]
        by = (ledger.c.endpoint, requests.c.status_code, sa.func.coalesce(requests.c.error_type, ""))
        sums = (
            sa.select(
                *by,
                sa.func.count(),
                sa.cast(sa.func.sum(ledger.c.units), sa.BigInteger),
                sa.func.count(requests.c.started_at),
                sa.func.sum(sa.case((took > 0, took), else_=0.0)),
                *within,
            )
            .join(requests, requests.c.id == ledger.c.request_id)
            .where(ledger.c.number <= last - _OVERLAP)
            .group_by(*by)
        )
        for endpoint, status_code, error_type, count, units, runs, seconds, *counts in connection.execute(sums):
            self.ended[endpoint, status_code, error_type] += count
            self.units[endpoint] += units
            if runs:
                self.runs[endpoint] += runs
                self.seconds[endpoint] = self.seconds.get(endpoint, 0.0) + seconds
                for bound, number in zip(BUCKETS, counts, strict=True):
                    self.within[endpoint, bound] += number
        self._last = last


@dataclass(frozen=True)
class Now:
    """The requests that wait and run, by endpoint. `webhooks` counts deliveries that are to be made."""

    queued: dict[str, int]
    running: dict[str, int]
    steps_per_second: dict[str, float]
    webhooks: int


def now(database: Database) -> Now:
    waiting = sa.select(requests.c.endpoint, sa.func.count()).where(QUEUED).group_by(requests.c.endpoint)
    working = sa.select(requests.c.endpoint, requests.c.progress).where(RUNNING)
    due = sa.select(sa.func.count()).where(deliveries.c.state == "waiting")
    running: Counter[str] = Counter()
    rates: dict[str, float] = {}
    with database.read() as connection:
        queued = {endpoint: count for endpoint, count in connection.execute(waiting)}
        for endpoint, progress in connection.execute(working):
            running[endpoint] += 1
            rate = (value_of(progress) or {}).get("steps_per_second") or 0.0
            rates[endpoint] = rates.get(endpoint, 0.0) + rate
        webhooks = connection.execute(due).scalar_one()
    return Now(queued, dict(running), rates, webhooks)
