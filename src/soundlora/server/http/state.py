"""Every route of the server has this state at hand."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soundlora.net.storage import Storage
from soundlora.server.endpoints import Endpoint
from soundlora.server.http.auth import Authenticator
from soundlora.server.http.status_cache import StatusCache
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.keys import Keys
from soundlora.server.store.requests import Requests
from soundlora.server.work.run_states import RunStates

if TYPE_CHECKING:
    from soundlora.server.work.executor import Executor


@dataclass
class Service:
    """The state of one server, as `app.state.service`.

    `closing` says that the server is about to stop, and that waiting
    calls should end. `submitting` is held while the queue is counted and a request joins it, so that limits are exact.
    """

    settings: Settings
    database: Database
    requests: Requests
    storage: Storage
    files: Files
    keys: Keys
    endpoints: dict[str, Endpoint]
    authenticator: Authenticator
    status_cache: StatusCache
    executor: Executor
    closing: bool = False
    submitting: threading.Lock = field(default_factory=threading.Lock)

    @functools.cached_property
    def run_states(self) -> RunStates:
        """The states of trainings in the storage."""
        return RunStates(self.storage)

    def wake(self) -> None:
        """Tell the executor that a request has joined the queue."""
        self.executor.wake()

    def heard(self, kind: str, request_id: str) -> None:
        """Note what another server has written. Two empty texts say that anything may have been."""
        self.status_cache.heard_of(request_id)
        if kind in ("", "queued"):
            self.wake()
