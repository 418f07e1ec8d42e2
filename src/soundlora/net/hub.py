"""The Hugging Face hub: its address, the user's token, and whether it may be asked.

All of it is found where the hub's own library looks, so that whoever has logged in for another program has done so for
soundlora.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from soundlora.errors import MachineError
from soundlora.system.cache_root import expanded

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # the second is the older name
_OFFLINE = "HF_HUB_OFFLINE"
_YES = ("1", "ON", "YES", "TRUE")


class Token(NamedTuple):
    """A token, and where it was found, in words."""

    value: str
    source: str


def hub() -> str:
    """Return the address of the hub, or of the mirror in `HF_ENDPOINT`."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_home() -> Path:
    """Return the folder of the hub's own library: `HF_HOME`, or the one in the user's cache directory."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _path(os.environ.get("HF_HOME") or f"{cache}/huggingface")


def hub_cache() -> Path:
    """Return the folder in which the hub's own library keeps what it has fetched."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _path(named) if named else hub_home() / "hub"


def find_token() -> Token | None:
    """Return the user's token, or None: from the environment, else from the file that `hf auth login` writes."""
    for name in _TOKENS:
        value = _clean(os.environ.get(name, ""))
        if value:
            return Token(value, name)
    named = os.environ.get("HF_TOKEN_PATH")
    try:
        value = _clean((_path(named) if named else hub_home() / "token").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Token(value, "the token of `hf auth login`") if value else None


def is_offline() -> bool:
    """Say whether `HF_HUB_OFFLINE` forbids to ask the hub."""
    return os.environ.get(_OFFLINE, "").strip().upper() in _YES


def check_online(missing: str) -> None:
    """Raise MachineError with what is `missing`, the subject of a sentence in the plural, where the hub can't be asked.

    Such a subject is "the text encoder's files".
    """
    if is_offline():
        raise MachineError(
            f"{missing} are not on this machine, and {_OFFLINE} is set, so the hub is not asked; unset it, or fetch "
            "them with `soundlora base fetch` where the hub may be asked.",
            "network",
        )


def _clean(token: str) -> str:
    return token.replace("\r", "").replace("\n", "").strip()


def _path(named: str) -> Path:
    return expanded(os.path.expandvars(named))
