"""This executor gives requests to processes on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soundlora.server.settings import Settings
from soundlora.server.store.leases import held
from soundlora.server.store.requests import Request, Requests
from soundlora.server.work.process import DONE, FULL, SETTINGS_VARIABLE, WORKER, WorkerProcess
from soundlora.server.work.queue_loop import QueueLoop
from soundlora.server.work.turn import TURN_VARIABLE
from soundlora.system.operating_system import ask_to_end, end_at_once, gpu_count, usable_cores

STOP_SECONDS = 30.0
"""A worker may take this long for its last checkpoint."""


class LocalExecutor(QueueLoop):
    """Keeps `settings.slots` trainings going, and generates on each device between their steps.

    A training has a process of its own. Generations have one a device, which keeps its base loaded for
    `settings.warm_seconds` after the last one. A worker here that dies loses its request at once. One whose request was
    taken from it, because it was silent, is ended.
    """

    def __init__(
        self, settings: Settings, requests: Requests, command: Sequence[str] = WORKER, *, until_empty: bool = False
    ) -> None:
        """`command` is started with a request's id and the owner's token as arguments, or for several requests."""
        super().__init__(settings, requests, until_empty=until_empty)
        self.command = command
        # A run that is given one device by its number, or one of another maker, has the choice among none.
        self._gpus = gpu_count() if settings.device in ("", "cuda") else 0
        self._devices = range(max(1, self._gpus))
        self.slots = settings.slots or len(self._devices)
        # Processes of one training have a GPU each, or are all on processors. One device that is named is for one.
        shares = settings.device in ("", "cpu", "cuda")
        self.most = min(self.slots, self._gpus or self.slots) if shares else 1
        self._workers: list[WorkerProcess] = []
        self._full: set[int] = set()  # devices that have no memory for a generation beside their training
        self._turns = Path()  # the folder of the files by which processes on one device take turns
        self._lost_since: dict[str, float] = {}  # when a worker, by its token, was first seen without its lease

    def start(self) -> None:
        self._turns = Path(tempfile.mkdtemp(prefix="soundlora-turns-"))
        super().start()

    def running(self) -> list[str]:
        return [worker.request.id for worker in list(self._workers) if worker.request is not None]

    def give_back(self) -> None:
        for worker in list(self._workers):
            ask_to_end(worker.process)

    def end_all(self) -> None:
        self.give_back()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                end_at_once(worker.process)
                worker.process.wait()
            worker.end()
            worker.give_back(self.requests, lost=False)
        self._workers.clear()
        shutil.rmtree(self._turns, ignore_errors=True)

    def settle(self, ticks: bool) -> None:
        """Take note of workers that have ended, have done their request, or have been idle for long enough."""
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                worker.end()
                worker.give_back(self.requests, lost=not self.gives_back)
                self._workers.remove(worker)
            elif answer := worker.answer():
                worker.give_back(self.requests, lost=False)
                worker.rest()
                if answer == FULL:
                    self._full.update(worker.devices)
                if answer != DONE:
                    worker.end()
            idle = worker.stays and not worker.busy
            if idle and time.monotonic() - worker.idle_since >= self.settings.warm_seconds:
                worker.end()
        self._full &= set(self._trained_on())
        if ticks:
            self._end_the_lost()

    def claim(self) -> None:
        self._claim_trainings()
        self._claim_generations()

    def _claim_trainings(self) -> None:
        while not self.stopping and self.free() > 0:
            trained_on = self._trained_on()
            generating = {worker.devices[0]: worker for worker in self._workers if worker.stays}
            # A training plans by the memory that it finds. On a GPU it waits for a generation, and no base stays there.
            busy = {device for device, worker in generating.items() if self._gpus and worker.busy}
            devices = sorted(self._devices, key=lambda device: (trained_on.count(device), device))
            if devices[0] in busy:
                return
            room = self.room()
            if self._gpus:
                quiet = next((n for n, device in enumerate(devices) if device in busy), len(devices))
                room = replace(room, free=min(room.free, quiet))
            request = self.claims.training(room)
            if request is None:
                return
            chosen = devices[: request.gpus]
            for device in chosen if self._gpus else ():
                if device in generating:
                    generating[device].end()
            self._start(request, chosen)

    def _claim_generations(self) -> None:
        generating = {worker.devices[0]: worker for worker in self._workers if worker.stays}
        trained_on = self._trained_on()
        # A device whose base is loaded comes first, then one without a training.
        for device in sorted(self._devices, key=lambda device: (device not in generating, trained_on.count(device))):
            worker = generating.get(device)
            if self.stopping or (worker is not None and worker.busy) or device in self._full:
                continue
            request = self.claims.generation()
            if request is None:
                return
            if worker is None:
                self._start(request, [device], generates=True)
            else:
                worker.give(request, self._folder(request), shared=device in trained_on)

    def free(self) -> int:
        return self.slots - sum(worker.request.gpus for worker in self._trainings() if worker.request is not None)

    def _trainings(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if not worker.stays]

    def _trained_on(self) -> list[int]:
        return [device for worker in self._trainings() for device in worker.devices]

    def _folder(self, request: Request) -> Path:
        return self.settings.runs / request.id

    def _start(self, request: Request, devices: Sequence[int], *, generates: bool = False) -> None:
        assert request.owner is not None
        try:
            worker = WorkerProcess(
                self.command,
                request,
                self._folder(request),
                self._environment(devices, generates),
                devices=devices,
                shared=bool(set(devices) & set(self._trained_on())),
                on_answer=self.wake if generates else None,
            )
        except OSError as error:
            self.requests.release(request.id, request.owner, lost=True, reason=f"No worker could be started: {error}")
            return
        self._workers.append(worker)

    def _environment(self, devices: Sequence[int], generates: bool) -> dict[str, str]:
        environment = os.environ | {
            SETTINGS_VARIABLE: self.settings.to_json(),
            TURN_VARIABLE: os.pathsep.join(str(self._turns / str(device)) for device in devices),
        }
        if self._gpus > 1:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices))
        if not self._gpus:
            # torch's threads wait for their slowest. One that shares a core with the server would hold up all others,
            # for hours of a training. A generation has the turn alone, and is over before that counts.
            threads = usable_cores() if generates else (usable_cores() - 1) // self.slots
            environment.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
        return environment

    def _end_the_lost(self) -> None:
        """End workers whose requests were taken from them some time ago, so that they hold no device."""
        owners = [str(worker.request.owner) for worker in self._workers if worker.request is not None]
        if not owners:
            return
        now, holding = time.monotonic(), held(self.requests.database, owners)
        self._lost_since = {owner: self._lost_since.get(owner, now) for owner in owners if owner not in holding}
        for worker in self._workers:
            owner = "" if worker.request is None else str(worker.request.owner)
            if now - self._lost_since.get(owner, now) > self.settings.lease_seconds:
                end_at_once(worker.process)
