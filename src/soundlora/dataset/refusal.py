"""Errors of data sets that can't be trained on. Each kind has a class, with the hosted endpoint's type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soundlora.dataset.names import MEDIA_EXTENSIONS
from soundlora.dataset.problems import DataError, no_audio
from soundlora.dataset.report import MIN_DURATION, DatasetReport
from soundlora.wording import using


class DatasetError(DataError):
    """The source was read, but no clip of it can be used. `report` gives the reason for each clip."""

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
    """Every clip is shorter than the bucket. `bucket` and `longest`, the longest clip, are in seconds."""

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


def refusal(report: DatasetReport) -> DatasetError | None:
    """Return the error that `prepare` raises for a data set with this report, None when it can be trained on."""
    return None if report.kept else _nothing_usable(report)


def _nothing_usable(report: DatasetReport) -> DatasetError:
    source, clips = Path(report.source).name or report.source, report.clips
    if not clips:
        return NoAudioError(no_audio(source), report)
    first = f"{clips[0].name}: {clips[0].reason}"
    short = [clip for clip in clips if clip.problem == "too_short"]
    if short:
        longest = max(short, key=lambda clip: clip.seconds or 0.0)
        length, suggested = longest.seconds or 0.0, report.suggestions
        pad = f"for text to audio {using('short', 'pad')}, which fills clips with silence"
        mend = (
            f"use {using('duration', suggested[0].duration)} ({report.advice}), or {pad}"
            if suggested
            else f"use {pad}, or clips of at least {MIN_DURATION} s"
        )
        return ClipsTooShortError(
            f"No clip of {source} fills the bucket of {report.duration:g} s, the longest, {longest.name}, is "
            f"{length:.2f} s long; {mend}.",
            report,
            bucket=report.duration,
            longest=length,
        )
    if all(clip.problem == "undecodable" for clip in clips):
        return UndecodableError(
            f"None of the {len(clips)} audio files in {source} can be decoded ({first}); save them as .wav or .flac.",
            report,
        )
    return DatasetError(
        f"None of the {len(clips)} audio files in {source} can be used ({first}); replace them.", report
    )
