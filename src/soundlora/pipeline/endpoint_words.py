"""How HTTP and the page name settings."""

from __future__ import annotations

from soundlora.pipeline.options import SETTINGS


def endpoint_name(name: str) -> str:
    """Return the endpoint's name for a setting, or the name itself where it has none."""
    return SETTINGS[name].hosted or name if name in SETTINGS else name


def endpoint_words(name: str, value: object) -> str:
    """Name settings for HTTP and the page, as a `wording.Namer`: `audio_duration_seconds 1.7`."""
    return endpoint_name(name) if value is None or value is True else f"{endpoint_name(name)} {value}"
