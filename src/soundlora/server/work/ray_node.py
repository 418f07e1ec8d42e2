"""The process that drives a Ray cluster: `python -m soundlora.server.work.ray_node`, started by `ray_driver`.

Ray ends a process whose cluster has been gone for a minute, so no server may be that process. A line on its standard
input wakes it, and the end of that ends it. Each line on its standard output says how it stands.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from soundlora.server.endpoints import unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.work.process import SETTINGS_VARIABLE

UNTIL_EMPTY = "until-empty"
OVER = "over"
_LOOK_SECONDS = 0.2
_WATCH_SECONDS, _PATIENCE_SECONDS = 2.0, 20.0
"""The cluster is asked for its nodes so often, and has so long to answer."""


def main() -> None:
    settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
    from soundlora.server.work.ray_executor import RayExecutor

    asked_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked_to_end.set())
    database = Database(settings.database)
    executor = RayExecutor(settings, Requests(database, unit_prices(settings)), until_empty=UNTIL_EMPTY in sys.argv)
    threading.Thread(target=_listen, args=(executor.wake, asked_to_end.set), name="wakes", daemon=True).start()
    threading.Thread(target=_watch, args=(executor.connected,), name="watch", daemon=True).start()
    executor.start()
    try:
        said = ""
        while not asked_to_end.is_set() and not executor.over.is_set():
            stands = json.dumps({"slots": executor.slots, "running": executor.running()})
            if stands != said:
                said = stands
                print(stands, flush=True)
            asked_to_end.wait(_LOOK_SECONDS)
    finally:
        executor.stop()
        database.close()
    if executor.over.is_set():
        print(json.dumps({"slots": executor.slots, "running": [], OVER: True}), flush=True)


def _listen(wake: Callable[[], None], end: Callable[[], None]) -> None:
    for _ in sys.stdin:
        wake()
    end()


def _watch(connected: Callable[[], bool]) -> None:
    """End this process at once when its cluster is gone: what Ray is asked then may never be answered.

    Another cluster may have the same address by now. What ran in the lost one is given back by its workers, or taken
    from them by the supervisor.
    """
    answered = threading.Event()

    def ask() -> None:
        while connected():
            answered.set()
            time.sleep(_WATCH_SECONDS)
        _leave()

    threading.Thread(target=ask, name="ask", daemon=True).start()
    while answered.wait(_PATIENCE_SECONDS):
        answered.clear()
    _leave()


def _leave() -> None:
    print("soundlora: the Ray cluster is gone", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
