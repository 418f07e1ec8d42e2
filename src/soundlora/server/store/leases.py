"""Who holds which request, and what may be claimed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.tables import QUEUED, requests


def held(database: Database, owners: Sequence[str]) -> dict[str, str]:
    """Return the ids of the requests that these tokens hold, by the tokens."""
    owned = sa.select(requests.c.owner, requests.c.id).where(requests.c.owner.in_(owners))
    with database.read() as connection:
        return {row.owner: row.id for row in connection.execute(owned)}


def count_ready(database: Database, endpoints: Sequence[str] | None = None, *, but: Sequence[str] = ()) -> int:
    """Return how many requests wait whose data is prepared. endpoints and but: as for `Requests.claim`."""
    waiting = sa.and_(QUEUED, requests.c.prepared.is_(True), requests.c.endpoint.not_in(but))
    if endpoints is not None:
        waiting = sa.and_(waiting, requests.c.endpoint.in_(endpoints))
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).where(waiting)).scalar_one()
