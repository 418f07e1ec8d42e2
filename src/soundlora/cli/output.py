"""Standard output and error, when they are closed, full, or can't write a character; and files that are there."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from soundlora.errors import InputError, MachineError
from soundlora.system.operating_system import reason_of

_OUTPUT_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)
"""Nobody reads it any more, it was closed, or its terminal is gone."""


def prepare_streams() -> None:
    """Make output possible whatever the program was started with. Call it before anything is printed or opened.

    Where a locale knows ASCII alone the program begins anew with UTF-8, in which paths are written everywhere.
    """
    _begin_in_utf8()
    _fill_closed_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="replace"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            # A character that the terminal does not know is shown as an escape. Bytes that are no text, which names of
            # files may hold, go out as they came.
            stream.reconfigure(errors="surrogateescape" if _is_utf8(stream) else "backslashreplace")


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Turn the system's error into a MachineError where standard output can't be written."""
    try:
        yield
    except OSError as error:
        raise output_error(error) from error


def output_error(error: OSError) -> MachineError:
    return MachineError(
        f"The output can't be written ({reason_of(error)}).", "disk" if error.errno == errno.ENOSPC else "files"
    )


def is_output_error(error: OSError) -> bool:
    """Say whether an error that names no file comes from standard output."""
    return error.filename is None and error.errno in (*_OUTPUT_GONE, errno.ENOSPC)


def finish_output() -> MachineError | None:
    """Write what is still held back. Return the error when that fails, and let nothing be written from then on."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        # Python would try again at its end, and complain in lines of its own.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return output_error(error) if isinstance(error, OSError) else None
    return None


def say_error(sentence: str) -> None:
    """Print a sentence to standard error, if anybody reads it."""
    try:
        print(f"soundlora: {sentence}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]


def check_free(paths: Sequence[Path], overwrite: bool, instead: str = "give another name") -> None:
    """Raise InputError where files are there, unless they are to be replaced. instead: the other way out, in words."""
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        are = "exist" if more else "exists"
        raise InputError(f"{there[0]}{more} {are} already; replace what is there with --overwrite, or {instead}.")


def print_json(value: Any) -> None:
    """Print a value as JSON, with escapes for the characters that standard output can't write."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


def _begin_in_utf8() -> None:
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _fill_closed_descriptors() -> None:
    """Open the standard descriptors that are closed, so that no file of ours gets a number that libraries write to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _is_utf8(stream: io.TextIOWrapper) -> bool:
    return stream.encoding.lower().replace("-", "") in ("utf8", "utf8sig")
