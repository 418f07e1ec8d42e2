"""The clips of a long recording after its first one, decoded and fitted one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from soundlora.dataset.decode import Audio
from soundlora.dataset.fit import TOLERANCE_SECONDS, Fitted, fit
from soundlora.dataset.measure import Levels
from soundlora.dataset.problems import DecodeError, UnusableClipError
from soundlora.dataset.report import ClipReport
from soundlora.dataset.sound import Ways
from soundlora.dataset.stream import blocks, windows
from soundlora.dataset.windows import window_name

_NO_LEVELS: dict[str, Any] = dict.fromkeys(Levels.__dataclass_fields__)


def later_clips(path: Path, first: ClipReport, ways: Ways) -> Iterator[tuple[ClipReport, Audio | None, Fitted | None]]:
    """Yield the line of the report, the sound and the fitted sound of each window of `path` after the first one.

    `first` is the report on that one. `ways` has one bucket. A window that can't be used has no fitted sound. What
    can't be decoded ends it, with a last line that says so. Memory holds one window.
    """
    (duration,) = ways.durations
    offset = duration
    try:
        for offset, audio in _later_windows(path, duration):
            report = replace(
                first,
                name=window_name(first.name, offset),
                status="kept",
                reason=None,
                problem=None,
                offset=offset,
                bucket=duration,
            )
            try:
                fitted = fit(audio, duration, normalize=ways.normalize, preserve_pitch=ways.preserve_pitch)
            except UnusableClipError as error:
                yield _skipped(report, error), audio, None
                continue
            used, warnings = fitted.used_seconds, list(fitted.warnings)
            yield replace(report, used_seconds=used, warnings=warnings, **vars(fitted.levels)), audio, fitted
    except DecodeError as error:
        report = replace(first, name=f"{window_name(first.name, offset)} and on", offset=offset)
        yield _skipped(report, error), None, None


def _skipped(report: ClipReport, error: UnusableClipError) -> ClipReport:
    return replace(
        report,
        status="skipped",
        reason=error.reason,
        problem=error.problem,
        used_seconds=None,
        bucket=None,
        warnings=[],
        **_NO_LEVELS,
    )


def _later_windows(path: Path, duration: float) -> Iterator[tuple[float, Audio]]:
    form, _ = next(blocks(path))
    for number, (samples, rate) in enumerate(windows(path, duration)):
        seconds = samples.shape[1] / rate
        # A sample may lack beyond the tolerance, because the bucket itself was rounded to samples.
        if number == 0 or seconds + TOLERANCE_SECONDS + 1 / rate < duration:
            continue
        audio = Audio(samples, rate, form.sample_rate, seconds, None, False, 0, form.codec, form.layout)
        yield number * duration, audio
