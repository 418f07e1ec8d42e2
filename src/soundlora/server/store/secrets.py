"""What the server made for itself once: keys that sign."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.tables import secrets


def secret(database: Database, name: str, make: Callable[[], str]) -> str:
    """The secret of that name; made the first time it is asked for, by whichever server comes first."""
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
        pass  # another server was quicker; its own counts
    with database.read() as connection:
        return str(connection.execute(statement).scalar_one())
