"""Processes that prepare the data of trainings on this machine, beside its slots."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable

from soundlora.server.endpoints import endpoints
from soundlora.server.settings import Settings
from soundlora.server.store.leases import held
from soundlora.server.store.preparing import Preparing
from soundlora.server.store.requests import Requests
from soundlora.server.work.process import SETTINGS_VARIABLE
from soundlora.system.operating_system import ask_to_end, end_at_once, own_group

PREPARER = (sys.executable, "-m", "soundlora.server.work.preparer")
STOP_SECONDS = 10.0
IDLE_SECONDS = 10.0
"""A preparer ends after so long without a request."""


class Preparers:
    """Up to `settings.prepare_slots` processes. Each takes requests by itself, and ends when nothing is left to do.

    One is started when a request waits to be prepared, and a further one when one still waits half a second later.
    """

    def __init__(self, settings: Settings, requests: Requests, on_prepared: Callable[[], None]) -> None:
        """on_prepared: called from another thread when a request may begin."""
        self._settings, self._requests, self._on_prepared = settings, requests, on_prepared
        needless = [name for name, endpoint in endpoints(settings).items() if endpoint.work == "generation"]
        self._preparing = Preparing(requests, needless)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # by their tokens
        self._free_since: dict[str, float] = {}  # when one was first seen without a request

    def look(self, ticks: bool) -> None:
        """Give back what those had that have died, and start one that is needed."""
        for owner, process in list(self._processes.items()):
            if process.poll() is not None:
                del self._processes[owner]
                self._give_back(owner, process, lost=True)
        if ticks and self._processes:
            self._end_the_hung()
        if not (ticks or not self._processes) or len(self._processes) >= self._settings.prepare_slots:
            return
        if self._preparing.is_wanted():
            self._start()

    def ask_to_end(self) -> None:
        """Ask all to give back what they have, and wait for none."""
        for process in self._processes.values():
            ask_to_end(process)

    def stop(self) -> None:
        """End all. Returns when they have ended, and nothing is held by them."""
        self.ask_to_end()
        deadline = time.monotonic() + STOP_SECONDS
        for owner, process in self._processes.items():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                end_at_once(process)
                process.wait()
            self._give_back(owner, process, lost=False)
        self._processes.clear()

    def _end_the_hung(self) -> None:
        """End those that have had no request for long, and yet have not ended: their leases were taken from them."""
        now, busy = time.monotonic(), held(self._requests.database, list(self._processes))
        self._free_since = {owner: self._free_since.get(owner, now) for owner in self._processes if owner not in busy}
        for owner, since in self._free_since.items():
            if now - since > self._settings.lease_seconds + 2 * IDLE_SECONDS:
                end_at_once(self._processes[owner])

    def _start(self) -> None:
        owner = str(uuid.uuid4())
        environment = os.environ | {SETTINGS_VARIABLE: self._settings.to_json()}
        environment.setdefault("OMP_NUM_THREADS", "1")
        try:
            process = subprocess.Popen(
                [*PREPARER, owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, **own_group()
            )
        except OSError as error:
            print(f"soundlora: no data can be prepared: {error}", file=sys.stderr, flush=True)
            return
        self._processes[owner] = process
        threading.Thread(target=self._listen, args=(process,), name="preparer", daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout, contextlib.suppress(OSError):
            for _ in process.stdout:
                self._on_prepared()
        self._on_prepared()  # it has ended

    def _give_back(self, owner: str, process: subprocess.Popen[bytes], *, lost: bool) -> None:
        if process.stdin is not None:
            process.stdin.close()
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        for request_id in held(self._requests.database, [owner]).values():
            self._requests.release(request_id, owner, lost=lost, reason=f"Who prepared the data has ended ({how})")
