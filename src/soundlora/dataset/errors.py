"""What can be wrong with a data set: one class a kind, so that the server can name the endpoint's own error types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.dataset.report import DatasetReport

Problem = Literal["too_short", "silent", "undecodable"]
"""Why a clip is skipped, for programs; the reason in words stands beside it."""


class InvalidArchiveError(InputError):
    """The source cannot be read, or it is an archive that must not be read (endpoint: `invalid_archive`)."""


class TooManyFilesError(InvalidArchiveError):
    """More media files than the limit (endpoint: `archive_file_count_exceeds_maximum`)."""

    def __init__(self, message: str, *, limit: int, found: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.found = found


class DuplicateNameError(InputError):
    """Two clips, or two captions, share a base name (endpoint: `value_error`)."""


class DatasetError(InputError):
    """The source was read, but no clip of it can be used. `report` says what became of each."""

    def __init__(self, message: str, report: DatasetReport) -> None:
        super().__init__(message)
        self.report = report


class NoAudioError(DatasetError):
    """The source holds no audio file (endpoint: `archive_file_count_below_minimum`)."""


class ClipsTooShortError(DatasetError):
    """Every clip is shorter than the bucket (endpoint: `audio_duration_too_short`). Lengths are in seconds."""

    def __init__(self, message: str, report: DatasetReport, *, bucket: float, longest: float) -> None:
        super().__init__(message, report)
        self.bucket = bucket
        self.longest = longest


class UndecodableError(DatasetError):
    """No clip can be decoded (endpoint: `unsupported_audio_format`)."""


class UnusableClipError(Exception):
    """One clip cannot be used and is skipped. `reason` is a clause in words: "it is silent"."""

    def __init__(self, reason: str, problem: Problem) -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem: Problem = problem


class DecodeError(UnusableClipError):
    """One file gave no sound."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "undecodable")
