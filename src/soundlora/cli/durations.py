"""--duration of the command line: one bucket, or several with commas between them."""

from __future__ import annotations

from soundlora.errors import InputError

LEAST, MOST = 0.5, 60.0
"""The hosted endpoint's range, in seconds."""

SEVERAL = "Several, such as 1,2,5, let each clip go into the longest that it fills."


def durations_of(text: str) -> tuple[float, ...]:
    """Return the buckets in seconds, the longest one first. Raises InputError when they can't be read."""
    try:
        found = {float(part) for part in text.split(",")}
    except ValueError:
        must = "must be seconds, such as 5 or 1,2,5"
        raise InputError(f"--duration is {text!r}, but it {must}.", field="duration") from None
    for duration in found:
        if not LEAST <= duration <= MOST:
            raise InputError(
                f"--duration is {duration:g}, but it must be a number from {LEAST:g} to {MOST:g}.", field="duration"
            )
    return tuple(sorted(found, reverse=True))
