"""How often something is done in a run: every so many steps, or whenever so much time has passed."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

from soundlora.errors import InputError
from soundlora.wording import setting

_SECONDS = {"s": 1, "min": 60, "h": 3600}


def interval_of(name: str, value: Any) -> int | timedelta:
    """Return steps as an int, and a time such as "30s", "5min" or "1h" as a timedelta.

    name: of the setting, for the InputError that is raised for anything else.
    """
    found: int | timedelta | None = None
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value.strip(), re.ASCII):
        found = int(value)
    elif isinstance(value, str):
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?(s|min|h)", value.strip(), re.ASCII)
        found = timedelta(seconds=float(match[1]) * _SECONDS[match[2]]) if match else None
    elif isinstance(value, int | timedelta) and not isinstance(value, bool):
        found = value
    if found is None:
        raise InputError(
            f"{setting(name)} is {str(value)[:60]!r}, but it must be a whole number of steps, or a time such as 30s, "
            "5min or 1h.",
            field=name,
        )
    if (found.total_seconds() if isinstance(found, timedelta) else found) <= 0:
        raise InputError(f"{setting(name)} is {value}, but it must be positive.", field=name)
    return found


class Due:
    """Says once whenever so much time has passed. Of anything but a timedelta it never does."""

    def __init__(self, every: object) -> None:
        self._seconds = every.total_seconds() if isinstance(every, timedelta) else float("inf")
        self._last = time.monotonic()

    def __call__(self) -> bool:
        return time.monotonic() - self._last >= self._seconds

    def done(self) -> None:
        """Let the time begin anew."""
        self._last = time.monotonic()
