"""The server makes secrets for itself once: keys that sign."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.tables import secrets


def secret(database: Database, name: str, make: Callable[[], str]) -> str:
    """Return the secret of this name. The first server that asks for it stores the result of `make()`."""
    statement = sa.select(secrets.c.value).where(secrets.c.name == name)
    with database.read() as connection:
        found: str | None = connection.execute(statement).scalar_one_or_none()
    if found is not None:
        return found
    value = make()
    try:
        with database.write() as connection:
            connection.execute(sa.insert(secrets).values(name=name, value=value))
    except sa.exc.IntegrityError:
        pass  # Another server was quicker, and its secret counts.
    with database.read() as connection:
        return str(connection.execute(statement).scalar_one())
