"""The cache folder holds what soundlora can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def default_root() -> Path:
    """Return `$SOUNDLORA_CACHE` if it is set, else soundlora's folder in the user's cache directory."""
    named = os.environ.get("SOUNDLORA_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soundlora"
