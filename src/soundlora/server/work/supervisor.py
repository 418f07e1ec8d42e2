"""The supervisor takes requests from workers that have fallen silent, and ends those that should have begun by now.

Any process may run it, and any number of them at a time: what it writes takes effect once, whoever is first.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback

import sqlalchemy as sa

from soundlora.server.store.requests import Requests

TICK_SECONDS = 0.5
SILENT = "The worker has fallen silent"


class Supervisor:
    """A thread that looks at every lease and deadline twice a second.

    A worker is taken for dead when its beat stands still for the lease's length. This machine's monotonic clock
    measures that, so clocks may be wrong and may jump.
    """

    def __init__(self, requests: Requests, lease_seconds: float) -> None:
        self._requests, self._lease = requests, lease_seconds
        self._beats: dict[tuple[str, str], tuple[int, float]] = {}  # the last beat, and its age in seconds
        self._looked_at = time.monotonic()
        self._deadlines: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Look once. Raises SQLAlchemyError where the database can't be reached."""
        self._give_up_the_silent()
        self._end_overdue()

    def _run(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            try:
                self.look()
            except sa.exc.SQLAlchemyError as error:
                print(f"soundlora: the database can't be reached: {error}", file=sys.stderr, flush=True)
            except Exception:  # What is wrong with one request must not keep the others from being looked at.
                traceback.print_exc()

    def _give_up_the_silent(self) -> None:
        held = self._requests.held()
        # No worker can beat while the database is away or locked, so that time does not count.
        passed = min(time.monotonic() - self._looked_at, 2 * TICK_SECONDS)
        self._looked_at = time.monotonic()
        before, self._beats = self._beats, {}
        for request_id, owner, beat in held:
            known = before.get((request_id, owner))
            silent = known[1] + passed if known is not None and known[0] == beat else 0.0
            self._beats[request_id, owner] = (beat, silent)
        for (request_id, owner), (beat, silent) in list(self._beats.items()):
            if silent > self._lease:
                self._beats[request_id, owner] = (beat, 0.0)  # The release may fail; the count then starts again.
                self._requests.release(request_id, owner, lost=True, reason=SILENT)

    def _end_overdue(self) -> None:
        """End the requests whose deadline to begin has passed.

        The monotonic clock runs from the first look at a deadline, so a clock that is set forward ends nothing early.
        """
        now = time.monotonic()
        left = self._requests.start_seconds()
        self._deadlines = {id: self._deadlines.get(id, now + seconds) for id, seconds in left.items()}
        overdue = [id for id, deadline in self._deadlines.items() if deadline <= now]
        if overdue:
            self._requests.end_unstarted(overdue)
