"""The flags of `soundlora generate` that name a sound which is gone on from, led into, mended or made into another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from soundlora.errors import InputError
from soundlora.wording import setting

if TYPE_CHECKING:
    from soundlora.pipeline.given_sound import Source

_MODES = {"continue": "extend-prefix", "lead_into": "extend-suffix", "mend": "inpaint", "from": "a2a"}


def source_of(
    sounds: Mapping[str, Path | None], spans: str | None, heard: float | None, added: float | None, decoded: bool
) -> Source | None:
    """Return the sound that is named, and what is to become of it; None where none is named.

    Raises InputError when several are named, and for flags that go with none.
    """
    from soundlora.pipeline.given_sound import Source
    from soundlora.pipeline.spans import parse_spans

    named = [(name, path) for name, path in sounds.items() if path is not None]
    flags = ", ".join(setting(name) for name in sounds)
    if len(named) > 1:
        raise InputError(
            f"{setting(named[0][0])} and {setting(named[1][0])} are named, but one sound is made at a time."
        )
    if not named:
        for name, value in (
            ("spans", spans),
            ("conditioning_seconds", heard),
            ("added_seconds", added),
            ("decoded", decoded),
        ):
            if value:
                raise InputError(f"{setting(name)} goes with a sound that is named by one of {flags}; name one.")
        return None
    name, path = named[0]
    return Source(_MODES[name], path, parse_spans(spans) if spans is not None else (), heard, added, decoded)
