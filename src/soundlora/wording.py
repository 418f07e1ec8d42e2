"""Sentences name each setting as the reader's surface does.

The command line says `--duration`, Python says `duration`, and HTTP and the page say `audio_duration_seconds`. The code
of a surface chooses its names with `wording`. The code that writes a sentence asks for them with `setting` or `using`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Namer = Callable[[str, object], str]
"""A namer turns (setting, value) into words. The value is None where only the setting is meant, True for a switch."""


def setting(name: str) -> str:
    """Return the setting's name as the subject of a sentence: `--rank` or `rank`."""
    return _namer.get()(name, None).rstrip("=")


def using(name: str, value: object = None) -> str:
    """Return the setting as the user would write it: `--rank 8` or `rank=8`; without a value, `--out` or `out=`."""
    return _namer.get()(name, value)


def is_text(value: str) -> bool:
    """Return whether UTF-8 can hold a string: bytes of a command line that are no text become one that it can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def wording(namer: Namer) -> Iterator[None]:
    """Name settings with `namer` in all sentences that are made within the block."""
    token = _namer.set(namer)
    try:
        yield
    finally:
        _namer.reset(token)


def python_words(name: str, value: object) -> str:
    """Return the words of Python: `rank=8`, `resume=True`, `out=`."""
    return f"{name}=" if value is None else f"{name}={value!r}"


_FLAGS = {"validation_prompts": "validation-prompt", "added_seconds": "for"}
"""Flags that are named otherwise than their settings."""


def command_line_words(name: str, value: object) -> str:
    """Return the words of the command line: `--rank 8`, `--resume`, `--no-average`, `--out`.

    The data is an argument without a flag and becomes `DATA`.
    """
    if name == "data":
        return "DATA"
    flag = _FLAGS.get(name, name.replace("_", "-"))
    if value is False:
        return f"--no-{flag}"
    return f"--{flag}" if value is None or value is True else f"--{flag} {value}"


_namer: ContextVar[Namer] = ContextVar("namer", default=python_words)
