"""A mirror keeps the newest states of a run folder in a storage, so that the run goes on wherever it is started next.

Below its prefix, `files/` has the content of files by their hashes. `states/` has a manifest for each of the two newest
states; it is written when its files are there, and says which file of the run folder has which content. `holder.json`
names the process that writes. Whoever comes last holds the run, and the one before stops.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from soundlora.errors import InputError, MachineError
from soundlora.net.storage import Storage, StorageError
from soundlora.pipeline.kept_state import State, found_states, read_whole
from soundlora.system.operating_system import thread_gives_way
from soundlora.system.whole_files import PARTIAL, second_name, whole, write_whole
from soundlora.training.run_folder import RunFolder
from soundlora.wording import setting

_KEPT = 2  # states
_PIECE_BYTES = 8 * 1024**2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between tries
_NOT_KEPT = (".lock", "stop", ".fetching")


class DamagedStateError(RuntimeError):
    """A state in the storage lacks a file, or has another content than its manifest says."""


@dataclass(frozen=True)
class _Moment:
    step: int
    finished: bool


class RunMirror:
    """The mirror of one run folder below `prefix` of a storage.

    A thread of its own brings the states there, so no step waits for it. An error of the storage is told once, and
    tried again until it has passed. tell: it is called with a sentence, by the thread that trains.
    """

    STOP_SECONDS = 20.0
    """A run that is stopped waits so long for its state to reach the storage. Clouds often leave it 30 s in all."""
    END_SECONDS = 300.0
    """A run that has ended waits this long."""

    def __init__(
        self, folder: Path, storage: Storage, prefix: str = "", tell: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self.folder, self.storage = RunFolder(folder), storage
        self.place = f"{storage.url}/{prefix}" if prefix else storage.url
        self._prefix = f"{prefix}/" if prefix else ""
        self._tell = tell
        self._token = secrets.token_hex(8)
        self._holder = b""
        self._begun = False
        self._states: list[State] = []  # that are in the storage, the newest first
        self._stored: set[str] = set()  # contents that are in the storage
        self._hashes: dict[tuple[str, int, int], str] = {}  # by path, bytes and time of change
        self._sentences: list[str] = []
        self._taken = ""  # who goes on with the run instead
        self._wanted: _Moment | None = None
        self._over = False
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------------------------------
    # The beginning: the newest state comes into the folder

    def begin(self) -> bool:
        """Hold the run, fetch its newest state where the folder has none as new, and say whether a run is there.

        A state that is damaged is passed over for the one before it. Raises StorageError when the storage fails; what
        is offered all the same is brought once it can be reached. Raises InputError when the folder holds another run
        than the storage.
        """
        self._take()
        here = self._rank_here()
        for state in list(self._states):
            if here is not None and state.rank <= here:
                break
            try:
                self._fetch(state)
                break
            except (DamagedStateError, FileNotFoundError) as error:
                self._tell(f"The state after {state.step} steps in {self.place} is damaged ({error}).")
                self._states.remove(state)
                self.storage.delete(state.key)
                if here is not None:  # Its files are whole, and those that came beside them, too.
                    self.folder.fetching.unlink(missing_ok=True)
        self._stored = {sha256 for state in self._states for sha256 in state.contents}
        self._remove_left()
        here = self._rank_here()
        if here is not None and here[0] and not any(state.finished for state in self._states):
            self.offer(here[1], finished=True)
        return here is not None

    def _take(self) -> None:
        """Hold the run, and look at what the storage has of it."""
        holder = {"token": self._token, "host": socket.gethostname(), "time": time.time()}
        self._holder = json.dumps(holder).encode()
        self._put(self._key("holder.json"), self._holder)
        self._states = found_states(self.storage, self._prefix, self._tell)
        self._stored = {sha256 for state in self._states for sha256 in state.contents}
        self._begun = True

    def _remove_left(self) -> None:
        """Delete what no state has: a process was killed before its manifest, or a state was damaged."""
        for key, _ in list(self.storage.list(self._key("files"))):
            if key.rpartition("/")[2] not in self._stored:
                self.storage.delete(key)

    def _rank_here(self) -> tuple[bool, int] | None:
        """Say whether the run in the folder has finished, and after how many steps it goes on; None where none is."""
        folder = self.folder
        if not folder.request.exists() or folder.fetching.exists():
            return None
        return folder.is_finished(), max(folder.checkpoint_steps(), default=0)

    def _fetch(self, state: State) -> None:
        """Write the files of a state into the folder. Those that are there already stay.

        Raises DamagedStateError, or InputError when the folder holds another run.
        """
        folder = self.folder.path
        self._check_same(state)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder.fetching, b"")
        written: dict[str, Path] = {}
        for name, (size, sha256) in state.files.items():
            target = folder / name
            if not (target.is_file() and target.stat().st_size == size and _sha256(target) == sha256):
                target.parent.mkdir(parents=True, exist_ok=True)
                if sha256 in written and target.suffix == ".safetensors":
                    second_name(written[sha256], target)
                else:
                    self._fetch_file(target, size, sha256)
            written[sha256] = target
            self._remember(name, target, sha256)
        self.folder.fetching.unlink()

    def _fetch_file(self, target: Path, size: int, sha256: str) -> None:
        found, count = hashlib.sha256(), 0
        pieces = self.storage.stream(self._content(sha256))
        with whole(target) as unfinished, unfinished.open("wb") as file:
            for piece in pieces:
                found.update(piece)
                count += len(piece)
                file.write(piece)
            if (count, found.hexdigest()) != (size, sha256):
                raise DamagedStateError(f"{target.name} is not what it was")

    def _check_same(self, state: State) -> None:
        """Raise InputError when the folder holds another run than the storage."""
        if self._rank_here() is None or "request.json" not in state.files:
            return
        try:
            there = json.loads(self._read(self._content(state.files["request.json"][1])))
        except ValueError as error:
            raise DamagedStateError(str(error)) from None
        here = self.folder.read_request()
        if _without_place(here) != _without_place(there):
            raise InputError(
                f"{self.folder.path} holds another run than {self.place}; give another folder with {setting('out')}, "
                f"or another place with {setting('sync')}.",
                field="out",
            )

    # ------------------------------------------------------------------------------------------------------------------
    # While it goes: states are offered, and a thread brings them to the storage

    def offer(self, step: int, *, finished: bool = False) -> None:
        """Let the state after `step` steps, which the folder has, be brought to the storage soon. Never waits."""
        self._say()
        with self._turn:
            self._wanted = _Moment(step, finished)
            self._turn.notify_all()
            if self._thread is None and not self._over:
                self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
                self._thread.start()

    def check(self) -> None:
        """Raise MachineError when another process has taken the run over. It costs nothing."""
        if self._taken:
            raise MachineError(f"{self._taken} goes on with the run in {self.place}, so this one stops.", "processes")

    def settle(self, seconds: float) -> bool:
        """Wait until all that was offered is in the storage. Return False when that took longer than `seconds`."""
        with self._turn:
            self._turn.wait_for(lambda: self._wanted is None, seconds)
            settled = self._wanted is None and not self._taken
        self._say()
        return settled

    def close(self) -> None:
        """End the thread, after what it is doing just now at the latest. What has not been brought is left."""
        with self._turn:
            self._over, self._wanted = True, None
            self._turn.notify_all()

    def _run(self) -> None:
        thread_gives_way()  # to the steps; a run that has ended takes no time, so its last state is not later for it
        pause = _FIRST_PAUSE
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._wanted is not None or self._over)
                moment = self._wanted
                if moment is None:
                    return
            done = True
            try:
                self._bring(moment)
                pause = _FIRST_PAUSE
            except FileNotFoundError:
                pass  # The folder has a newer state by now, which is offered too.
            except Exception as error:  # The training goes on, and so do the tries.
                done = False
                if pause == _FIRST_PAUSE:
                    self._sentences.append(f"The state can't be brought to {self.place} yet ({error}); trying again.")
            with self._turn:
                if (done or self._taken) and self._wanted is moment:
                    self._wanted = None
                self._turn.notify_all()
                if self._taken:
                    return
                if not done:
                    self._turn.wait_for(lambda: self._over, pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)

    def _bring(self, moment: _Moment) -> None:
        """Write the state of a moment to the storage, and delete what only older states had.

        Raises FileNotFoundError when the folder no longer has it, StorageError when the storage fails.
        """
        if not self._begun:
            self._take()
        if not self._is_held():
            return
        files = {}
        for path in self._paths(moment):
            try:
                files[path.relative_to(self.folder.path).as_posix()] = self._bring_file(path)
            except FileNotFoundError:
                if path.suffix == ".pt":
                    raise
        if not self._is_held():
            return
        number = self._states[0].number + 1 if self._states else 0
        state = State.named(self._prefix, number, moment.step, moment.finished, files, self._token)
        self._put(state.key, state.manifest)
        self._states.insert(0, state)
        self._drop_older()

    def _drop_older(self) -> None:
        kept, dropped = self._states[:_KEPT], self._states[_KEPT:]
        needed = {sha256 for state in kept for sha256 in state.contents}
        # The manifests go first: one that is there has all its files.
        for state in dropped:
            self.storage.delete(state.key)
        for sha256 in self._stored - needed:
            self.storage.delete(self._content(sha256))
        self._stored &= needed
        self._states = kept

    def _paths(self, moment: _Moment) -> Iterator[Path]:
        """Yield the files of a run folder that a run needs to go on, its state last."""
        folder = self.folder
        state = folder.checkpoint_path(moment.step)
        for path in sorted(folder.path.rglob("*")):
            passed = path.name in _NOT_KEPT or path.suffix in (PARTIAL, ".pt") or path.is_symlink()
            # The config is written last of all, and says that a run has finished.
            if path.is_file() and not passed and (moment.finished or path != folder.config):
                yield path
        if moment.step and (not moment.finished or state.exists()):
            yield state

    def _bring_file(self, path: Path) -> tuple[int, str]:
        """Write a file's content to the storage where that lacks it. Return its bytes and its hash.

        The open file stays readable when its name is deleted or replaced meanwhile. Of one that grows, what it has now
        counts.
        """
        name = path.relative_to(self.folder.path).as_posix()
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            sha256 = self._hashes.get((name, found.st_size, found.st_mtime_ns))
            if sha256 is None:
                sha256 = _hash_of(file, found.st_size)
                self._hashes[name, found.st_size, found.st_mtime_ns] = sha256
            if sha256 not in self._stored:
                file.seek(0)
                few = found.st_size <= _PIECE_BYTES
                content = file.read(found.st_size) if few else _pieces(file, found.st_size)
                self._put(self._content(sha256), content)
                self._stored.add(sha256)
        return found.st_size, sha256

    def _is_held(self) -> bool:
        """Say whether this process still holds the run. It takes it again where somebody has emptied the place."""
        try:
            holder = json.loads(self._read(self._key("holder.json")))
            if holder["token"] != self._token:
                self._taken = f"A process on {holder['host']}"
        except FileNotFoundError:
            self._states, self._stored = [], set()
            self._put(self._key("holder.json"), self._holder)
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"holder.json can't be read: {error}") from None
        return not self._taken

    # ------------------------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        while self._sentences:
            self._tell(self._sentences.pop(0))

    def _remember(self, name: str, path: Path, sha256: str) -> None:
        found = path.stat()
        self._hashes[name, found.st_size, found.st_mtime_ns] = sha256

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _content(self, sha256: str) -> str:
        return self._key(f"files/{sha256}")

    def _put(self, key: str, content: bytes | Iterator[bytes]) -> None:
        try:
            self.storage.put(key, content)
        except FileNotFoundError as error:  # There is no such bucket.
            raise StorageError(str(error)) from None

    def _read(self, key: str) -> bytes:
        return read_whole(self.storage, key)


def _without_place(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name != "training_data_url"}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return _hash_of(file, os.fstat(file.fileno()).st_size)


def _hash_of(file: IO[bytes], size: int) -> str:
    found = hashlib.sha256()
    for piece in _pieces(file, size):
        found.update(piece)
    return found.hexdigest()


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
        size -= len(piece)
        yield piece
