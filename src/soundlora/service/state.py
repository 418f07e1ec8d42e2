"""What every route of the server has at hand."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

from soundlora.endpoints import Endpoint
from soundlora.jobs.database import Database
from soundlora.jobs.files import Files
from soundlora.jobs.keys import Keys
from soundlora.jobs.requests import Requests
from soundlora.settings import Settings
from soundlora.storage import Storage

if TYPE_CHECKING:
    from soundlora.jobs.executor import LocalExecutor
    from soundlora.service.auth import Doorkeeper
    from soundlora.service.board import Board


@dataclass
class Service:
    """One a server; `app.state.service`.

    executor: None where requests are only queued. closing: the server is about to stop, and nobody should wait on.
    submitting: held while the queue is counted and a request joins it, so that limits are exact.
    """

    settings: Settings
    database: Database
    requests: Requests
    storage: Storage
    files: Files
    keys: Keys
    endpoints: dict[str, Endpoint]
    doorkeeper: Doorkeeper
    board: Board
    executor: LocalExecutor | None = None
    closing: bool = False
    submitting: threading.Lock = field(default_factory=threading.Lock)

    def wake(self) -> None:
        """Something has joined the queue."""
        if self.executor is not None:
            self.executor.wake()


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
