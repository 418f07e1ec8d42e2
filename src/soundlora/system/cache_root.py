"""The cache folder holds what soundlora can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path

from soundlora.errors import MachineError


def default_root() -> Path:
    """Return `$SOUNDLORA_CACHE` if it is set, else soundlora's folder in the user's cache directory.

    Raises MachineError for a user without a home.
    """
    named = os.environ.get("SOUNDLORA_CACHE")
    if named:
        return expanded(named)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "soundlora"
    try:
        return Path.home() / ".cache" / "soundlora"
    except RuntimeError:
        raise MachineError(
            "This user has no home folder for the cache; name a folder with SOUNDLORA_CACHE.", "files"
        ) from None


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with the home folder in the place of `~`. The name of a user who does not exist stays."""
    return Path(os.path.expanduser(path))
