"""Fit a decoded clip to the bucket: exactly as long, peak-normalised, measured.

A clip that is shorter than the bucket is not stretched to fill it: the model would learn the stretching. Only the few
milliseconds that codecs and editors lose at the edges are made up for.
"""

import math
from dataclasses import dataclass

import numpy as np
import python_stretch

from soundlora.dataset.decode import Audio
from soundlora.dataset.errors import UnusableClipError

TOLERANCE_SECONDS = 0.040
"""One latent frame: a clip that lacks no more than this counts as filling the bucket."""

PEAK_DBFS = -0.1
"""The level that `normalize` brings the highest sample to."""

# Half of the smallest step of 16 bits: nothing below it was recorded. Lossy codecs return silence as some 1e-10.
_SILENCE = 2.0**-16
_MANY_DB = 40.0
_DC_SHARE = 0.01
_CLIPPED_SHARE = 0.001


@dataclass(frozen=True, eq=False)
class Fitted:
    """A clip as it will be trained on. `samples` are float32 (channels, n), n = target_length(duration, sample_rate).

    `used_seconds` is how much of the source it holds. The levels are the fitted clip's before normalisation, in dB
    relative to full scale; `dc_offset` is the largest mean of a channel and `clipped_share` the share of samples that
    stand on a flat top, both relative to 1.
    """

    samples: np.ndarray
    sample_rate: int
    used_seconds: float
    peak_dbfs: float
    rms_dbfs: float
    dc_offset: float
    clipped_share: float
    warnings: tuple[str, ...]


def target_length(duration: float, sample_rate: int) -> int:
    """Return the samples of a bucket of `duration` seconds: rounded down, as the official preprocessing does."""
    return int(duration * sample_rate)


def fit(audio: Audio, duration_seconds: float, *, normalize: bool = True, preserve_pitch: bool = True) -> Fitted:
    """Trim `audio` from the start to the bucket, make up for up to 40 ms, normalise.

    With `preserve_pitch` the missing milliseconds come from stretching the clip in time with its pitch kept, without
    it from silence at the end. Raises UnusableClipError when the clip is too short or silent.
    """
    rate = audio.sample_rate
    length = target_length(duration_seconds, rate)
    found = audio.samples.shape[1]
    # A sample of grace, for the bucket itself was rounded to samples.
    if (length - found - 1) / rate > TOLERANCE_SECONDS:
        raise UnusableClipError(
            f"it is {found / rate:.2f} s long, shorter than the bucket of {duration_seconds:g} s", "too_short"
        )
    samples = audio.samples[:, :length]
    peak = float(np.abs(samples).max())
    if peak < _SILENCE:
        raise UnusableClipError(f"it is silent: no sample of it is above {_db(_SILENCE):.0f} dBFS", "silent")
    if found < length:
        samples = _stretch(samples, length, rate) if preserve_pitch else np.pad(samples, ((0, 0), (0, length - found)))
        peak = float(np.abs(samples).max())

    rms = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    dc_offset = float(np.abs(samples.mean(axis=1, dtype=np.float64)).max())
    clipped_share = _clipped_share(samples, peak)
    gain_db = PEAK_DBFS - _db(peak) if normalize else 0.0
    return Fitted(
        samples=np.ascontiguousarray(samples * np.float32(10 ** (gain_db / 20)), dtype=np.float32),
        sample_rate=rate,
        used_seconds=min(found, length) / rate,
        peak_dbfs=_db(peak),
        rms_dbfs=_db(rms),
        dc_offset=dc_offset,
        clipped_share=clipped_share,
        warnings=tuple(_warnings(peak * 10 ** (gain_db / 20), gain_db, dc_offset, clipped_share)),
    )


def _warnings(peak: float, gain_db: float, dc_offset: float, clipped_share: float) -> list[str]:
    warnings = []
    if gain_db > _MANY_DB:
        warnings.append(f"it is very quiet: normalising raises it and its noise by {gain_db:.0f} dB")
    if dc_offset > _DC_SHARE:
        warnings.append(f"it has a DC offset of {dc_offset:.1%} of full scale; a high-pass filter removes it")
    if clipped_share > _CLIPPED_SHARE:
        warnings.append(f"it is clipped: {clipped_share:.1%} of its samples stand on a flat top")
    if peak > 1.0:
        warnings.append(f"it overshoots full scale by {_db(peak):.1f} dB")
    return warnings


def _db(amplitude: float) -> float:
    return 20 * math.log10(amplitude)


def _stretch(samples: np.ndarray, length: int, rate: int) -> np.ndarray:
    """Return `samples` (channels, n) stretched to (channels, length) in time, at the same pitch."""
    # A seed, so that the same clip always gives the same latents.
    stretcher = python_stretch.Signalsmith.Stretch(0)
    stretcher.preset(samples.shape[0], rate)
    stretcher.setTimeFactor(samples.shape[1] / length)
    stretched = np.asarray(stretcher.process(np.ascontiguousarray(samples)), np.float32)
    # The factor is a float: the last sample may be one off.
    return np.pad(stretched[:, :length], ((0, 0), (0, max(0, length - stretched.shape[1]))))


def _clipped_share(samples: np.ndarray, peak: float) -> float:
    """Return the share of samples within three or more equal ones near the peak: music never holds its breath there."""
    if peak < 0.5:
        return 0.0
    high = np.abs(samples) >= 0.98 * peak
    same = (samples[:, 1:] == samples[:, :-1]) & high[:, 1:]
    centres = same[:, 1:] & same[:, :-1]
    # Every centre of a run brings its two neighbours along.
    flat = np.zeros(samples.shape, bool)
    for shift in range(3):
        flat[:, shift : shift + centres.shape[1]] |= centres
    return float(flat.mean())
