"""A run without a server keeps its states at a place of the user's, and the same command goes on from them anywhere."""

from __future__ import annotations

import contextlib
import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from soundlora.errors import InputError, MachineError, about
from soundlora.pipeline.options import DATA_FIELD, TrainingOptions
from soundlora.pipeline.resuming import check_same
from soundlora.progress import OnProgress, Progress
from soundlora.system.cache_root import expanded
from soundlora.training.run_folder import RunFolder
from soundlora.training.workers import Workers
from soundlora.wording import setting

if TYPE_CHECKING:
    from soundlora.pipeline.run_mirror import RunMirror

_FOUND = (DATA_FIELD, "name", "base", "init_lora", "validation")
"""What a request says in other words than the options that it was made from."""


@dataclass
class Synced:
    """The run of some options and its mirror in the place that `sync` names. The block ends with its states there.

    goes_on: whether there is a run to go on with, which is in the folder by now. mirror: None in all processes of a run
    but the first.
    """

    goes_on: bool
    finished: bool
    folder: RunFolder
    mirror: RunMirror | None = None
    fetched: bool = False  # into a folder that held no run
    tell: OnProgress | None = None

    @classmethod
    def shared(cls, options: TrainingOptions) -> Synced:
        """Fetch the newest state in the first process of a run, and say in all of them what there is.

        Raises InputError for a place that can't be used, or that holds another run, MachineError when it can't be
        reached.
        """
        workers = Workers.from_environment(options.device)
        begun = _begun(options) if workers.first else None
        goes_on, finished = workers.share(None if begun is None else (begun.goes_on, begun.finished))
        return begun or cls(goes_on, finished, RunFolder(Path(options.out)))

    def __enter__(self) -> Synced:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.mirror is None:
            return
        try:
            if isinstance(error, InputError) and self.fetched:
                self.forget()
            elif kind is None:
                self._see_off(self.mirror.END_SECONDS)
            elif self.folder.request.exists():
                with contextlib.suppress(KeyboardInterrupt, MachineError):
                    self._see_off(self.mirror.STOP_SECONDS)
        finally:
            self.mirror.close()

    def _see_off(self, seconds: float) -> None:
        """Wait for the last state. Raises MachineError when it has not reached its place."""
        assert self.mirror is not None
        if not self.mirror.settle(seconds):
            sentence = (
                f"Not all of {self.folder.path} has reached {self.mirror.place}; the same command goes on with it."
            )
            if self.tell is not None:
                self.tell(Progress("done", message=sentence, note=True))
            raise MachineError(sentence, "network")

    def forget(self) -> None:
        """Delete what was fetched into an empty folder. It stays where it came from."""
        for path in self.folder.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _begun(options: TrainingOptions) -> Synced:
    """Return the run with its newest state in the folder. Raises as `Synced.shared` does."""
    from soundlora.net.storage import StorageError

    folder, tell = RunFolder(Path(options.out)), options.on_progress
    if folder.path.is_dir() and folder.is_held():
        raise folder.held()
    if not folder.request.exists() and not folder.fetching.exists():
        folder.check_free()
    empty = folder.fetching.exists() or not folder.request.exists()
    mirror = _mirror(options)
    try:
        goes_on = mirror.begin()
        run = Synced(goes_on, folder.is_finished(), folder, mirror, goes_on and empty, tell)
        if run.finished:
            with run:
                _check_finished(run, options)
                if tell is not None:
                    sentence = f"The run in {mirror.place} is finished; its files are in {folder.path}."
                    tell(Progress("done", message=sentence, note=True))
    except StorageError as error:
        raise MachineError(f"{mirror.place} can't be reached ({error}); try again later.", "network") from None
    return run


def _mirror(options: TrainingOptions) -> RunMirror:
    try:
        from soundlora.net.storage import Storage
        from soundlora.pipeline.run_mirror import RunMirror
    except ImportError:
        raise InputError(
            f"{setting('sync')} needs the package obstore: pip install 'soundlora[serve]'.", field="sync"
        ) from None
    place, out = options.sync or "", Path(options.out).absolute()
    if not place.strip():
        raise InputError(f"{setting('sync')} is empty; name a folder, or write s3://bucket/prefix.", field="sync")
    if "://" not in place:
        place = str(expanded(place).absolute())
        if Path(place).is_relative_to(out) or out.is_relative_to(place):
            raise InputError(
                f"{setting('sync')} is {place}, and {setting('out')} {out}: neither may lie in the other.", field="sync"
            )
    with about("sync"):
        storage = Storage(place)
    return RunMirror(out, storage, tell=functools.partial(_note, options.on_progress))


def _note(tell: OnProgress | None, sentence: str) -> None:
    if tell is not None:
        tell(Progress("saving", message=sentence, note=True))


def _check_finished(run: Synced, options: TrainingOptions) -> None:
    """Raise InputError when the finished run was asked for by other settings. Its clips are not looked at."""
    assert run.mirror is not None
    stored = run.folder.read_request()
    wanted = {name: value for name, value in options.to_request().items() if value is not None}
    same = [name for name in wanted if name in stored and name not in _FOUND]
    check_same(run.mirror.place, {name: stored[name] for name in same}, {name: wanted[name] for name in same})
