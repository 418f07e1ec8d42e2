"""Generations and a training take turns on a device: a generation takes the turn, a training gives way between steps.

Two processes that compute at the same time on the same cores slow each other down many times over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock

TURN_VARIABLE = "SOUNDLORA_TURN"
"""It holds the path of the file that the processes on one device lock. The system frees it when a process dies."""
_LOOK_SECONDS = 0.01


class Turn:
    """The turn on the device of this process. Without a path nobody else computes there."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Turn:
        """Return the turn that the executor has named."""
        path = environment.get(TURN_VARIABLE)
        return cls(Path(path) if path else None)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have the device until the end of the block. A step that is under way there ends meanwhile."""
        if self._path is None:
            yield
            return
        with FileLock(self._path, poll_interval=_LOOK_SECONDS):
            yield

    def give_way(self) -> None:
        """Wait while somebody else has the device. A training calls it between two steps."""
        with self.taken():
            pass
