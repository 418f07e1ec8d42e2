"""Settings for kinds of sound, by name.

A preset is nothing but those settings: whatever is given beside it counts, and the run keeps them and not the name. Why
each is what it is stands in docs/what_helps.md, with what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "voice": {"targets": "attention"},
    "foley": {"rank": 128},
    "ambience": {"rank": 128, "windows": "all"},
    "instrument": {"rank": 128},
    "one-shots": {"rank": 128, "duration": 1.0, "short": "pad"},
}
