"""The process of a worker on this machine, which does one request, or several in turn."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from soundlora.server.store.requests import Request, Requests
from soundlora.system.operating_system import own_group

WORKER = (sys.executable, "-m", "soundlora.server.work.worker")
SETTINGS_VARIABLE = "SOUNDLORA_WORKER"
"""It holds the settings of a process that works for an executor, as JSON."""

DONE, LAST, FULL = "done", "last", "full"
"""A worker that stays says one of them when it has done with a request.

LAST says that it ends after this one, FULL that it found no memory for it.
"""


class WorkerProcess:
    """A worker's process. `request` is what it does at the moment.

    For a single request the process gets it as arguments, and ends with it. One that `stays` gets a line on its
    standard input for each request, and answers with a line on its standard output. Both end when their standard input
    does, as it does with the server.
    """

    def __init__(
        self,
        command: Sequence[str],
        request: Request,
        folder: Path,
        environment: Mapping[str, str],
        *,
        devices: Sequence[int],
        shared: bool = False,
        on_answer: Callable[[], None] | None = None,
    ) -> None:
        """Start the process. Raises OSError.

        folder: of the request, for the log. devices: the numbers of its GPUs. shared: as for `give`.
        on_answer: called from another thread after each answer of a process that stays, and at its end; None is a
        single request.
        """
        self.request: Request | None = request
        self.devices, self.stays, self.ending = tuple(devices), on_answer is not None, False
        self.idle_since = 0.0
        self._answer = ""
        self.log = folder / "worker.log"
        folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *([] if self.stays else [request.id, str(request.owner)])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self.stays else output,
                stderr=output,
                env=environment,
                **own_group(),  # Ctrl-C reaches the server only, which stops its workers itself.
            )
        if on_answer is not None:
            threading.Thread(target=self._listen, args=(on_answer,), name="answers", daemon=True).start()
            self.give(request, folder, shared=shared)

    def give(self, request: Request, folder: Path, *, shared: bool) -> None:
        """Hand the next request to a process that stays. shared: a training has memory on the same device."""
        self.request, self.log, self._answer = request, folder / "worker.log", ""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # It has just died. Its request goes back when that is seen.
            self.process.stdin.write(f"{request.id} {request.owner} {'shared' if shared else 'alone'}\n".encode())
            self.process.stdin.flush()

    @property
    def busy(self) -> bool:
        """Whether it can't take a request."""
        return self.request is not None or self.ending

    def answer(self) -> str:
        """Return the answer to the request, or "" while the process works on it."""
        return self._answer

    def rest(self) -> None:
        """Note that the request is done, and that the process is idle from now on."""
        self._answer, self.request, self.idle_since = "", None, time.monotonic()

    def give_back(self, requests: Requests, *, lost: bool) -> None:
        """Give its request back, unless the process has already finished or released it. lost: as for `release`."""
        if self.request is None:
            return
        code = self.process.poll()
        how = "it answered" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
        reason = f"The worker ended ({how}){self._last_words() if lost else ''}"
        assert self.request.owner is not None
        requests.release(self.request.id, self.request.owner, lost=lost, reason=reason)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace")[-2000:].strip().splitlines()
            if lines:
                return f": {lines[-1]}"
        return ""

    def end(self) -> None:
        """Let the process end when its request is done."""
        self.ending = True
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def _listen(self, on_answer: Callable[[], None]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._answer = line.decode(errors="replace").strip()
                on_answer()
        on_answer()  # it has ended
