"""The pulse of a worker is a thread that says that it lives, reports its progress, and stops it on demand."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, TextIO

import sqlalchemy as sa

from soundlora.server.store.beats import Asked, LostLeaseError
from soundlora.server.store.requests import Requests
from soundlora.system.operating_system import interrupt_main_thread, pipe_has_ended

NEWS_SECONDS = 0.5
"""News is written at most so often: progress, lines, points and files."""
LOOK_SECONDS = 1.0
"""So often the table is asked whether the work is to end, which is a short read. Each beat answers it, too."""
BEAT_SECONDS = 5.0
"""So often a worker without news says that it lives."""

Reason = Literal["cancelled", "timeout", "lost", "stopped"]


class Pulse:
    """Beats for one request until the end of the block.

    `reason` says why the work was interrupted; it is None before that. The interrupt is a SIGINT to this process, which
    a training run takes between two steps. `stop_asked` says whether a training is to end with what it has learnt.
    `max_seconds` limits the work. `lease_seconds` is the silence after which the worker is taken for dead; a quarter of
    it is kept at most. `watch` is called twice a second and returns points of curves (step, name, value). With
    `attached` the process is also interrupted when its standard input ends, because whoever started it has gone then.
    """

    def __init__(
        self,
        requests: Requests,
        request_id: str,
        owner: str,
        *,
        max_seconds: float,
        lease_seconds: float = 4 * BEAT_SECONDS,
        watch: Callable[[], list[tuple[int, str, float]]] = list,
        attached: bool = False,
    ) -> None:
        self.requests, self.request_id, self.owner = requests, request_id, owner
        self.reason: Reason | None = None
        self.stop_asked = False
        self._deadline = time.monotonic() + max_seconds
        self._beat_seconds = min(BEAT_SECONDS, lease_seconds / 4)
        self._spoke_at = self._looked_at = -math.inf
        self._watch = watch
        self._attached = attached
        self._progress: dict[str, Any] | None = None
        self._lines: list[tuple[float, str, str]] = []
        self._points: list[tuple[int, str, float]] = []
        self._made = False
        self._number: int | None = None  # of the next beat
        self._unsure: dict[str, Any] | None = None  # what was sent and not answered
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
            self.tell_the_rest()

    def tell_the_rest(self) -> None:
        """Write what has been said since the last beat. The end of the block tries it once.

        Raises LostLeaseError, or the database's error, after which it can be called again.
        """
        while self._has_news():
            self._beat()

    def show(self, progress: dict[str, Any]) -> None:
        """Set the live state of the run. Only the latest is kept."""
        self._progress = progress

    def log(self, message: str, level: str = "INFO") -> None:
        """Add a line to the request's log."""
        _print(f"{level}: {message}", sys.stdout)
        with self._lock:
            self._lines.append((time.time(), level, message))

    def tell_of_files(self) -> None:
        """Let those who watch the run look for the files that were just stored."""
        self._made = True

    def _run(self) -> None:
        while not self._over.wait(min(NEWS_SECONDS, self._beat_seconds)):
            try:
                self._turn(time.monotonic())
            except LostLeaseError:
                self._interrupt("lost")
                return

    def _turn(self, now: float) -> None:
        """Beat where there is news or it is time, else look at times what is asked. Raises LostLeaseError."""
        self._watch_again()
        try:
            asked = self._ask(now)
            if asked is not None:
                self.stop_asked = asked.stop
                if asked.cancel:
                    self._interrupt("cancelled")
        except sa.exc.SQLAlchemyError as error:
            # The next beat sends what this one could not, and the work goes on.
            _print(f"WARN: the database can't be reached: {error}", sys.stderr)
        if now > self._deadline:
            self._interrupt("timeout")
        if self._attached and self._parent_gone():
            self._interrupt("stopped")

    def _ask(self, now: float) -> Asked | None:
        if self._has_news() or now - self._spoke_at >= self._beat_seconds:
            asked = self._beat()
            self._spoke_at = self._looked_at = now
            return asked
        if now - self._looked_at >= LOOK_SECONDS:
            asked = self.requests.asked_of(self.request_id, self.owner)
            self._looked_at = now
            return asked
        return None

    def _has_news(self) -> bool:
        return self._unsure is not None or self._progress is not None or bool(self._lines or self._points) or self._made

    def _watch_again(self) -> None:
        try:
            self._points += self._watch()
        except Exception as error:  # A curve is only a comfort. Its errors must not end the run.
            _print(f"WARN: {type(error).__name__}: {error}", sys.stderr)

    def _beat(self) -> Asked:
        if self._number is None:
            self._number = self.requests.asked_of(self.request_id, self.owner).beat + 1
        # The answer may have been lost after the beat was written, so what is sent again is the same.
        news = self._unsure = self._unsure or self._news()
        asked = self.requests.beat(self.request_id, self.owner, **news, number=self._number)
        self._unsure = None
        self._number = asked.beat + 1
        return asked

    def _news(self) -> dict[str, Any]:
        progress, self._progress = self._progress, None
        with self._lock:
            lines, self._lines = self._lines, []
        curve, self._points = self._points, []
        made, self._made = self._made, False
        return {"progress": progress, "lines": lines, "curve": curve, "made": made}

    def _interrupt(self, reason: Reason) -> None:
        if self.reason is None:
            self.reason = reason
            interrupt_main_thread()

    def _parent_gone(self) -> bool:
        return pipe_has_ended(sys.stdin.fileno())


def _print(text: str, stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # The output goes to a file, whose disk may be full.
        print(text, file=stream, flush=True)
