"""The executor takes requests from the queue and gives each a process of its own on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from soundlora.server.settings import Settings
from soundlora.server.store.requests import Request, Requests
from soundlora.system.operating_system import ask_to_end, end_at_once, gpu_count, own_group, usable_cores

TICK_SECONDS = 0.5
STOP_SECONDS = 30.0
"""A worker may take this long for its last checkpoint."""

WORKER = (sys.executable, "-m", "soundlora.server.work.worker")
SETTINGS_VARIABLE = "SOUNDLORA_WORKER"


@dataclass
class _Worker:
    request: Request
    process: subprocess.Popen[bytes]
    slot: int
    log: Path


class LocalExecutor:
    """A thread that keeps `settings.slots` workers busy.

    A worker here that dies loses its request at once. A worker elsewhere is taken for dead when its beat stands still
    for the lease's length. This machine's monotonic clock measures that, so clocks may be wrong and may jump.
    """

    def __init__(self, settings: Settings, requests: Requests, command: Sequence[str] = WORKER) -> None:
        """`command` is started for each request, with its id and the owner's token as arguments."""
        self.settings, self.requests, self.command = settings, requests, command
        # A run that is given one device by its number, or one of another maker, has the choice among none.
        self._gpus = gpu_count() if settings.device in ("", "cuda") else 0
        self.slots = settings.slots or max(1, self._gpus)
        self._workers: list[_Worker] = []
        self._beats: dict[tuple[str, str], tuple[int, float]] = {}  # the last beat, and its age in seconds
        self._looked_at = time.monotonic()
        self._deadlines: dict[str, float] = {}
        self._awake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look at the queue now."""
        self._awake.set()

    def stop(self) -> None:
        """Stop every worker with a checkpoint and give its request back to the queue. Returns when all have ended."""
        self._stopping = True
        self.wake()
        self._thread.join()
        for worker in self._workers:
            ask_to_end(worker.process)
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                end_at_once(worker.process)
                worker.process.wait()
            self._close(worker, lost=False)
        self._workers.clear()

    def _run(self) -> None:
        due = 0.0
        while not self._stopping:
            # Every submit wakes the loop. It then looks for a free slot only, and for dead workers once a tick.
            ticks = time.monotonic() >= due
            if ticks:
                due = time.monotonic() + TICK_SECONDS
            try:
                self._reap()
                if ticks:
                    self._give_up_the_silent()
                    self._end_overdue()
                while len(self._workers) < self.slots and not self._stopping:
                    request = self.requests.claim()
                    if request is None:
                        break
                    self._start(request)
            except sa.exc.SQLAlchemyError as error:
                # The queue waits in the database until it can be reached again.
                print(f"soundlora: the database can't be reached: {error}", file=sys.stderr, flush=True)
            except Exception:  # One request must not take the queue of all others with it.
                traceback.print_exc()
            self._awake.wait(max(0.0, due - time.monotonic()))
            self._awake.clear()

    def _start(self, request: Request) -> None:
        assert request.owner is not None
        folder = self.settings.runs / request.id
        log = folder / "worker.log"
        slot = min(set(range(self.slots)) - {worker.slot for worker in self._workers})
        environment = os.environ | {SETTINGS_VARIABLE: self.settings.to_json()}
        if self._gpus > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(slot % self._gpus)
        if not self._gpus:
            # torch's threads wait for their slowest. One that shares a core with the server would hold up all others.
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (usable_cores() - 1) // self.slots)))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [*self.command, request.id, request.owner],
                    stdin=subprocess.PIPE,  # A worker ends when this pipe closes, as it does with the server.
                    stdout=output,
                    stderr=output,
                    env=environment,
                    **own_group(),  # Ctrl-C reaches the server only, which stops its workers itself.
                )
        except OSError as error:
            self.requests.release(request.id, request.owner, lost=True, reason=f"No worker could be started: {error}")
            return
        self._workers.append(_Worker(request, process, slot, log))

    def _reap(self) -> None:
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._close(worker, lost=True)
            self._workers.remove(worker)

    def _close(self, worker: _Worker, *, lost: bool) -> None:
        """Give the request back, unless the worker has already finished or released it."""
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        code = worker.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        reason = f"The worker ended ({how}){_last_words(worker.log) if lost else ''}"
        assert worker.request.owner is not None
        self.requests.release(worker.request.id, worker.request.owner, lost=lost, reason=reason)

    def _give_up_the_silent(self) -> None:
        running = self.requests.running()
        # No worker can beat while the database is away or locked, so that time does not count.
        passed = min(time.monotonic() - self._looked_at, 2 * TICK_SECONDS)
        self._looked_at = time.monotonic()
        before, self._beats = self._beats, {}
        for request_id, owner, beat in running:
            known = before.get((request_id, owner))
            silent = known[1] + passed if known is not None and known[0] == beat else 0.0
            self._beats[request_id, owner] = (beat, silent)
        for (request_id, owner), (beat, silent) in list(self._beats.items()):
            if silent > self.settings.lease_seconds:
                self._beats[request_id, owner] = (beat, 0.0)  # The release may fail; the count then starts again.
                self.requests.release(request_id, owner, lost=True, reason="The worker has fallen silent")
                for worker in self._workers:
                    if worker.request.owner == owner:
                        end_at_once(worker.process)

    def _end_overdue(self) -> None:
        """End the requests whose deadline to begin has passed.

        The monotonic clock runs from the first look at a deadline, so a clock that is set forward ends nothing early.
        """
        now = time.monotonic()
        left = self.requests.start_seconds()
        self._deadlines = {id: self._deadlines.get(id, now + seconds) for id, seconds in left.items()}
        overdue = [id for id, deadline in self._deadlines.items() if deadline <= now]
        if overdue:
            self.requests.end_unstarted(overdue)


def _last_words(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace")[-2000:].strip().splitlines()
        if lines:
            return f": {lines[-1]}"
    return ""
