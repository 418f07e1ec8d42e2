"""A job gives a worker's run its folder, its files in the storage, and its log."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import sqlalchemy as sa

from soundlora.net.addresses import is_bucket
from soundlora.net.storage import StorageError
from soundlora.pipeline.run_mirror import RunMirror
from soundlora.server.settings import Settings
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome, is_error
from soundlora.server.store.requests import Request
from soundlora.server.work.inputs import fetch
from soundlora.server.work.machine import Machine
from soundlora.server.work.run_states import RunStates, prefix_of
from soundlora.system.cache_root import default_root

if TYPE_CHECKING:
    from soundlora.pipeline.cache import Cache
    from soundlora.server.work.pulse import Pulse

PATIENCE_SECONDS = 300.0
"""A finished result waits this long for a storage that takes nothing. Then the request goes back to the queue."""
_PAUSE_SECONDS = 15.0

_T = TypeVar("_T")


class NotStoredError(RuntimeError):
    """The work is done and lies in its folder, but the storage could not be reached for a long time."""


class Work(Protocol):
    """The work for a request of one kind of endpoint."""

    def run(self) -> Outcome: ...

    def watch(self) -> list[tuple[int, str, float]]:
        """Return new points (step, name, value) of curves."""
        ...

    def publish_new(self) -> None:
        """Store the files that have been made so far."""
        ...

    def keep_state(self) -> None:
        """Delete of the folder what nothing can go on from, after a success."""
        ...


class Job:
    """One request on this machine. Its folder stays until it has succeeded, so that another worker can go on."""

    pulse: Pulse

    def __init__(self, request: Request, settings: Settings, files: Files, machine: Machine | None = None) -> None:
        self.request, self.settings, self.files = request, settings, files
        self.machine = machine or Machine()
        self.input: Any = request.input
        self.folder = settings.runs / request.id
        self.folder.mkdir(parents=True, exist_ok=True)
        self._published: dict[tuple[str, str], dict[str, Any]] | None = None
        self._publishing = threading.Lock()
        self._work: Work | None = None

    def run(self, begin: Callable[[Job], Work]) -> Outcome:
        """Begin the work, do it, and return its outcome.

        Raises KeyboardInterrupt when it is interrupted, and any error of the work.
        """
        work = self._work = begin(self)
        with _Courier(work.publish_new, self.pulse):
            return work.run()

    def watch(self) -> list[tuple[int, str, float]]:
        """Return new points of the run's curves. The pulse calls this."""
        return [] if self._work is None else self._work.watch()

    def publish_rest(self) -> None:
        """Store the files that an interrupted or failed run has made. Never raises."""
        try:
            if self._work is not None:
                self._work.publish_new()
        except Exception as error:  # The outcome is decided already, and matters more.
            self.pulse.log(f"Not everything could be stored: {type(error).__name__}: {error}", "WARN")

    def public(self, text: str) -> str:
        """Return the text without the server's own folders, which clients must not see."""
        text = text.replace(f"{self.folder}/", "")
        for place in (self.settings.base, self.settings.text_encoder, *self.settings.allowed_bases):
            if os.path.isabs(os.path.expanduser(place)) or is_bucket(place):
                text = text.replace(place, os.path.basename(place.rstrip("/")))
        return text

    def fetch(self, url: str, name: str) -> Path:
        """Fetch a URL of the request into the run's folder and return its path. An existing file is not fetched again.

        Raises FileDownloadError or FileTooLargeError.
        """
        target = self.folder / name
        if not target.exists():
            fetch(url, target, settings=self.settings, files=self.files)
        return target

    def mirror(self, folder: Path) -> RunMirror | None:
        """Return the mirror of the run in a folder, from which other machines go on with it. None where none can."""
        if not self.settings.shares:
            return None
        return RunMirror(folder, self.files.storage, prefix_of(self.request.id), self._warn)

    def cache(self) -> Cache:
        """Return the cache of latents and contexts, behind which lies that of all machines."""
        from soundlora.pipeline.cache import Cache

        shared = self.files.storage if self.settings.shares else None
        return Cache(default_root(), shared, limit=self.settings.cache_bytes, tell=self._warn)

    def _warn(self, sentence: str) -> None:
        self.pulse.log(sentence, "WARN")

    def publish(self, path: Path, role: str, content_type: str) -> dict[str, Any]:
        """Store a file and return it as results describe files.

        A resumed run stores some files twice. A file that is in the storage already is not sent again.
        """
        with self._publishing:
            if self._published is None:
                self._published = {
                    (row.role, row.name): row.to_file() for row in self.files.of_request(self.request.id)
                }
            key = (role, path.name)
            if self._published.get(key, {}).get("file_size") != path.stat().st_size:
                row = self.files.add(
                    path,
                    name=path.name,
                    content_type=content_type,
                    role=role,
                    key_id=self.request.key_id,
                    request_id=self.request.id,
                    lifetime=self.request.file_seconds,
                )
                self._published[key] = row.to_file()
                self.pulse.tell_of_files()
            return self._published[key]

    def patiently(self, store: Callable[[], _T]) -> _T:
        """Call `store` and return its result. Repeat it while the storage or the database is away or a disk is full.

        A finished result must not be lost to that. A repeated `store` may find half of its work done. Raises
        NotStoredError after five minutes of failures.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = 0.5
        complained = False
        try:
            while True:
                try:
                    return store()
                except FileNotFoundError:  # Waiting does not bring the file back.
                    raise
                except (StorageError, sa.exc.OperationalError, OSError) as error:
                    if time.monotonic() > deadline:
                        raise NotStoredError(f"{type(error).__name__}: {error}") from error
                    if not complained:
                        self.pulse.log(f"The results can't be stored yet ({error}); trying again", "WARN")
                    complained = True
                time.sleep(pause)
                pause = min(pause * 2, _PAUSE_SECONDS)
        except KeyboardInterrupt:
            if self.pulse.reason == "timeout":  # The work itself was done in time.
                raise NotStoredError("the run's time was over before the storage could be reached") from None
            raise

    def clean_up(self, outcome: Outcome) -> None:
        """Remove the folder after a success, when the storage holds everything, or all but a training's last state.

        A failed run's folder explains it.
        """
        if is_error(outcome.status_code):
            return
        with contextlib.suppress(OSError, StorageError):
            if self._work is not None and self.settings.keep_state_days:
                self._work.keep_state()
            elif (self.folder / "run").exists():
                RunStates(self.files.storage).remove(self.request.id)
        if not (self.settings.keep_state_days and (self.folder / "run" / "config.json").exists()):
            shutil.rmtree(self.folder, ignore_errors=True)


class _Courier:
    """A thread that stores previews and checkpoints while the work goes on, so that a slow storage can't delay it."""

    def __init__(self, deliver: Callable[[], None], pulse: Pulse) -> None:
        self._deliver, self._pulse = deliver, pulse
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        complained = False
        while not self._over.wait(1.0):
            try:
                self._deliver()
            except Exception as error:  # The next try follows in a second, and a last one at the end of the run.
                if not complained:
                    self._pulse.log(f"The storage can't be reached: {type(error).__name__}: {error}", "WARN")
                complained = True
