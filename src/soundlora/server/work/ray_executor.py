"""This executor lets a Ray cluster place the work. It runs in a process of its own, see `ray_driver`."""

from __future__ import annotations

import math
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import ray

from soundlora.server.settings import Settings
from soundlora.server.store.leases import held
from soundlora.server.store.nodes import NOW
from soundlora.server.store.requests import Requests
from soundlora.server.work.queue_loop import QueueLoop
from soundlora.server.work.ray_tasks import NOTHING, Generating, train_next

STOP_SECONDS = 30.0
"""Workers may take this long for their last checkpoints."""
LARGE_SECONDS = 60.0
"""The time between two trainings of several GPUs, while smaller ones wait."""
PLACING_SECONDS = 5.0
"""A training that waits longer than this for a GPU gets those of actors that have nothing to do."""


@dataclass
class _Task:
    """A training that Ray was asked for. `owner` is the token that it claims with, `placed` that it has done so."""

    owner: str
    gpus: int
    asked_at: float
    placed: bool = False


class _Actor:
    """A process of the cluster that generates. `asked` is what it does, by the token it does it with."""

    def __init__(self, handle: Any) -> None:
        self.handle, self.asked, self.owner = handle, None, ""
        self.idle_since = time.monotonic()

    def ask(self) -> None:
        self.owner = str(uuid.uuid4())
        self.asked = self.handle.generate_next.remote(self.owner)


class RayExecutor(QueueLoop):
    """Asks Ray for a task for each training that is ready, and for actors that generate.

    A task that Ray has not placed yet holds no request: it takes the next one when there is room, so the queue's order
    holds, and what waits in Ray tells its autoscaler how much is missing. Ray restarts nothing that has failed, since
    the queue does. What a dead task held is given back as soon as Ray says so.
    """

    def __init__(self, settings: Settings, requests: Requests, *, until_empty: bool = False) -> None:
        """Connect to the cluster. Raises ConnectionError where there is none."""
        super().__init__(settings, requests, until_empty=until_empty)
        ray.init(
            address=settings.executor,
            namespace="soundlora",
            log_to_driver=False,
            configure_logging=False,
            logging_level="error",
        )
        found = int(ray.cluster_resources().get("GPU", 0))
        on_gpus = settings.device.startswith("cuda") or (settings.device == "" and found > 0)
        self.slots = settings.slots or max(1, found)
        self._text = settings.to_json()
        # A client from outside has no node of its own.
        self._home = "" if settings.executor.startswith("ray://") else ray.get_runtime_context().get_node_id()
        self._on_gpus = on_gpus
        # Failed tasks are the queue's to try again.
        self._train = ray.remote(max_retries=0)(train_next)
        share = settings.generation_gpus if on_gpus else 0
        self._generating = ray.remote(num_cpus=1, num_gpus=share, max_restarts=0)(Generating)
        self._tasks: dict[Any, _Task] = {}
        self._large_at = -math.inf  # when the last task of several GPUs was asked for
        self._actors: list[_Actor] = []

    def connected(self) -> bool:
        """Return whether the cluster is still the one that was connected to. It may wait for an answer for long."""
        try:
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        except Exception:  # Ray has many errors for it, and what it was makes no difference.
            return False
        return self._home in alive if self._home else bool(alive)

    def running(self) -> list[str]:
        return list(held(self.requests.database, self._owners()).values())

    def settle(self, ticks: bool) -> None:
        for ref in _ended(list(self._tasks)):
            self._take_note(ref, self._tasks.pop(ref).owner)
        busy = {actor.asked: actor for actor in self._actors if actor.asked is not None}
        for ref in _ended(list(busy)):
            actor = busy[ref]
            answer = self._take_note(ref, actor.owner)
            actor.asked = None
            if answer != NOTHING:
                actor.idle_since = time.monotonic()
            if answer is None:
                self._actors.remove(actor)
        self._end_idle(self.settings.warm_seconds)

    def claim(self) -> None:
        holding = held(self.requests.database, self._owners())
        for task in self._tasks.values():
            task.placed = task.placed or task.owner in holding
        waiting = [task for task in self._tasks.values() if not task.placed]
        self._ask_for_trainings([task.gpus for task in waiting])
        idle = [actor for actor in self._actors if actor.asked is None]
        asked = sum(actor.asked is not None and actor.owner not in holding for actor in self._actors)
        for _ in range(self.claims.ready_generations() - asked):
            if idle:
                actor = idle.pop()
            elif len(self._actors) < self.slots:
                actor = _Actor(self._generating.remote(self._text, self.id))
                self._actors.append(actor)
            else:
                break
            actor.ask()
        if self._on_gpus and any(time.monotonic() - task.asked_at >= PLACING_SECONDS for task in waiting):
            self._end_idle(0.0)

    @property
    def most(self) -> int:  # type: ignore[override]
        """The slots of the largest machine that is there."""
        return max((_size(node, self._on_gpus) for node in ray.nodes() if node["Alive"]), default=1)

    def free(self) -> int:
        return self.slots - sum(task.gpus for task in self._tasks.values())

    def _end_idle(self, seconds: float) -> None:
        """End the actors that have had nothing to do for so long."""
        for actor in list(self._actors):
            if actor.asked is None and time.monotonic() - actor.idle_since >= seconds:
                # Ray ends an actor once nobody knows it any more and it has done what it was asked for.
                actor.handle.end.remote()
                self._actors.remove(actor)

    def _ask_for_trainings(self, waiting: list[int]) -> None:
        """Ask Ray for a task for each training that is ready. waiting: GPUs of those that it has not placed yet.

        Ray places whatever fits. So one of several GPUs waits there at a time, and what it needs is given to nothing
        smaller meanwhile. The next one is asked for a minute later, so that smaller ones have their turns, too.
        """
        ready = self.claims.ready_trainings()
        for gpus in waiting:
            ready[gpus] = ready.get(gpus, 0) - 1
        for gpus in sorted(ready, reverse=True):
            count = min(ready[gpus], self.free())
            if gpus > 1:
                smaller = any(ready[other] > 0 for other in ready if other < gpus)
                count = int(ready[gpus] > 0 and max(waiting, default=1) == 1 and self._has_turn(gpus, smaller))
            for _ in range(count):
                self._ask_for_a_training(gpus)
                waiting.append(gpus)

    def _has_turn(self, gpus: int, smaller: bool) -> bool:
        """Return whether a training of several GPUs may be asked for. smaller: others are ready, too."""
        rested = time.monotonic() - self._large_at >= LARGE_SECONDS
        return (rested or not smaller) and gpus <= min(self.slots, self.most)

    def _ask_for_a_training(self, gpus: int) -> None:
        task = _Task(str(uuid.uuid4()), gpus, time.monotonic())
        share = {"num_cpus": 1, "num_gpus": gpus} if self._on_gpus else {"num_cpus": gpus, "num_gpus": 0}
        self._tasks[self._train.options(**share).remote(self._text, self.id, task.owner, gpus)] = task
        if gpus > 1:
            self._large_at = task.asked_at

    def give_back(self) -> None:
        """Do nothing: the tasks see for themselves that their node is drained."""

    def end_all(self) -> None:
        self._nodes.drain(self.id, NOW)
        refs = [*self._tasks, *(actor.asked for actor in self._actors if actor.asked is not None)]
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=STOP_SECONDS)
        for actor in self._actors:
            actor.handle.end.remote()
        left = held(self.requests.database, self._owners())
        ray.shutdown()
        for owner, request_id in left.items():
            self.requests.release(request_id, owner, lost=False, reason="The node was stopped")

    def _owners(self) -> list[str]:
        tasks = [task.owner for task in self._tasks.values()]
        return [*tasks, *(actor.owner for actor in self._actors if actor.asked is not None)]

    def _take_note(self, ref: Any, owner: str) -> Any:
        """Return what a task or a call has returned, None where its process is gone. Its request is then given back."""
        try:
            return ray.get(ref)
        except ray.exceptions.RayError as error:
            print(f"soundlora: a task ended: {error}", file=sys.stderr, flush=True)
            # What Ray says of it names machines of the cluster, which clients must not see.
            reason = f"The worker's task ended ({type(error).__name__})"
            for request_id in held(self.requests.database, [owner]).values():
                self.requests.release(request_id, owner, lost=not self.gives_back, reason=reason)
            return None


def _size(node: dict[str, Any], on_gpus: bool) -> int:
    return int(node["Resources"].get("GPU" if on_gpus else "CPU", 0))


def _ended(refs: list[Any]) -> list[Any]:
    """Return those that have a result already."""
    return list(ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else []
