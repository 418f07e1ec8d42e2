"""Files that this module writes are there whole or not at all, whenever the machine stops."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from soundlora.errors import MachineError
from soundlora.system.operating_system import link, reason_of, replace

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, this user's quota is used up, or the file may grow no larger."""
_LONGEST_NAME = 255
"""The bytes that a file's name may have on the usual file systems."""
PARTIAL = ".partial"
_LEFT = re.compile(rf"\.[0-9a-f]{{8}}{re.escape(PARTIAL)}\Z")
"""The end of the names that `whole` writes under."""


def partial(path: Path, mark: str = "") -> Path:
    """Return the path under which `path` is written until it is whole. `mark` tells writers of the same file apart."""
    end = f"{mark and '.'}{mark}{PARTIAL}"
    name = os.fsencode(path.name)
    if len(name) + len(end) > _LONGEST_NAME:
        end = f".{hashlib.sha256(name).hexdigest()[:12]}{end}"
        # A character that the cut goes through is left out.
        name = name[: _LONGEST_NAME - len(end)].decode("utf-8", "ignore").encode()
    return path.with_name(os.fsdecode(name) + end)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to. At the end of the block the file there is synced and renamed to `path`.

    Of several processes that write the same file, the last one's is kept. Raises MachineError when the disk is full or
    the folder can't be written to.
    """
    unfinished = partial(path, secrets.token_hex(4))
    try:
        with writing(path):
            yield unfinished
            with unfinished.open("r+b") as file:
                os.fsync(file.fileno())
            replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before counts more
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises MachineError as `whole` does."""
    with whole(path) as unfinished:
        unfinished.write_bytes(content)


def second_name(path: Path, other: Path) -> None:
    """Give the file `path` a second name in its folder: a hard link, or a copy where the file system has no links.

    A link takes no room, stays when the first name is deleted, and is a plain file for every program, which a symbolic
    link is not on Windows and in archives. Raises MachineError as `whole` does.
    """
    with whole(other) as unfinished:
        if not link(path, unfinished):
            shutil.copyfile(path, unfinished)


def clear_left(folder: Path) -> None:
    """Delete what `whole` was writing in the folder, or deeper, when a kill or a power cut came.

    Nobody may write there now.
    """
    for path in folder.rglob(f"*{PARTIAL}"):
        if _LEFT.search(path.name):
            with contextlib.suppress(OSError):  # another start deletes it
                path.unlink()


@contextlib.contextmanager
def writing(path: Path, advice: str = "name another folder") -> Iterator[None]:
    """Turn the system's error into a MachineError when `path` can't be written. `advice` ends its sentence."""
    try:
        yield
    except OSError as error:
        raise machine_error(error, path, advice) from error


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is gone after the block. Raises MachineError when none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="soundlora-", ignore_cleanup_errors=True)
    except OSError as error:
        raise MachineError(
            f"No folder for temporary files can be made ({reason_of(error)}); name one with TMPDIR.", "files"
        ) from error
    with folder:
        yield Path(folder.name)


def machine_error(error: OSError, path: Path | None = None, advice: str = "name another folder") -> MachineError:
    """Return the MachineError for what the system answered: a full disk, or a file or folder that can't be used.

    path: what was being written; None takes the error's own name of what could not be used.
    """
    name = path or error.filename or "A file"
    if error.errno in _FULL:
        return MachineError(f"{name} can't be written ({reason_of(error)}); make room on its disk.", "disk")
    if path is None:
        return MachineError(f"{name} can't be used ({reason_of(error)}); mend that, or name another one.", "files")
    return MachineError(f"{name} can't be written ({reason_of(error)}); mend that, or {advice}.", "files")
