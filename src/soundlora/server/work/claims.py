"""Which requests an executor takes from the queue. Their order is the queue's."""

from __future__ import annotations

from soundlora.server.endpoints import endpoints, taken
from soundlora.server.settings import Settings
from soundlora.server.store.claims import Room
from soundlora.server.store.leases import count_ready
from soundlora.server.store.requests import Request, Requests


class Claims:
    """What may be done by whoever has these settings: requests of `settings.endpoints`, or all where it names none."""

    def __init__(self, settings: Settings, requests: Requests) -> None:
        """Raises InputError for an endpoint that does not exist."""
        self._requests = requests
        self._taken = taken(settings)
        # These need no preparing.
        self._generations = [name for name, each in endpoints(settings).items() if each.work == "generation"]
        self._trained = [name for name in self._taken if name not in self._generations]
        self._generated = [name for name in self._generations if name in self._taken or not self._taken]
        self.trains = bool(self._trained) or not self._taken
        self.generates = bool(self._generated)

    @property
    def trained(self) -> str:
        """The ids of the endpoints whose trainings are taken, with commas between them; "" is all."""
        return ",".join(self._trained)

    def training(self, room: Room, owner: str | None = None) -> Request | None:
        """Take the next training whose data is prepared. owner: the token for it; None makes one."""
        if not self.trains:
            return None
        return self._requests.claim(self._trained or None, but=self._generations, prepared=True, owner=owner, room=room)

    def generation(self, owner: str | None = None) -> Request | None:
        """Take the next generation."""
        return self._requests.claim(self._generated, owner=owner) if self.generates else None

    def ready_trainings(self) -> dict[int, int]:
        """Return how many trainings could be claimed now, by the slots that they take."""
        if not self.trains:
            return {}
        return count_ready(self._requests.database, self._trained or None, but=self._generations)

    def ready_generations(self) -> int:
        """Return how many generations could be claimed now."""
        return sum(count_ready(self._requests.database, self._generated).values()) if self.generates else 0

    def waiting(self, most: int) -> int:
        """Return how many requests of up to `most` slots wait, prepared or not."""
        if not self._taken:
            return self._requests.count_queued(most=most)
        return sum(self._requests.count_queued(endpoint=name, most=most) for name in self._taken)
