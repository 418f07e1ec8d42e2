"""The states of trainings in the storage, from which any machine goes on: each request has its own below `runs/`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Iterator

from soundlora.net.storage import Storage, StorageError
from soundlora.pipeline.kept_state import State, found_states, read_whole
from soundlora.pipeline.lengthen import longer_request

_KNOWN_SECONDS = 30.0
_CLAIM = "states/passed_on"


def prefix_of(request_id: str) -> str:
    """Return the prefix of a request's states."""
    return f"runs/{request_id}"


class RunStates:
    """The states of a storage. Threads may share it. Every method raises StorageError when the storage fails."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._known: dict[str, tuple[float, tuple[int, bool] | None]] = {}

    def newest(self, request_id: str, *, known: bool = False) -> tuple[int, bool] | None:
        """Return (steps done, whether the run has finished) of the newest state, or None where there is none.

        known: an answer of some seconds ago is good enough, and none while the storage is away.
        """
        at, found = self._known.get(request_id, (0.0, None))
        if known and time.monotonic() - at < _KNOWN_SECONDS:
            return found
        try:
            names = [key.rpartition("/")[2] for key, _ in self.storage.list(f"{prefix_of(request_id)}/states")]
        except StorageError:
            if not known:
                raise
            names = []
        found = None
        if names and _CLAIM.rpartition("/")[2] not in names:
            _, step, going, _ = max(names).split("-")
            found = int(step), going == "finished"
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[request_id] = (time.monotonic(), found)
        return found

    @contextlib.contextmanager
    def passed_on(self, old_id: str, new_id: str) -> Iterator[None]:
        """Give the newest state of one request to another, and take it back when the block fails.

        Raises FileNotFoundError when there is none, or when another call passes it on.
        """
        try:
            self.storage.create(f"{prefix_of(old_id)}/{_CLAIM}", new_id.encode())
        except FileExistsError as error:
            raise FileNotFoundError(str(error)) from None
        try:
            with self._given(old_id, new_id):
                yield
        except BaseException:
            self.storage.delete(f"{prefix_of(old_id)}/{_CLAIM}")
            raise
        with contextlib.suppress(StorageError):  # the sweep does it later
            self.remove(old_id)

    @contextlib.contextmanager
    def longer(self, finished_id: str, new_id: str, steps: int) -> Iterator[None]:
        """Give the state of a finished request to one of `steps` steps in all, and remove that when the block fails.

        Raises FileNotFoundError when there is none.
        """
        with self._given(finished_id, new_id, steps):
            yield

    @contextlib.contextmanager
    def _given(self, old_id: str, new_id: str, steps: int | None = None) -> Iterator[None]:
        old, new = prefix_of(old_id), prefix_of(new_id)
        found = found_states(self.storage, f"{old}/")
        if not found or not found[0].step:
            raise FileNotFoundError(f"Request {old_id} has no state to go on from.")
        state = found[0]
        files = {name: each for name, each in state.files.items() if steps is None or _is_lasting(name)}
        try:
            for _, sha256 in {each[1]: each for each in files.values()}.values():
                self.storage.copy(f"{old}/files/{sha256}", f"{new}/files/{sha256}")
            if steps is not None:
                request = json.loads(read_whole(self.storage, f"{old}/files/{state.files['request.json'][1]}"))
                told = longer_request(request, state.step, steps)
                content = (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
                files["request.json"] = len(content), hashlib.sha256(content).hexdigest()
                self.storage.put(f"{new}/files/{files['request.json'][1]}", content)
            finished = state.finished and steps is None
            given = State.named(f"{new}/", 0, state.step, finished, files, secrets.token_hex(8))
            self.storage.put(given.key, given.manifest)
            yield
        except BaseException:
            with contextlib.suppress(StorageError):
                self.remove(new_id)
            raise

    def remove(self, request_id: str) -> None:
        """Delete all states of a request. None is no error."""
        keys = sorted(key for key, _ in self.storage.list(prefix_of(request_id)))
        # The manifests go first, so that no state lacks a file.
        for key in sorted(keys, key=lambda key: "/states/" not in key):
            self.storage.delete(key)
        self._known.pop(request_id, None)

    def ids(self) -> list[str]:
        """Return the ids of all requests that have states."""
        return self.storage.folders("runs")


def _is_lasting(name: str) -> bool:
    """Say whether a file of a finished run is one of a longer run, too."""
    return name.startswith(("checkpoints/", "previews/")) or name in ("metrics.jsonl", "held_out.jsonl")
