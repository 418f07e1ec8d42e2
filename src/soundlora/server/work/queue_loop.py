"""The loop by which an executor takes requests from the queue, whatever it does them with."""

from __future__ import annotations

import sys
import threading
import time
import traceback
import uuid
from abc import ABC, abstractmethod

import sqlalchemy as sa

from soundlora.server.settings import Settings
from soundlora.server.store.claims import Room
from soundlora.server.store.nodes import NOW, Nodes
from soundlora.server.store.requests import Requests
from soundlora.server.work.claims import Claims
from soundlora.server.work.preparers import Preparers

TICK_SECONDS = 0.5
_SEEN_SECONDS = 10.0
"""The table of nodes is told so often that this one lives."""


class QueueLoop(ABC):
    """A thread that settles what has ended and claims what is next, twice a second and whenever it is woken.

    `settings.endpoints` are those whose requests it takes, and all of them where it names none. Those that train have
    their data prepared here, too, in processes that need no slot.
    """

    slots: int
    most: int
    """The slots that it may give to one training."""

    def __init__(self, settings: Settings, requests: Requests, *, until_empty: bool = False) -> None:
        """until_empty: it is `over` once nothing that it may take waits or runs."""
        self.settings, self.requests = settings, requests
        self.over = threading.Event()
        self.id = str(uuid.uuid4())
        self.claims = Claims(settings, requests)
        prepares = self.claims.trains and settings.prepare_slots > 0
        self._preparers = Preparers(settings, requests, self.wake) if prepares else None
        self._nodes = Nodes(requests.database)
        self._until_empty = until_empty
        self._draining = ""
        self._said_free = -1
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
        if self._preparers is not None:
            self._preparers.ask_to_end()
        self.end_all()
        if self._preparers is not None:
            self._preparers.stop()
        try:
            self._nodes.leave(self.id)
        except sa.exc.SQLAlchemyError as error:
            print(f"soundlora: the database can't be reached: {error}", file=sys.stderr, flush=True)

    @abstractmethod
    def running(self) -> list[str]:
        """Return the ids of the requests that it does at the moment."""

    @abstractmethod
    def free(self) -> int:
        """Return the slots that no training has."""

    @abstractmethod
    def settle(self, ticks: bool) -> None:
        """Take note of what has ended. ticks: half a second has passed, so that the database may be asked, too."""

    @abstractmethod
    def claim(self) -> None:
        """Take requests for what is free."""

    @abstractmethod
    def give_back(self) -> None:
        """Ask every worker to give its request back, and wait for none."""

    @abstractmethod
    def end_all(self) -> None:
        """Let every worker give its request back, and wait until all have ended."""

    @property
    def stopping(self) -> bool:
        """Whether nothing more is taken."""
        return self._stopping or bool(self._draining)

    @property
    def gives_back(self) -> bool:
        """Whether workers have been asked to end, so that their end is no loss."""
        return self._draining == NOW

    def _run(self) -> None:
        due = seen_due = 0.0
        while not self._stopping:
            # Every submit wakes the loop. It then looks for free devices only, and for the rest once a tick.
            now = time.monotonic()
            ticks = now >= due
            if ticks:
                due = now + TICK_SECONDS
            try:
                self.settle(ticks)
                if now >= seen_due or self.free() != self._said_free:
                    seen_due = now + _SEEN_SECONDS
                    self._say()
                if ticks:
                    self._look_at_drain()
                if not self.stopping:
                    self.claim()
                    if self._preparers is not None:
                        self._preparers.look(ticks)
                if ticks:
                    self._look_for_the_end()
            except sa.exc.SQLAlchemyError as error:
                # The queue waits in the database until it can be reached again.
                print(f"soundlora: the database can't be reached: {error}", file=sys.stderr, flush=True)
            except Exception:  # One request must not take the queue of all others with it.
                traceback.print_exc()
            self._awake.wait(max(0.0, due - time.monotonic()))
            self._awake.clear()

    def room(self) -> Room:
        """Return what there is for the next training. Free slots are kept for a larger one as `Nodes.keeps` says."""
        free = self.free()
        return Room(free, self.most, lambda line: self._nodes.keeps(self.id, free, line.gpus, line.endpoint))

    def _say(self) -> None:
        self._said_free = free = self.free()
        most = self.most if self.claims.trains else 0
        running = len(self.running())
        takes = self.claims.trained
        self._nodes.seen(self.id, self.settings.node_name, self.slots, running, free=free, most=most, takes=takes)

    def _look_at_drain(self) -> None:
        before, self._draining = self._draining, self._nodes.draining(self.id)
        if self._draining and not before and self._preparers is not None:
            self._preparers.ask_to_end()
        if self._draining == NOW != before:
            self.give_back()

    def _look_for_the_end(self) -> None:
        if self.running():
            return
        if self._draining or (self._until_empty and not self.claims.waiting(self.most)):
            self.over.set()
