"""A long recording as consecutive clips of one bucket: how many fit, what they are named, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from soundlora.dataset.fit import TOLERANCE_SECONDS
from soundlora.dataset.partners import Partner
from soundlora.errors import InputError
from soundlora.wording import using

Windows = Literal["first", "all"]
"""Of a clip that is longer than the bucket: its start alone, as the hosted endpoint takes it, or all that fits."""

MAX_WINDOWS = 20_000
"""A set has no more clips than that, since the latents of all are in memory."""

_NO_REST = 0.001


def windows_in(seconds: float, duration: float) -> int:
    """Return how many clips of `duration` seconds a recording of `seconds` holds; the last one may lack a hair."""
    return int((seconds + TOLERANCE_SECONDS) / duration)


def window_name(name: str, offset: float) -> str:
    """Return the name of the clip that begins `offset` seconds into `name`. The first one keeps the file's name."""
    return f"{name} @ {round(offset, 3):.10g} s" if offset else name


def is_window(clip: str, name: str) -> bool:
    """Return whether the clip of that name is one of those of the file `name`."""
    return clip == name or clip.startswith(f"{name} @ ")


def rest_warning(seconds: float, duration: float) -> list[str]:
    """Return a clause about what is left of a recording of `seconds` after its last window, or nothing."""
    rest = seconds - windows_in(seconds, duration) * duration
    if rest < _NO_REST or rest == seconds:
        return []
    return [f"its last {rest:.2f} s are not used: they are shorter than the bucket"]


def check_windows(windows: Windows, partner: Partner) -> None:
    """Raise InputError where a clip has something beside it that belongs to its start alone."""
    if windows == "all" and partner:
        what = "the other half of a pair" if partner == "reference" else "a mask"
        raise InputError(
            f"{using('windows', 'all')} makes many clips of a long one, but {what} belongs to one clip; leave it out.",
            field="windows",
        )


def without_window(captions: Sequence[str], windows: Windows) -> list[str]:
    """Return a sentence on the files of captions that no window has, or nothing."""
    if not captions:
        return []
    count = f"{len(captions)} captions of later seconds are" if len(captions) > 1 else "A caption of later seconds is"
    why = (
        "no window begins between it and the next one, or the recording ends before"
        if windows == "all"
        else f"{using('windows', 'all')} makes clips of these, and so does soundlora prepare"
    )
    return [f"{count} not used, such as {captions[0]}: {why}."]


def check_count(clips: int) -> None:
    """Raise InputError where windows make more clips than a set may have."""
    if clips > MAX_WINDOWS:
        raise InputError(
            f"{using('windows', 'all')} makes more than {MAX_WINDOWS:,} clips of this data; use a longer "
            f"{using('duration')} or fewer recordings.",
            field="windows",
        )
