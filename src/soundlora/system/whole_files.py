"""Files that this module writes are there whole or not at all, whenever the machine stops."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from soundlora.errors import MachineError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, this user's quota is used up, or the file may grow no larger."""


def partial(path: Path) -> Path:
    """Return the path under which `path` is written until it is whole."""
    return path.with_name(path.name + ".partial")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to. At the end of the block the file there is synced and renamed to `path`.

    Raises MachineError when the disk is full or the folder can't be written to.
    """
    unfinished = partial(path)
    try:
        with writing(path):
            yield unfinished
            with unfinished.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before counts more
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises MachineError as `whole` does."""
    with whole(path) as unfinished:
        unfinished.write_bytes(content)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's error into a MachineError when `path` can't be written."""
    try:
        yield
    except OSError as error:
        raise machine_error(error, path) from error


def machine_error(error: OSError, path: Path | None = None) -> MachineError:
    """Return the MachineError for what the system answered: a full disk, or a file or folder that can't be used."""
    name = path or error.filename or "A file"
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return MachineError(f"{name} can't be written ({reason}); make room on its disk.", "disk")
    return MachineError(f"{name} can't be written ({reason}); mend that, or name another folder.", "files")
