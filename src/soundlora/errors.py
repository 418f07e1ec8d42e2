"""Errors have an owner: who asked, who runs the machine, the run itself, or whoever interrupted it.

Each surface has one table of what they become: `cli.app` maps them to exit codes, `server.work.outcomes` to answers
over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal


class InputError(ValueError):
    """The input is wrong. The message is one sentence that says what is wrong, where, and how to mend it.

    `field` is the Python name of the setting at fault, such as "duration"; it is None where several are. `type` and
    `ctx` are the values of the endpoint's error of this kind.
    """

    type: ClassVar[str] = "value_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    @property
    def ctx(self) -> dict[str, Any]:
        """The figures of the error under the endpoint's names. Sizes are in bytes, durations in seconds."""
        return {}


Lack = Literal["memory", "disk", "network", "files", "processes", "device"]
"""A machine can lack memory, room on a disk, a server that answers, files that can be used, a process or a device."""


class MachineError(RuntimeError):
    """The machine can't do what was asked, though the request is right. Whoever runs the machine can mend it.

    The message is for them and may name folders. Everybody else is told `public`. `lack` says what is short.
    """

    def __init__(self, message: str, lack: Lack) -> None:
        super().__init__(message)
        self.lack: Lack = lack

    @property
    def public(self) -> str:
        """One sentence for those who only use the machine; it names no files."""
        return _PUBLIC[self.lack]


_PUBLIC: dict[Lack, str] = {
    "memory": "The server has too little memory for this request; try again later, or ask for less.",
    "disk": "The server's disk is full; try again later.",
    "network": "The server can't reach another server that it needs; try again later.",
    "files": "The server can't use its base or one of its folders; whoever runs it finds the reason in its log.",
    "processes": "The server has lost one of the processes of this run; try again.",
    "device": "The server can't compute on its device; whoever runs it finds the reason in its log.",
}


class DivergedError(RuntimeError):
    """The loss or a gradient of a run became NaN or infinite. `saved_at` is the run's last good state, or None."""

    def __init__(self, message: str, saved_at: Path | None = None) -> None:
        super().__init__(message)
        self.saved_at = saved_at


class Interrupted(RuntimeError):  # noqa: N818  (an interruption is no error)
    """Somebody stopped a run or a fetch. The message says how to go on; `saved_at` is the path of its state or None."""

    def __init__(self, reason: str, saved_at: Path | None = None) -> None:
        super().__init__(reason)
        self.saved_at = saved_at


@contextmanager
def about(field: str) -> Iterator[None]:
    """Give an InputError that leaves the block without a field this one. The error is raised again."""
    try:
        yield
    except InputError as error:
        error.field = error.field or field
        raise
