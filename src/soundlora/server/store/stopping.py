"""The wish that a training end with what it has learnt. Its worker hears of it at a beat, or looks for it."""

from __future__ import annotations

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.news import tell
from soundlora.server.store.tables import requests


def ask_to_stop(database: Database, request_id: str) -> bool:
    """Ask the worker of a running request to end it with what it has. Return False when it does not run."""
    with database.write() as connection:
        asked = connection.execute(
            sa.update(requests)
            .where(requests.c.id == request_id, requests.c.state == "running")
            .values(stop_asked=True)
        ).rowcount
        if asked:
            tell(connection, "changed", request_id)
        return bool(asked)
