"""Errors of data sets. Each kind has a class, with the type that the hosted endpoint gives it.

The command line prints the sentence and exits with 2. The server answers 422 with `type` and `ctx` beside it.
"""

from __future__ import annotations

from typing import Any, Literal

from soundlora.dataset.names import MEDIA_EXTENSIONS
from soundlora.errors import InputError

Problem = Literal["too_short", "silent", "undecodable", "spans", "same"]
"""Programs read from this why a clip is skipped. People read the reason in words beside it."""


def no_audio(source: str) -> str:
    """Return the sentence on a source without an audio file."""
    return f"{source} holds no audio file; put .wav, .flac, .mp3, .m4a, .aiff or other audio files in it."


class DataError(InputError):
    """Something is wrong with the training data."""

    def __init__(self, message: str) -> None:
        super().__init__(message, field="data")


class InvalidArchiveError(DataError):
    """The source cannot be read, or it is an archive that must not be read."""

    type = "invalid_archive"

    @property
    def ctx(self) -> dict[str, Any]:
        return {"supported_extensions": [".zip"]}


class TooManyFilesError(InvalidArchiveError):
    """The source holds more media files than `limit`; it holds `found`."""

    type = "archive_file_count_exceeds_maximum"

    def __init__(self, message: str, *, limit: int, found: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.found = found

    @property
    def ctx(self) -> dict[str, Any]:
        return {
            "max_count": self.limit,
            "provided_count": self.found,
            "supported_extensions": list(MEDIA_EXTENSIONS),
        }


class DuplicateNameError(DataError):
    """Two clips, or two captions, share a base name."""


class MissingPartnerError(DataError):
    """A clip lacks the file that it needs beside it, or that file its clip."""


class UnusableClipError(Exception):
    """One clip cannot be used and is skipped. `reason` is a clause such as "it is silent"; `problem` is its kind."""

    def __init__(self, reason: str, problem: Problem) -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem: Problem = problem


class DecodeError(UnusableClipError):
    """One file gave no sound."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "undecodable")
