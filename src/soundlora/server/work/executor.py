"""An executor does requests of the queue. Priorities and fairness are the queue's; leases are the supervisor's."""

from __future__ import annotations

import threading
from typing import Protocol


class Executor(Protocol):
    """Who does requests: processes of this machine, a Ray cluster, or nobody here.

    slots: the number of trainings at a time. over: set once it will do nothing more, because it was drained, or because
    the queue is empty and it was to end then.
    """

    slots: int
    over: threading.Event

    def start(self) -> None:
        """Begin to take requests."""
        ...

    def wake(self) -> None:
        """Look at the queue now."""
        ...

    def running(self) -> list[str]:
        """Return the ids of the requests that it does at the moment."""
        ...

    def stop(self) -> None:
        """Take nothing more, and give every request back with its state. Returns when all have ended."""
        ...
