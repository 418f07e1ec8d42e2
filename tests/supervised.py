"""An executor beside a supervisor, as a server has them."""

from __future__ import annotations

from soundlora.server.store.requests import Requests
from soundlora.server.work.local import LocalExecutor
from soundlora.server.work.supervisor import Supervisor


class Supervised:
    """Starts and stops both."""

    def __init__(self, executor: LocalExecutor, requests: Requests) -> None:
        self.executor = executor
        self._supervisor = Supervisor(requests, executor.settings.lease_seconds)

    def start(self) -> None:
        self.executor.start()
        self._supervisor.start()

    def stop(self) -> None:
        self.executor.stop()
        self._supervisor.stop()
