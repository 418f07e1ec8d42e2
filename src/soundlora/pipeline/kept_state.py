"""A state of a run folder as a storage keeps it: a manifest, which says which file has which content."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from soundlora.net.storage import Storage


@dataclass(frozen=True)
class State:
    """A run folder as it was at one moment. files: (bytes, SHA-256) by the path in the folder."""

    key: str
    step: int
    finished: bool
    files: dict[str, tuple[int, str]]

    @classmethod
    def named(
        cls, prefix: str, number: int, step: int, finished: bool, files: dict[str, tuple[int, str]], token: str
    ) -> State:
        """Return a state with its key, which tells without a look inside what it is. token: of the process."""
        going = "finished" if finished else "going"
        return cls(f"{prefix}states/{number:08d}-{step:06d}-{going}-{token}.json", step, finished, files)

    @property
    def number(self) -> int:
        return int(self.key.rpartition("/")[2][:8])

    @property
    def manifest(self) -> bytes:
        told = {"version": 1, "step": self.step, "finished": self.finished, "files": self.files}
        return json.dumps(told).encode()

    @property
    def rank(self) -> tuple[bool, int]:
        return self.finished, self.step

    @property
    def contents(self) -> set[str]:
        return {sha256 for _, sha256 in self.files.values()}


def found_states(storage: Storage, prefix: str, tell: Callable[[str], None] = lambda sentence: None) -> list[State]:
    """Return the states below a prefix, which is empty or ends with a slash, the newest first."""
    found = []
    for key, _ in list(storage.list(f"{prefix}states")):
        try:
            if key.endswith(".json"):
                found.append(_parsed(key, json.loads(read_whole(storage, key))))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            tell(f"{key} in {storage.url} is no manifest any more ({type(error).__name__}).")
    return sorted(found, key=lambda state: state.key, reverse=True)


def read_whole(storage: Storage, key: str) -> bytes:
    """Return a small object. Raises FileNotFoundError when there is none."""
    return b"".join(storage.stream(key))


def _parsed(key: str, manifest: Any) -> State:
    """Return the state of a manifest. Raises ValueError, KeyError or TypeError for what is none."""
    files = {str(name): (int(size), str(sha256)) for name, (size, sha256) in manifest["files"].items()}
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
        raise ValueError(f"{key} names files outside of the run's folder")
    return State(key, int(manifest["step"]), bool(manifest["finished"]), files)
