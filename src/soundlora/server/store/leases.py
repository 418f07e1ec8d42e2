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


def count_ready(
    database: Database, endpoints: Sequence[str] | None = None, *, but: Sequence[str] = ()
) -> dict[int, int]:
    """Return how many requests wait whose data is prepared, by the slots that they take. Arguments as of `claim`."""
    waiting = sa.and_(QUEUED, requests.c.prepared.is_(True), requests.c.endpoint.not_in(but))
    if endpoints is not None:
        waiting = sa.and_(waiting, requests.c.endpoint.in_(endpoints))
    with database.read() as connection:
        found = connection.execute(sa.select(requests.c.gpus, sa.func.count()).where(waiting).group_by(requests.c.gpus))
        return {gpus: count for gpus, count in found}
