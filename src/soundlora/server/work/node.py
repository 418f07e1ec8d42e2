"""A node: an executor and a supervisor without HTTP. It needs the database and the storage alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from soundlora.errors import InputError
from soundlora.server.endpoints import unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.work.executors import node_executor_of
from soundlora.server.work.supervisor import Supervisor

_LOOK_SECONDS = 0.2


def work(
    settings: Settings,
    asked_to_end: threading.Event,
    *,
    until_empty: bool = False,
    attached: Callable[[], bool] | None = None,
    on_ready: Callable[[int], None] = lambda slots: None,
) -> None:
    """Do requests until it is asked to end, is drained, or, with `until_empty`, has nothing left to do.

    What runs then is given back. attached: whether whoever started this still lives; it ends when that has gone.
    on_ready: called with the number of slots. Raises InputError for settings that can't be used.
    """
    if settings.executor == "none":
        raise InputError("--executor is none, but work without an executor does nothing; leave it out.")
    database = Database(settings.database)
    database.migrate()
    requests = Requests(database, unit_prices(settings))
    executor = node_executor_of(settings, requests, until_empty=until_empty)
    supervisor = Supervisor(requests, settings.lease_seconds)
    executor.start()
    supervisor.start()
    try:
        on_ready(executor.slots)
        while not (asked_to_end.is_set() or executor.over.is_set()):
            if attached is not None and not attached():
                break
            asked_to_end.wait(_LOOK_SECONDS)
    finally:
        executor.stop()
        supervisor.stop()
        database.close()
    if executor.over.is_set():
        print("soundlora: nothing is left to do here", file=sys.stderr, flush=True)
