"""Fit a decoded clip to the bucket: bring it to the exact length, normalise its peak, and measure it.

A clip that is shorter than the bucket is not stretched to fill it, because the model would learn the stretching. Only
the few milliseconds that codecs and editors lose at the edges are made up for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import python_stretch

from soundlora.audio.decibels import decibels
from soundlora.dataset.decode import Audio
from soundlora.dataset.measure import Levels, measure, peak_of, spike_of
from soundlora.dataset.problems import UnusableClipError

Short = Literal["skip", "pad"]
"""What becomes of a clip that is shorter than the bucket."""

TOLERANCE_SECONDS = 0.040
"""A clip that lacks no more than one latent frame counts as filling the bucket."""

SHORTEST_SOUND = 0.1
"""A clip of fewer seconds is not padded."""

PEAK_DBFS = -0.1
"""`normalize` brings the highest sample to this level."""

# This is half of the smallest step of 16 bits, below which nothing is recorded. Lossy codecs return silence as 1e-10.
SILENCE = 2.0**-16
_MANY_DB = 40.0
_LONELY_DB = 30.0
DC_SHARE = 0.01
_CLIPPED_SHARE = 0.001
_SILENT_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Fitted:
    """A clip as it will be trained on. `samples` are float32 (channels, n), n = target_length(duration, sample_rate).

    `used_seconds` is the length of the source that it holds; silence follows where that is less than the bucket by more
    than the tolerance. `levels` are those of the source's part, after fitting and before normalisation, which adds
    `gain_db`.
    """

    samples: np.ndarray
    sample_rate: int
    used_seconds: float
    levels: Levels
    gain_db: float
    warnings: tuple[str, ...]


def target_length(duration: float, sample_rate: int) -> int:
    """Return the length in samples of a bucket of `duration` seconds. The official preprocessing rounds down, too."""
    return int(duration * sample_rate)


def bucket_of(audio: Audio, durations: Sequence[float]) -> float:
    """Return the longest of the buckets, in seconds, that `audio` fills, and the shortest where it fills none."""
    filled = [duration for duration in durations if not _is_short(audio, target_length(duration, audio.sample_rate))]
    return max(filled) if filled else min(durations)


def _is_short(audio: Audio, length: int) -> bool:
    # One sample may lack beyond the tolerance, because the bucket itself was rounded to samples.
    return bool((length - audio.samples.shape[1] - 1) / audio.sample_rate > TOLERANCE_SECONDS)


def fit(
    audio: Audio, duration_seconds: float, *, normalize: bool = True, preserve_pitch: bool = True, pad: bool = False
) -> Fitted:
    """Trim `audio` from the start to the bucket, make up for up to 40 ms, and normalise.

    `preserve_pitch` makes up for missing milliseconds by stretching the clip in time at the same pitch. Without it,
    silence is added at the end. `pad` fills clips that are shorter still with silence. Raises UnusableClipError when
    the clip is too short or silent.
    """
    rate = audio.sample_rate
    length = target_length(duration_seconds, rate)
    found = audio.samples.shape[1]
    short = _is_short(audio, length)
    if short and not pad:
        raise UnusableClipError(
            f"it is {found / rate:.2f} s long, shorter than the bucket of {duration_seconds:g} s", "too_short"
        )
    if short and found / rate < SHORTEST_SOUND:
        raise UnusableClipError(
            f"it is {found / rate:.3f} s long, and less than {SHORTEST_SOUND:g} s is not filled up",
            "too_short",
        )
    samples = audio.samples[:, :length]
    peak = peak_of(samples)
    if peak < SILENCE:
        raise UnusableClipError(f"it is silent: no sample of it is above {decibels(SILENCE):.0f} dBFS", "silent")
    if found < length and not short and preserve_pitch:
        samples = _stretch(samples, length, rate)
    lacking = length - samples.shape[1]
    whole = np.pad(samples, ((0, 0), (0, lacking))) if lacking else samples
    heard, samples = (samples if short else whole), whole

    levels = measure(heard, rate)
    gain_db = PEAK_DBFS - levels.peak_dbfs if normalize else 0.0
    return Fitted(
        samples=np.multiply(samples, np.float32(10 ** (gain_db / 20)), order="C"),
        sample_rate=rate,
        used_seconds=min(found, length) / rate,
        levels=levels,
        gain_db=gain_db,
        warnings=tuple(_warnings(levels, gain_db, heard.shape[1] / rate) + (_spike(heard, rate) if normalize else [])),
    )


def _warnings(levels: Levels, gain_db: float, seconds: float) -> list[str]:
    warnings = []
    if gain_db > _MANY_DB:
        warnings.append(f"it is very quiet: normalising raises it and its noise by {gain_db:.0f} dB")
    if levels.dc_offset > DC_SHARE:
        warnings.append(f"it has a DC offset of {levels.dc_offset:.1%} of full scale; a high-pass filter removes it")
    if levels.clipped_share > _CLIPPED_SHARE:
        warnings.append(f"it is clipped: {levels.clipped_share:.1%} of its samples stand on a flat top")
    if levels.peak_dbfs + gain_db > 0:
        warnings.append(f"it overshoots full scale by {levels.peak_dbfs + gain_db:.1f} dB")
    start, end = levels.silence_start_seconds, levels.silence_end_seconds
    if start + end > _SILENT_SHARE * seconds:
        warnings.append(f"most of it is silence: {start:.1f} s at its start and {end:.1f} s at its end")
    return warnings


def _spike(samples: np.ndarray, rate: int) -> list[str]:
    """Return a warning where normalising would raise nothing but a moment."""
    place, above = spike_of(samples, rate)
    if above <= _LONELY_DB:
        return []
    return [
        f"a spike at {place:.2f} s stands {above:.0f} dB above all else: normalising leaves the rest at "
        f"{PEAK_DBFS - above:.0f} dBFS; cut it out"
    ]


def _stretch(samples: np.ndarray, length: int, rate: int) -> np.ndarray:
    """Return `samples` (channels, n) stretched to (channels, length) in time, at the same pitch."""
    # The fixed seed makes the same clip give the same latents every time.
    stretcher = python_stretch.Signalsmith.Stretch(0)
    stretcher.preset(samples.shape[0], rate)
    stretcher.setTimeFactor(samples.shape[1] / length)
    stretched = np.asarray(stretcher.process(np.ascontiguousarray(samples)), np.float32)
    # The factor is a float, so the length may be one sample off.
    return np.pad(stretched[:, :length], ((0, 0), (0, max(0, length - stretched.shape[1]))))
