"""Files that are there whole or not at all, whenever the machine stops."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def partial(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(path.name + ".partial")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The path to write to; at the end of the block what was written there safely becomes `path`."""
    unfinished = partial(path)
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    with whole(path) as unfinished:
        unfinished.write_bytes(content)
