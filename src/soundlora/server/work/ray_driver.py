"""A Ray cluster does the requests. A process of its own drives it, and is started again when it dies."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec

from soundlora.errors import InputError
from soundlora.server.settings import Settings
from soundlora.server.store.requests import Requests
from soundlora.server.work.process import SETTINGS_VARIABLE
from soundlora.system.operating_system import end_at_once, own_group

DRIVER = (sys.executable, "-m", "soundlora.server.work.ray_node")
STOP_SECONDS = 45.0
_PAUSE_SECONDS = 2.0
"""The time between the end of a driver and the next one. A cluster that is gone is looked for so often."""


class RayDriver:
    """Keeps a driver alive, so that the loss of Ray's head costs no server its life.

    Requests that ran in the cluster when it was lost go back to the queue: their workers give them back, or the
    supervisor takes them.
    """

    def __init__(self, settings: Settings, requests: Requests, *, until_empty: bool = False) -> None:
        """Raises InputError where Ray is not installed."""
        if find_spec("ray") is None:
            raise InputError('Ray is not installed; install it with pip install "soundlora[ray]".')
        self.over = threading.Event()
        self.slots = settings.slots
        self._running: list[str] = []
        self._settings = settings
        self._arguments = ["until-empty"] if until_empty else []
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # It has just died. The next one looks by itself.
                process.stdin.write(b"\n")
                process.stdin.flush()

    def running(self) -> list[str]:
        return self._running

    def stop(self) -> None:
        """Let the driver give everything back. Returns when it has ended."""
        self._stopping.set()
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                end_at_once(process)
        self._thread.join()

    def _run(self) -> None:
        # Ray would otherwise report how it is used to its makers, and promise changes at each start.
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        environment = os.environ | quiet | {SETTINGS_VARIABLE: self._settings.to_json()}
        while not (self._stopping.is_set() or self.over.is_set()):
            try:
                process = subprocess.Popen(
                    [*DRIVER, *self._arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    **own_group(),
                )
            except OSError as error:
                _say(f"Ray's driver can't be started: {error}")
            else:
                self._process = process
                self._listen(process)
            if not (self._stopping.is_set() or self.over.is_set()):
                _say(f"the driver of the Ray cluster {self._settings.executor} has ended; another one is started")
            self._stopping.wait(_PAUSE_SECONDS)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Take note of what a driver says until it has ended."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                    self.slots, self._running = said["slots"], said["running"]
                    if said.get("over"):
                        self.over.set()
        process.wait()
        self._running = []
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _say(sentence: str) -> None:
    print(f"soundlora: {sentence}", file=sys.stderr, flush=True)
