"""Webhooks that are due are rows of a table, so that a restart forgets none of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from soundlora.server.store.database import Database, value_of
from soundlora.server.store.tables import deliveries, requests

FIRST_SECONDS, RETRY_SECONDS = 15.0, 120.0
"""A receiver may take this long, the first time and after that."""

MAX_ATTEMPTS = 31
_MARGIN_SECONDS = 10.0


@dataclass(frozen=True)
class Delivery:
    """One attempt that is to be made now."""

    request_id: str
    key_id: str
    url: str
    body: dict[str, Any] | None  # None where the table has lost it
    base_url: str  # the address that the request was sent to
    attempt: int  # counted from 1

    @property
    def seconds(self) -> float:
        """The time in seconds that the receiver has."""
        return FIRST_SECONDS if self.attempt == 1 else RETRY_SECONDS


def pause(attempt: int) -> float:
    """Return the seconds from a failed attempt to the next: 10, 20, 40, ... up to an hour. They add up to 23 hours."""
    return min(10.0 * 2.0 ** (attempt - 1), 3600.0)


class Deliveries:
    """The deliveries of `database`. Several servers may share it.

    A delivery that was claimed and not settled, because its server died, is due again soon. A receiver may therefore
    hear of a request twice.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self) -> Delivery | None:
        """Take and return the delivery that has been due the longest, or None when none is due."""
        now = time.time()
        due = (
            sa.select(deliveries.c.request_id, deliveries.c.attempts)
            .where(deliveries.c.state == "waiting", deliveries.c.next_at <= now)
            .order_by(deliveries.c.next_at)
            .limit(1)
        )
        # The first look takes no lock, because most looks, one a second, find nothing.
        with self.database.read() as connection:
            if connection.execute(due).one_or_none() is None:
                return None
        with self.database.write() as connection:
            row = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            attempt = row.attempts + 1
            seconds = FIRST_SECONDS if attempt == 1 else RETRY_SECONDS
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.request_id == row.request_id)
                .values(attempts=attempt, next_at=now + seconds + _MARGIN_SECONDS)
            )
            found = connection.execute(
                sa.select(deliveries.c.url, deliveries.c.body, requests.c.key_id, requests.c.base_url)
                .join(requests, requests.c.id == deliveries.c.request_id)
                .where(deliveries.c.request_id == row.request_id)
            ).one()
        return Delivery(row.request_id, found.key_id, found.url, value_of(found.body), found.base_url, attempt)

    def delivered(self, delivery: Delivery) -> None:
        self._settle(_of(delivery), state="delivered", error=None, body="{}")

    def failed(self, delivery: Delivery, error: str, *, for_good: bool) -> None:
        """Plan the next attempt, unless the error is `for_good` or this was the last one."""
        # A later attempt may have begun when this one was taken for dead. Its outcome counts then.
        latest = sa.and_(_of(delivery), deliveries.c.attempts == delivery.attempt)
        if for_good or delivery.attempt >= MAX_ATTEMPTS:
            self._settle(latest, state="failed", error=error, body="{}")
        else:
            self._settle(latest, next_at=time.time() + pause(delivery.attempt), error=error)

    def forget(self, request_id: str) -> None:
        """Drop a delivery that has not been made, because the request's owner has deleted its payloads."""
        which = deliveries.c.request_id == request_id
        self._settle(which, state="failed", body="{}", error="The payloads of the request were deleted.")

    def state(self, request_id: str) -> tuple[str, int, str | None] | None:
        """Return (state, attempts, the last error), or None when the request has no webhook or has not ended."""
        statement = sa.select(deliveries.c.state, deliveries.c.attempts, deliveries.c.error).where(
            deliveries.c.request_id == request_id
        )
        with self.database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else (row.state, row.attempts, row.error)

    def waiting(self) -> int:
        statement = sa.select(sa.func.count()).where(deliveries.c.state == "waiting")
        with self.database.read() as connection:
            return connection.execute(statement).scalar_one()

    def _settle(self, which: sa.ColumnElement[bool], **values: Any) -> None:
        # The last attempt empties the body, since the result stays with the request.
        with self.database.write() as connection:
            connection.execute(sa.update(deliveries).where(which, deliveries.c.state == "waiting").values(**values))


def _of(delivery: Delivery) -> sa.ColumnElement[bool]:
    return deliveries.c.request_id == delivery.request_id
