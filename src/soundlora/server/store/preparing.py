"""Requests whose data is prepared before they are claimed. They stay queued, and keep their places.

Whoever prepares one has its lease: the token and the beat that a worker has of a running request. `Requests.beat` and
`Requests.release` are for both.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from soundlora.server.store.beats import lease_lost
from soundlora.server.store.finish import Outcome, write_end
from soundlora.server.store.news import tell
from soundlora.server.store.requests import Request, Requests
from soundlora.server.store.tables import QUEUED, UNPREPARED, requests

MOST_AHEAD = 8
"""So many prepared requests of a key may wait: their data lies on the disks, and those of other keys go first."""
_FREE = sa.and_(UNPREPARED, requests.c.owner.is_(None))


class Preparing:
    """What is done before a request can be claimed, in the table of `requests`."""

    def __init__(self, requests: Requests, needless: Sequence[str] = ()) -> None:
        """needless: the endpoints whose requests need no preparing."""
        self._requests, self._database, self._needless = requests, requests.database, list(needless)

    def is_wanted(self) -> bool:
        """Return whether a request waits for somebody to prepare it."""
        with self._database.read() as connection:
            return connection.execute(self._next(connection)).scalar_one_or_none() is not None

    def claim(self, owner: str) -> Request | None:
        """Take the next request to prepare, None when there is none. `owner` is the token of the one who prepares it.

        An attempt is counted until it is done, so that data that kills whoever reads it is given up.
        """
        while True:
            with self._database.write() as connection:
                statement = self._next(connection).with_for_update(skip_locked=True)
                request_id = connection.execute(statement).scalar_one_or_none()
                if request_id is None:
                    return None
                connection.execute(
                    sa.update(requests)
                    .where(requests.c.id == request_id)
                    .values(owner=owner, attempts=requests.c.attempts + 1, beat=requests.c.beat + 1)
                )
            found = self._requests.find(request_id)
            if found is not None and found.input is not None:
                return found
            self.done(request_id, owner)  # Its input is damaged, which whoever claims it says.

    def done(self, request_id: str, owner: str) -> None:
        """Say that a request may begin. Raises LostLeaseError."""
        mine = sa.and_(requests.c.id == request_id, requests.c.owner == owner, requests.c.state == "queued")
        with self._database.write() as connection:
            changed = connection.execute(
                sa.update(requests).where(mine).values(prepared=True, owner=None, attempts=requests.c.attempts - 1)
            )
            tell(connection, "queued", request_id)
        if not changed.rowcount:
            raise lease_lost(request_id)

    def refuse(self, request_id: str, owner: str, outcome: Outcome) -> None:
        """End a request whose data can't be used. It has never run. Raises LostLeaseError."""
        prices = self._requests.unit_nano_usd
        with self._database.write() as connection:
            if not write_end(connection, request_id, outcome, state="queued", owner=owner, unit_nano_usd=prices):
                raise lease_lost(request_id)

    def _next(self, connection: sa.Connection) -> sa.Select[str]:
        """Return the query for the next request to prepare, one of a key of which few are prepared."""
        ahead = sa.select(requests.c.key_id).where(
            QUEUED,
            requests.c.prepared.is_(True),
            requests.c.endpoint.not_in(self._needless),
        )
        full = connection.scalars(ahead.group_by(requests.c.key_id).having(sa.func.count() >= MOST_AHEAD)).all()
        statement = sa.select(requests.c.id).where(_FREE, requests.c.key_id.not_in(full))
        return statement.order_by(requests.c.priority, requests.c.number).limit(1)
