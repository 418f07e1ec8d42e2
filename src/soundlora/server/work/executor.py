"""The executor takes requests from the queue and gives them to processes on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from soundlora.server.endpoints import endpoints
from soundlora.server.settings import Settings
from soundlora.server.store.requests import Request, Requests
from soundlora.server.work.process import DONE, FULL, WorkerProcess
from soundlora.server.work.turn import TURN_VARIABLE
from soundlora.system.operating_system import ask_to_end, end_at_once, gpu_count, usable_cores

TICK_SECONDS = 0.5
STOP_SECONDS = 30.0
"""A worker may take this long for its last checkpoint."""

WORKER = (sys.executable, "-m", "soundlora.server.work.worker")
SETTINGS_VARIABLE = "SOUNDLORA_WORKER"


class LocalExecutor:
    """A thread that keeps `settings.slots` trainings going, and generates on each device between their steps.

    A training has a process of its own. Generations have one a device, which keeps its base loaded for
    `settings.warm_seconds` after the last one.

    A worker here that dies loses its request at once. A worker elsewhere is taken for dead when its beat stands still
    for the lease's length. This machine's monotonic clock measures that, so clocks may be wrong and may jump.
    """

    def __init__(self, settings: Settings, requests: Requests, command: Sequence[str] = WORKER) -> None:
        """`command` is started with a request's id and the owner's token as arguments, or for several requests."""
        self.settings, self.requests, self.command = settings, requests, command
        # A run that is given one device by its number, or one of another maker, has the choice among none.
        self._gpus = gpu_count() if settings.device in ("", "cuda") else 0
        self._devices = range(max(1, self._gpus))
        self.slots = settings.slots or len(self._devices)
        self._generations = [name for name, endpoint in endpoints(settings).items() if endpoint.work == "generation"]
        self._workers: list[WorkerProcess] = []
        self._full: set[int] = set()  # devices that have no memory for a generation beside their training
        self._turns = Path()  # the folder of the files by which processes on one device take turns
        self._beats: dict[tuple[str, str], tuple[int, float]] = {}  # the last beat, and its age in seconds
        self._looked_at = time.monotonic()
        self._deadlines: dict[str, float] = {}
        self._awake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)

    def start(self) -> None:
        self._turns = Path(tempfile.mkdtemp(prefix="soundlora-turns-"))
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
            worker.end()
            self._give_back(worker, lost=False)
        self._workers.clear()
        shutil.rmtree(self._turns, ignore_errors=True)

    def _run(self) -> None:
        due = 0.0
        while not self._stopping:
            # Every submit wakes the loop. It then looks for free devices only, and for dead workers once a tick.
            ticks = time.monotonic() >= due
            if ticks:
                due = time.monotonic() + TICK_SECONDS
            try:
                self._settle()
                if ticks:
                    self._give_up_the_silent()
                    self._end_overdue()
                self._claim_trainings()
                self._claim_generations()
            except sa.exc.SQLAlchemyError as error:
                # The queue waits in the database until it can be reached again.
                print(f"soundlora: the database can't be reached: {error}", file=sys.stderr, flush=True)
            except Exception:  # One request must not take the queue of all others with it.
                traceback.print_exc()
            self._awake.wait(max(0.0, due - time.monotonic()))
            self._awake.clear()

    def _settle(self) -> None:
        """Take note of workers that have ended, have done their request, or have been idle for long enough."""
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                worker.end()
                self._give_back(worker, lost=True)
                self._workers.remove(worker)
            elif answer := worker.answer():
                self._give_back(worker, lost=False)
                worker.rest()
                if answer == FULL:
                    self._full.add(worker.device)
                if answer != DONE:
                    worker.end()
            idle = worker.stays and not worker.busy
            if idle and time.monotonic() - worker.idle_since >= self.settings.warm_seconds:
                worker.end()
        self._full &= {worker.device for worker in self._workers if not worker.stays}

    def _claim_trainings(self) -> None:
        while not self._stopping and len(self._trainings()) < self.slots:
            trained_on = [worker.device for worker in self._trainings()]
            device = min(self._devices, key=lambda device: (trained_on.count(device), device))
            generating = [worker for worker in self._workers if worker.stays and worker.device == device]
            # A training plans by the memory that it finds. On a GPU it waits for a generation, and no base stays there.
            if self._gpus and any(worker.busy for worker in generating):
                return
            request = self.requests.claim(but=self._generations)
            if request is None:
                return
            if self._gpus:
                for worker in generating:
                    worker.end()
            self._start(request, device)

    def _claim_generations(self) -> None:
        generating = {worker.device: worker for worker in self._workers if worker.stays}
        trained_on = [worker.device for worker in self._trainings()]
        # A device whose base is loaded comes first, then one without a training.
        for device in sorted(self._devices, key=lambda device: (device not in generating, trained_on.count(device))):
            worker = generating.get(device)
            if self._stopping or (worker is not None and worker.busy) or device in self._full:
                continue
            request = self.requests.claim(self._generations)
            if request is None:
                return
            if worker is None:
                self._start(request, device, generates=True)
            else:
                worker.give(request, self._folder(request), shared=device in trained_on)

    def _trainings(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if not worker.stays]

    def _folder(self, request: Request) -> Path:
        return self.settings.runs / request.id

    def _start(self, request: Request, device: int, *, generates: bool = False) -> None:
        assert request.owner is not None
        try:
            worker = WorkerProcess(
                self.command,
                request,
                self._folder(request),
                self._environment(device, generates),
                device=device,
                shared=any(worker.device == device for worker in self._trainings()),
                on_answer=self.wake if generates else None,
            )
        except OSError as error:
            self.requests.release(request.id, request.owner, lost=True, reason=f"No worker could be started: {error}")
            return
        self._workers.append(worker)

    def _environment(self, device: int, generates: bool) -> dict[str, str]:
        environment = os.environ | {
            SETTINGS_VARIABLE: self.settings.to_json(),
            TURN_VARIABLE: str(self._turns / str(device)),
        }
        if self._gpus > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(device)
        if not self._gpus:
            # torch's threads wait for their slowest. One that shares a core with the server would hold up all others,
            # for hours of a training. A generation has the turn alone, and is over before that counts.
            threads = usable_cores() if generates else (usable_cores() - 1) // self.slots
            environment.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
        return environment

    def _give_back(self, worker: WorkerProcess, *, lost: bool) -> None:
        """Give a worker's request back, unless the worker has already finished or released it."""
        if worker.request is None:
            return
        code = worker.process.poll()
        how = "it answered" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
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
                    if worker.request is not None and worker.request.owner == owner:
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
