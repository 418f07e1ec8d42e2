"""What a Ray cluster runs: a task for each training, and actors that generate.

Both claim for themselves once Ray has placed them, so that the queue decides what is next when there is room for it.
They start the same processes as an executor on one machine, and stop them when their node is drained: `ray.cancel` does
not reach a task that waits for a process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import sqlalchemy as sa

from soundlora.server.endpoints import unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.claims import Room
from soundlora.server.store.database import Database
from soundlora.server.store.nodes import NOW, Nodes
from soundlora.server.store.requests import Request, Requests
from soundlora.server.work.claims import Claims
from soundlora.server.work.process import DONE, SETTINGS_VARIABLE, WORKER, WorkerProcess
from soundlora.system.operating_system import ask_to_end

_LOOK_SECONDS = 0.5
NOTHING = "nothing"
"""The answer of an actor that has found no request."""


class _Place:
    """Where requests are done: on any machine of the cluster, in the name of the node that has placed this there."""

    def __init__(self, settings_text: str, node: str) -> None:
        self.settings = Settings.from_json(settings_text)
        self.database = Database(self.settings.database)
        self.requests = Requests(self.database, unit_prices(self.settings))
        self.claims = Claims(self.settings, self.requests)
        self._nodes, self._node = Nodes(self.database), node

    def drained(self) -> bool:
        return bool(self._nodes.draining(self._node))

    def start(self, request: Request, on_answer: Callable[[], None] | None = None) -> WorkerProcess:
        """Start a worker. Ray has chosen its GPU, which it finds in the environment. Raises OSError."""
        environment = os.environ | {SETTINGS_VARIABLE: self.settings.to_json()}
        folder = self.settings.runs / request.id
        return WorkerProcess(WORKER, request, folder, environment, devices=[0], on_answer=on_answer)

    def wait(self, worker: WorkerProcess, over: threading.Event) -> bool:
        """Wait until the worker has ended or answered. Return whether it was asked to give its request back."""
        asked = False
        while worker.process.poll() is None and not worker.answer():
            over.wait(_LOOK_SECONDS)
            try:
                if not asked and self._nodes.draining(self._node) == NOW:
                    asked = True
                    ask_to_end(worker.process)
            except sa.exc.SQLAlchemyError:
                pass  # The worker says it, and waits for the database, too.
        return asked


def train_next(settings_text: str, node: str, owner: str, gpus: int = 1) -> bool:
    """Do the next training of so many GPUs with this token. Return False where none was left to do."""
    place = _Place(settings_text, node)
    try:
        request = None if place.drained() else place.claims.training(Room(gpus, gpus, least=gpus), owner)
        if request is None:
            return False
        try:
            worker = place.start(request)
        except OSError as error:
            place.requests.release(request.id, owner, lost=True, reason=f"No worker could be started: {error}")
            return True
        stopped = place.wait(worker, threading.Event())
        worker.end()
        worker.give_back(place.requests, lost=not stopped)
        return True
    finally:
        place.database.close()


class Generating:
    """An actor that keeps a base loaded in a process, and takes LoRAs in and out of it."""

    def __init__(self, settings_text: str, node: str) -> None:
        self._place = _Place(settings_text, node)
        self._worker: WorkerProcess | None = None
        self._answered = threading.Event()

    def generate_next(self, owner: str) -> str:
        """Do the next generation with this token. Return NOTHING where none was left to do."""
        place = self._place
        request = None if place.drained() else place.claims.generation(owner)
        if request is None:
            return NOTHING
        self._answered.clear()
        worker = self._worker
        if worker is None or worker.ending or worker.process.poll() is not None:
            worker = self._worker = place.start(request, self._answered.set)
        else:
            worker.give(request, place.settings.runs / request.id, shared=False)
        stopped = place.wait(worker, self._answered)
        answer = worker.answer()
        worker.give_back(place.requests, lost=not (answer or stopped))
        worker.rest()
        if answer != DONE:
            worker.end()
        return answer

    def end(self) -> None:
        """Let the process end."""
        if self._worker is not None:
            self._worker.end()
            self._worker.process.wait()
        self._place.database.close()
