"""Errors have an owner: who asked, who runs the machine, the run itself, or whoever interrupted it.

What each becomes is one table a surface: exit codes in `cli.app`, answers over HTTP in `server.work.outcomes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal


class InputError(ValueError):
    """What somebody gave is wrong. The message is one sentence: what is wrong, where, and how to mend it.

    field: the setting that it is about, by its name in Python, such as "duration"; None where it is about several.
    `type` and `ctx` are what the endpoint's error of this kind holds.
    """

    type: ClassVar[str] = "value_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    @property
    def ctx(self) -> dict[str, Any]:
        """The figures of the error under the endpoint's names: sizes in bytes, durations in seconds."""
        return {}


Lack = Literal["memory", "disk", "network", "files", "processes"]
"""What a machine is short of: memory, room on a disk, a server that answers, files that can be used, a process."""


class MachineError(RuntimeError):
    """The machine can't do what was asked, though what was asked is right. Whoever runs the machine can mend it.

    The message is for them and may name folders; `public` is what anybody else is told.
    """

    def __init__(self, message: str, lack: Lack) -> None:
        super().__init__(message)
        self.lack: Lack = lack

    @property
    def public(self) -> str:
        """One sentence without names of files, for those who only use the machine."""
        return _PUBLIC[self.lack]


_PUBLIC: dict[Lack, str] = {
    "memory": "The server has too little memory for this request; try again later, or ask for less.",
    "disk": "The server's disk is full; try again later.",
    "network": "The server can't reach another server that it needs; try again later.",
    "files": "The server can't use its base or one of its folders; whoever runs it finds the reason in its log.",
    "processes": "The server has lost one of the processes of this run; try again.",
}


class DivergedError(RuntimeError):
    """A run's loss or a gradient became NaN or infinite. `saved_at` is its last good state, or None."""

    def __init__(self, message: str, saved_at: Path | None = None) -> None:
        super().__init__(message)
        self.saved_at = saved_at


class Interrupted(RuntimeError):  # noqa: N818  (an interruption is no error)
    """Somebody stopped a run or a fetch. The message says how to go on; `saved_at` is where its state lies."""

    def __init__(self, reason: str, saved_at: Path | None = None) -> None:
        super().__init__(reason)
        self.saved_at = saved_at


@contextmanager
def about(field: str) -> Iterator[None]:
    """An InputError that leaves the block without a field is about this one."""
    try:
        yield
    except InputError as error:
        error.field = error.field or field
        raise
