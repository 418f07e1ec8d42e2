"""What can be wrong with a data set: one class a kind, each with the type that the hosted endpoint gives it.

The command line prints the sentence and exits with 2; a server answers 422 with `type` and `ctx` beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from soundlora.dataset.names import MEDIA_EXTENSIONS
from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.dataset.report import DatasetReport

Problem = Literal["too_short", "silent", "undecodable"]
"""Why a clip is skipped, for programs; the reason in words stands beside it."""


class DataError(InputError):
    """Something is wrong with the training data. `type` and `ctx` are what the endpoint's error of this kind holds."""

    type: ClassVar[str] = "value_error"

    @property
    def ctx(self) -> dict[str, Any]:
        """The figures of the error under the endpoint's names: sizes in bytes, durations in seconds."""
        return {}


class FileDownloadError(DataError):
    """The URL cannot be fetched or is none."""

    type = "file_download_error"


class FileTooLargeError(DataError):
    """What the URL leads to is larger than `max_bytes`."""

    type = "file_too_large"

    def __init__(self, message: str, *, max_bytes: int) -> None:
        super().__init__(message)
        self.max_bytes = max_bytes

    @property
    def ctx(self) -> dict[str, Any]:
        return {"max_size": self.max_bytes}


class InvalidArchiveError(DataError):
    """The source cannot be read, or it is an archive that must not be read."""

    type = "invalid_archive"

    @property
    def ctx(self) -> dict[str, Any]:
        return {"supported_extensions": [".zip"]}


class TooManyFilesError(InvalidArchiveError):
    """More media files than the limit."""

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


class DatasetError(DataError):
    """The source was read, but no clip of it can be used. `report` says what became of each."""

    def __init__(self, message: str, report: DatasetReport) -> None:
        super().__init__(message)
        self.report = report


class NoAudioError(DatasetError):
    """The source holds no audio file."""

    type = "archive_file_count_below_minimum"

    @property
    def ctx(self) -> dict[str, Any]:
        return {"min_count": 1, "provided_count": 0, "supported_extensions": list(MEDIA_EXTENSIONS)}


class ClipsTooShortError(DatasetError):
    """Every clip is shorter than the bucket. Lengths are in seconds."""

    type = "audio_duration_too_short"

    def __init__(self, message: str, report: DatasetReport, *, bucket: float, longest: float) -> None:
        super().__init__(message, report)
        self.bucket = bucket
        self.longest = longest

    @property
    def ctx(self) -> dict[str, Any]:
        return {"min_duration": self.bucket, "provided_duration": self.longest}


class UndecodableError(DatasetError):
    """No clip can be decoded."""

    type = "unsupported_audio_format"

    @property
    def ctx(self) -> dict[str, Any]:
        return {"supported_formats": list(MEDIA_EXTENSIONS)}


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
