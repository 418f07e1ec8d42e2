"""Names of files that are made from people's words."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.I | re.S)


def portable_name(name: str) -> str:
    """Return `name` as every system takes it for a file's name: most names stay as they are.

    Windows forbids some characters, drops dots and spaces at the end, and takes `nul.wav` for a device.
    """
    name = _FORBIDDEN.sub("_", name).rstrip(". ") or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name
