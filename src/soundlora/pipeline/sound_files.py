"""A sound file that a user names is read and measured here. No tensor is made."""

from __future__ import annotations

from pathlib import Path

from soundlora.dataset import Fitted, UnusableClipError, decode, fit
from soundlora.errors import InputError


def read_sound(path: Path, seconds: float | None = None) -> Fitted:
    """Return a sound file, or its first seconds, with its peak at the level that clips are trained at.

    Raises InputError when it is not there, can't be decoded, or is silent.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is no file.")
    try:
        audio = decode(path, 3600.0 if seconds is None else seconds)
        length = audio.samples.shape[1] / audio.sample_rate
        return fit(audio, length if seconds is None else min(length, seconds))
    except UnusableClipError as error:
        raise InputError(f"{path.name} can't be used: {error.reason}.") from None
