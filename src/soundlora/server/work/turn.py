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
"""It holds the path of the file that the processes on one device lock; that of a training on several has one for each.

The system frees a lock when its process dies.
"""
_LOOK_SECONDS = 0.01


class Turn:
    """The turn on the devices of this process. Without a path nobody else computes there."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Turn:
        """Return the turn that the executor has named."""
        return cls(*(Path(path) for path in environment.get(TURN_VARIABLE, "").split(os.pathsep) if path))

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have the devices until the end of the block. A step that is under way there ends meanwhile."""
        with contextlib.ExitStack() as locks:
            for path in self._paths:
                locks.enter_context(FileLock(path, poll_interval=_LOOK_SECONDS))
            yield

    def give_way(self) -> None:
        """Wait while somebody else has one of the devices. A training calls it between two steps."""
        with self.taken():
            pass
