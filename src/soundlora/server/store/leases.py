"""Who holds a request."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.tables import requests


def held(database: Database, owners: Sequence[str]) -> set[str]:
    """Return those of the tokens that still hold a request."""
    with database.read() as connection:
        owned = sa.select(requests.c.owner).where(requests.c.owner.in_(owners))
        return {owner for owner in connection.scalars(owned) if owner is not None}
