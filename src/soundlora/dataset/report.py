"""The report says what became of every clip of a data set, for people and for programs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from soundlora.dataset.fit import TOLERANCE_SECONDS
from soundlora.dataset.problems import Problem
from soundlora.dataset.windows import Windows, windows_in

MIN_DURATION = 0.5
MAX_TRAINED_DURATION = 20.0
"""The base was trained on clips of up to this many seconds."""

_NEARLY_ALL = 0.95
_USUAL_DURATIONS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 45.0, 60.0)


@dataclass(frozen=True)
class ClipReport:
    """One clip. `seconds` is the length of the source, `used_seconds` the length that is trained on.

    `offset` is where in the source it begins, in seconds: 0 but for later windows of a long recording.

    A field that was not measured is None. A clip that could not be decoded has no measurements, and one that is too
    short or silent has no levels. `caption` includes the trigger phrase, and `caption_source` says where it comes from:
    the name of a file, "BWF description", "file name"; None where there is none. The levels describe the used part
    before normalisation, in the units of `measure.Levels`. `bucket` is the length in seconds that the clip is brought
    to. Where `used_seconds` is less, silence follows. `partner` names the clip that this one is made of, or its mask
    file, of which `spans` are the seconds that are made anew.
    """

    name: str
    status: Literal["kept", "skipped"]
    caption: str
    caption_source: str | None = None
    reason: str | None = None
    problem: Problem | None = None
    seconds: float | None = None
    used_seconds: float | None = None
    bucket: float | None = None
    offset: float = 0.0
    sample_rate: int | None = None
    channels: int | None = None
    layout: str | None = None
    codec: str | None = None
    peak_dbfs: float | None = None
    rms_dbfs: float | None = None
    loudness_lufs: float | None = None
    noise_floor_dbfs: float | None = None
    silence_start_seconds: float | None = None
    silence_end_seconds: float | None = None
    dc_offset: float | None = None
    clipped_share: float | None = None
    partner: str | None = None
    spans: list[list[float]] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class IgnoredFile:
    """A file that is neither a clip nor a caption. `reason` says why it is passed over."""

    name: str
    reason: str


@dataclass(frozen=True)
class Bucket:
    """A possible bucket. Training at `duration` seconds would keep `clips` clips with `seconds` of sound in all."""

    duration: float
    clips: int
    seconds: float


@dataclass(frozen=True)
class DatasetReport:
    """All clips of a source in order of name. `duration` is the bucket in seconds, the longest of several.

    `windows` says whether a long recording is one clip or as many as fit.

    `orphan_captions` are the text files that belong to no clip. `duplicates` are groups of names of clips with the same
    sound. `warnings` concern the set as a whole.
    """

    source: str
    duration: float
    clips: list[ClipReport]
    orphan_captions: list[str] = field(default_factory=list)
    ignored: list[IgnoredFile] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    windows: Windows = "first"

    @property
    def kept(self) -> list[ClipReport]:
        """The clips that are trained on."""
        return [clip for clip in self.clips if clip.status == "kept"]

    @property
    def skipped(self) -> list[ClipReport]:
        """The clips that are not trained on. Each has a reason."""
        return [clip for clip in self.clips if clip.status == "skipped"]

    @property
    def total_seconds(self) -> float:
        """The length in seconds of all sound that is trained on."""
        return sum(clip.used_seconds or 0.0 for clip in self.kept)

    @property
    def suggestions(self) -> list[Bucket]:
        """The bucket that keeps most clips and that which keeps most sound, as `suggest` finds them.

        With windows they are those of `suggest_windows`.
        """
        return suggest_windows(self._lengths()) if self.windows == "all" else suggest(self._lengths())

    @property
    def source_seconds(self) -> float:
        """The length in seconds of all sources that could be decoded, of which `total_seconds` are trained on."""
        return sum(clip.seconds or 0.0 for clip in self.clips if not clip.offset)

    @property
    def buckets(self) -> list[Bucket]:
        """The usual buckets, this one and the suggested ones, in order of length."""
        lengths = self._lengths()
        longest = max(lengths, default=0.0) + TOLERANCE_SECONDS
        chosen = {duration for duration in _USUAL_DURATIONS if duration <= longest} | {self.duration}
        chosen |= {bucket.duration for bucket in self.suggestions}
        counts = {duration: sum(self._clips_of(length, duration) for length in lengths) for duration in chosen}
        return [Bucket(duration, count, duration * count) for duration, count in sorted(counts.items())]

    @property
    def advice(self) -> str:
        """What the suggested buckets would do, as a clause; "" where no clip fills one."""
        whole = len(self._lengths())
        return "; ".join(
            f"{bucket.duration:g} s "
            + (f"makes {bucket.clips}" if self.windows == "all" else f"keeps {bucket.clips} of {whole}")
            + f" clips, {bucket.seconds:.0f} s of sound"
            for bucket in self.suggestions
        )

    def _lengths(self) -> list[float]:
        # A recording that begins in silence has windows all the same.
        silent = "" if self.windows == "all" else "silent"
        return [clip.seconds for clip in self.clips if clip.seconds and not clip.offset and clip.problem != silent]

    def _clips_of(self, length: float, duration: float) -> int:
        fitting = windows_in(length, duration)
        return fitting if self.windows == "all" else min(1, fitting)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values for JSON. Their order is always the same."""
        return {
            "source": self.source,
            "duration": self.duration,
            "suggestions": [_plain(bucket) for bucket in self.suggestions],
            "kept": len(self.kept),
            "skipped": len(self.skipped),
            "total_seconds": round(self.total_seconds, 3),
            "source_seconds": round(self.source_seconds, 3),
            "windows": self.windows,
            "buckets": [_plain(bucket) for bucket in self.buckets],
            "warnings": list(self.warnings),
            "duplicates": [list(names) for names in self.duplicates],
            "orphan_captions": list(self.orphan_captions),
            "ignored": [_plain(file) for file in self.ignored],
            "clips": [_plain(clip) for clip in self.clips],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Return the report that `to_json` told, but for what that has rounded."""
        return cls(
            told["source"],
            told["duration"],
            [ClipReport(**clip) for clip in told["clips"]],
            told["orphan_captions"],
            [IgnoredFile(**file) for file in told["ignored"]],
            told["duplicates"],
            told["warnings"],
            told["windows"],
        )


def _plain(item: ClipReport | Bucket | IgnoredFile) -> dict[str, Any]:
    # Shares of a thousandth and offsets of a ten-thousandth still matter.
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in vars(item).items()}


def suggest(seconds: Sequence[float]) -> list[Bucket]:
    """Return the bucket that keeps most clips, as long as it can be, and the one that keeps most sound.

    They are multiples of 0.1 s within what bases are trained on. One stands alone where it is both, and none where no
    clip fills the smallest bucket, 0.5 s. `seconds` are the lengths of the clips.
    """
    # The millisecond counts lengths such as 4.9999 s as 5 s.
    tenths = {min(math.floor((length + 0.001) * 10) / 10, MAX_TRAINED_DURATION) for length in seconds}
    found = [_bucket(duration, seconds) for duration in sorted(tenths) if duration >= MIN_DURATION]
    if not found:
        return []
    clips = max(found, key=lambda bucket: (bucket.clips, bucket.duration))
    sound = max(found, key=lambda bucket: (round(bucket.seconds, 6), bucket.clips))
    return [clips] if clips == sound else [clips, sound]


def suggest_windows(seconds: Sequence[float]) -> list[Bucket]:
    """Return the bucket that leaves fewest recordings out, as long as it can be, and the one that uses most sound.

    The shorter a bucket, the more windows it makes and the less is left at the end of each recording. So the second one
    is the longest of those that use at least 95 % of the most. Their clips and seconds are those of
    windows. Else they are as those of `suggest`.
    """
    if not (alone := suggest(seconds)):
        return []
    longest = min(max(seconds) + TOLERANCE_SECONDS, MAX_TRAINED_DURATION)
    tenths = range(round(MIN_DURATION * 10), math.floor(longest * 10) + 1)
    found = [_windows_bucket(tenth / 10, seconds) for tenth in tenths]
    most = max(bucket.seconds for bucket in found)
    sound = max((bucket for bucket in found if bucket.seconds >= _NEARLY_ALL * most), key=lambda each: each.duration)
    clips = _windows_bucket(alone[0].duration, seconds)
    return [clips] if clips == sound else [clips, sound]


def _windows_bucket(duration: float, seconds: Sequence[float]) -> Bucket:
    count = int(np.floor((np.asarray(seconds) + TOLERANCE_SECONDS) / duration).sum())
    return Bucket(duration, count, duration * count)


def _bucket(duration: float, seconds: Sequence[float]) -> Bucket:
    count = sum(length + TOLERANCE_SECONDS >= duration for length in seconds)
    return Bucket(duration, count, duration * count)
