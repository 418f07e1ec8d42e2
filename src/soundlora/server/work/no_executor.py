"""Of a server that takes requests and leaves them to other machines."""

from __future__ import annotations

import threading


class NoExecutor:
    """It does nothing. Every `soundlora work` with the same database does what is in the queue."""

    slots = 0

    def __init__(self) -> None:
        self.over = threading.Event()

    def start(self) -> None:
        pass

    def wake(self) -> None:
        pass

    def running(self) -> list[str]:
        return []

    def stop(self) -> None:
        pass
