"""What a setting is called where a sentence about it is read.

The command line says `--duration`, Python `duration`, HTTP and the page `audio_duration_seconds`. Whoever speaks to a
surface names things for it with `wording`; whoever writes a sentence asks for the name with `setting` or `using`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Namer = Callable[[str, object], str]
"""(setting, value) → words. The value is None where only the setting is meant; True for a switch."""


def setting(name: str) -> str:
    """The setting's name as the subject of a sentence: `--rank`, `rank`."""
    return _namer.get()(name, None).rstrip("=")


def using(name: str, value: object = None) -> str:
    """The setting as something to write: `--rank 8`, `rank=8`; without a value `--out`, `out=`."""
    return _namer.get()(name, value)


@contextmanager
def wording(namer: Namer) -> Iterator[None]:
    """Sentences that are made within the block name settings so."""
    token = _namer.set(namer)
    try:
        yield
    finally:
        _namer.reset(token)


def python_words(name: str, value: object) -> str:
    """`rank=8`, `resume=True`, `out=`."""
    return f"{name}=" if value is None else f"{name}={value!r}"


def command_line_words(name: str, value: object) -> str:
    """`--rank 8`, `--resume`, `--no-average`, `--out`; the data is an argument without a flag."""
    if name == "data":
        return "DATA"
    flag = {"validation_prompts": "validation-prompt"}.get(name, name.replace("_", "-"))
    if value is False:
        return f"--no-{flag}"
    return f"--{flag}" if value is None or value is True else f"--{flag} {value}"


_namer: ContextVar[Namer] = ContextVar("namer", default=python_words)
