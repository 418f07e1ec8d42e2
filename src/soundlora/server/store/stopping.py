"""What a worker is asked to do with a request that runs: end it with what it has learnt, or give it back.

The worker reads it at every beat, wherever it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.tables import requests


class Asked(NamedTuple):
    """stop: to end with what has been learnt. give_back: to keep the state and let another worker go on."""

    stop: bool = False
    give_back: bool = False


def ask_to_stop(database: Database, request_id: str) -> bool:
    """Ask the worker of a running request to end it with what it has. Return False when it does not run."""
    with database.write() as connection:
        return bool(
            connection.execute(
                sa.update(requests)
                .where(requests.c.id == request_id, requests.c.state == "running")
                .values(stop_asked=True)
            ).rowcount
        )


def ask_to_give_back(database: Database, owners: Sequence[str]) -> None:
    """Ask workers, by their tokens, to give their requests back to the queue with their states."""
    with database.write() as connection:
        mine = sa.and_(requests.c.owner.in_(owners), requests.c.state == "running")
        connection.execute(sa.update(requests).where(mine).values(give_back_asked=True))


def asked_of(database: Database, request_id: str) -> Asked:
    """Return what the worker of a request is asked to do."""
    statement = sa.select(requests.c.stop_asked, requests.c.give_back_asked).where(requests.c.id == request_id)
    with database.read() as connection:
        row = connection.execute(statement).one_or_none()
    return Asked() if row is None else Asked(bool(row.stop_asked), bool(row.give_back_asked))
