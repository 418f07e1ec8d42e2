"""The pulse of a worker is a thread that says that it lives, reports its progress, and stops it on demand."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, TextIO

import sqlalchemy as sa

from soundlora.server.store.requests import LostLeaseError, Requests
from soundlora.server.store.stopping import is_to_stop
from soundlora.system.operating_system import interrupt_main_thread, pipe_has_ended

BEAT_SECONDS = 0.3

Reason = Literal["cancelled", "timeout", "lost", "stopped"]


class Pulse:
    """Beats for one request until the end of the block.

    `reason` says why the work was interrupted; it is None before that. The interrupt is a SIGINT to this process, which
    a training run takes between two steps. `stop_asked` says whether a training is to end with what it has learnt.
    `max_seconds` limits the work. `watch` is called at every beat and returns points of curves (step, name, value).
    With `attached` the process is also interrupted when its standard input ends, because whoever started it has gone
    then.
    """

    def __init__(
        self,
        requests: Requests,
        request_id: str,
        owner: str,
        *,
        max_seconds: float,
        watch: Callable[[], list[tuple[int, str, float]]] = list,
        attached: bool = False,
    ) -> None:
        self.requests, self.request_id, self.owner = requests, request_id, owner
        self.reason: Reason | None = None
        self.stop_asked = False
        self._deadline = time.monotonic() + max_seconds
        self._watch = watch
        self._attached = attached
        self._progress: dict[str, Any] | None = None
        self._lines: list[tuple[float, str, str]] = []
        self._points: list[tuple[int, str, float]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._watch_again()
        with contextlib.suppress(LostLeaseError, sa.exc.SQLAlchemyError):
            self._beat()

    def show(self, progress: dict[str, Any]) -> None:
        """Set the live state of the run. Only the latest is kept."""
        self._progress = progress

    def log(self, message: str, level: str = "INFO") -> None:
        """Add a line to the request's log."""
        _print(f"{level}: {message}", sys.stdout)
        with self._lock:
            self._lines.append((time.time(), level, message))

    def _run(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._watch_again()
            try:
                if self._beat():
                    self._interrupt("cancelled")
                self.stop_asked = is_to_stop(self.requests.database, self.request_id)
            except LostLeaseError:
                self._interrupt("lost")
                return
            except sa.exc.SQLAlchemyError as error:
                # The next beat sends what this one could not, and the work goes on.
                _print(f"WARN: the database can't be reached: {error}", sys.stderr)
            if time.monotonic() > self._deadline:
                self._interrupt("timeout")
            if self._attached and self._parent_gone():
                self._interrupt("stopped")

    def _watch_again(self) -> None:
        try:
            self._points += self._watch()
        except Exception as error:  # A curve is only a comfort. Its errors must not end the run.
            _print(f"WARN: {type(error).__name__}: {error}", sys.stderr)

    def _beat(self) -> bool:
        progress, self._progress = self._progress, None
        with self._lock:
            lines, self._lines = self._lines, []
        curve, self._points = self._points, []
        try:
            return self.requests.beat(self.request_id, self.owner, progress=progress, lines=lines, curve=curve)
        except sa.exc.SQLAlchemyError:
            self._progress = self._progress or progress
            with self._lock:
                self._lines = lines + self._lines
            self._points = curve + self._points
            raise

    def _interrupt(self, reason: Reason) -> None:
        if self.reason is None:
            self.reason = reason
            interrupt_main_thread()

    def _parent_gone(self) -> bool:
        return pipe_has_ended(sys.stdin.fileno())


def _print(text: str, stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # The output goes to a file, whose disk may be full.
        print(text, file=stream, flush=True)
