"""This module measures a clip before it is trained on: levels, loudness, clipping, silence and noise."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from soundlora.audio.decibels import LOWEST, decibels

SILENCE_DB = -60.0
"""The start and the end of a clip are silent as long as they stay this far below its peak."""

_BLOCK_SECONDS = 0.01
_NOISE_BLOCKS = 5
_MOMENTS = 100
_NOISE_SHARE = 0.05
_SEGMENT_SECONDS = 0.1
_SEGMENTS_OF_BLOCK = 4
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
# ITU-R BS.1770 leaves the LFE out, and adds 1.5 dB to channels at the side and behind.
_CHANNEL_WEIGHTS = {6: (1, 1, 1, 0, 1.41, 1.41), 8: (1, 1, 1, 0, 1.41, 1.41, 1.41, 1.41)}
# Its two filters stand here as frequency in Hz, quality and gain in dB, so that they can be made for any sample rate.
_SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)


@dataclass(frozen=True)
class Levels:
    """The levels of a clip whose full scale is 1. Fields in `_dbfs` are in dB relative to full scale.

    `loudness_lufs` is the integrated loudness of BS.1770, None for clips below 0.4 s and for nearly silent ones.
    `noise_floor_dbfs` is the level that the quietest twentieth of the clip stays below. `silence_start_seconds` and
    `silence_end_seconds` lie more than 60 dB below the peak. `dc_offset` is the largest mean of a channel, relative to
    full scale. `clipped_share` is the share of samples on a flat top, from 0 to 1.
    """

    peak_dbfs: float
    rms_dbfs: float
    loudness_lufs: float | None
    noise_floor_dbfs: float
    silence_start_seconds: float
    silence_end_seconds: float
    dc_offset: float
    clipped_share: float


def measure(samples: np.ndarray, sample_rate: int) -> Levels:
    """Measure `samples` (channels, n), which must not be silent, at `sample_rate` Hz."""
    peak = peak_of(samples)
    channels, length = samples.shape
    size = max(1, min(round(_BLOCK_SECONDS * sample_rate), length))
    pieces = samples[:, : length // size * size].reshape(channels, -1, size)
    # The product of a vector with itself is several times as fast as the mean of squares.
    blocks = np.vecdot(pieces, pieces).mean(axis=0) / size
    start, end = _silent_blocks(blocks, peak)
    return Levels(
        peak_dbfs=decibels(peak),
        rms_dbfs=decibels(math.sqrt(float(np.vecdot(samples, samples).mean()) / length)),
        loudness_lufs=loudness(samples, sample_rate),
        noise_floor_dbfs=_noise_floor(blocks),
        silence_start_seconds=start * size / sample_rate,
        silence_end_seconds=end * size / sample_rate,
        dc_offset=float(np.abs(samples.mean(axis=1, dtype=np.float64)).max()),
        clipped_share=_clipped_share(samples, peak),
    )


def peak_of(samples: np.ndarray) -> float:
    """Return the largest magnitude, without a copy of the samples."""
    return float(max(samples.max(), -samples.min()))


def spike_of(samples: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """Return where the loudest moment of `samples` (channels, n) lies in seconds, and how many dB the rest is below it.

    The rest are all blocks of 10 ms but the loudest hundredth, and at least but two, since a spike may lie on a border.
    """
    size = max(1, round(_BLOCK_SECONDS * sample_rate))
    count = samples.shape[1] // size
    lonely = max(2, count // _MOMENTS)
    if count <= lonely:
        return 0.0, 0.0
    pieces = samples[:, : count * size].reshape(len(samples), count, size)
    peaks = np.maximum(pieces.max(axis=(0, 2)), -pieces.min(axis=(0, 2)))
    place = int(peaks.argmax())
    rest = float(np.partition(peaks, count - lonely - 1)[count - lonely - 1])
    return place * size / sample_rate, decibels(float(peaks[place])) - decibels(rest)


def loudness(samples: np.ndarray, sample_rate: int) -> float | None:
    """Return the integrated loudness of `samples` (channels, n) in LUFS after ITU-R BS.1770, None when there is none.

    The weighting is applied to the spectrum of pieces of 100 ms, which is far faster than filtering. It differs from
    filtering by at most 0.15 LU, or 0.4 LU for sound that is nothing but rumble below 50 Hz.
    """
    size = round(_SEGMENT_SECONDS * sample_rate)
    count = samples.shape[1] // size
    if count < _SEGMENTS_OF_BLOCK:
        return None
    powers = np.empty((len(samples), count))
    weights = _weights(sample_rate, size)
    # Half a second stays in the processor's cache, which makes this twice as fast as all at once.
    for first in range(0, count, 5):
        last = min(first + 5, count)
        spectra = np.fft.rfft(samples[:, first * size : last * size].reshape(len(samples), -1, size))
        powers[:, first:last] = (spectra.real**2 + spectra.imag**2) @ weights
    segments = np.asarray(_CHANNEL_WEIGHTS.get(len(samples), (1,) * len(samples))) @ powers
    blocks = np.convolve(segments, np.full(_SEGMENTS_OF_BLOCK, 1 / _SEGMENTS_OF_BLOCK), mode="valid")
    heard = blocks[blocks > _power_of(_ABSOLUTE_GATE)]
    if not heard.size:
        return None
    heard = heard[heard > heard.mean() * 10 ** (_RELATIVE_GATE / 10)]
    return -0.691 + 10 * math.log10(float(heard.mean()))


def _power_of(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


@lru_cache(maxsize=16)
def _weights(sample_rate: int, size: int) -> np.ndarray:
    """Return the weights (size // 2 + 1,) of the bins of a real spectrum of `size` samples in the mean square."""
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    frequency, quality, gain_db = _SHELF
    k = math.tan(math.pi * min(frequency / sample_rate, 0.49))
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    width = band * k / quality
    shelf = _biquad(z, (high + width + k * k, 2 * (k * k - high), high - width + k * k), k, quality)
    frequency, quality = _HIGH_PASS
    k = math.tan(math.pi * frequency / sample_rate)
    norm = 1 + k / quality + k * k
    high_pass = _biquad(z, (norm, -2 * norm, norm), k, quality)
    weights = np.abs(shelf * high_pass) ** 2 * 2 / size**2
    weights[0] /= 2
    if size % 2 == 0:
        weights[-1] /= 2
    return np.asarray(weights, np.float32)


def _biquad(z: np.ndarray, numerator: tuple[float, float, float], k: float, quality: float) -> np.ndarray:
    """Return the response at 1/z of a second-order filter. Its pole frequency and quality give the denominator."""
    a, b, c = numerator
    denominator = (1 + k / quality + k * k) + 2 * (k * k - 1) * z + (1 - k / quality + k * k) * z**2
    return np.asarray((a + b * z + c * z**2) / denominator)


def _silent_blocks(blocks: np.ndarray, peak: float) -> tuple[int, int]:
    """Return how many blocks of mean squares are silent at the start and at the end."""
    heard = np.flatnonzero(blocks > (peak * 10 ** (SILENCE_DB / 20)) ** 2)
    # A single click can be so short that no block is loud. Nothing is called silent then.
    return (int(heard[0]), len(blocks) - 1 - int(heard[-1])) if heard.size else (0, 0)


def _noise_floor(blocks: np.ndarray) -> float:
    """Return the level in dBFS that the quietest twentieth of the clip stays below, without digital silence."""
    count = max(1, len(blocks) // _NOISE_BLOCKS)
    longer = blocks[: len(blocks) // count * count].reshape(count, -1).mean(axis=1)
    longer = np.sort(longer[longer > 0])
    if not longer.size:
        return LOWEST
    # np.quantile gives the same, but its first call imports all of masked arrays.
    quantile = np.interp(_NOISE_SHARE * (longer.size - 1), np.arange(longer.size), longer)
    return decibels(math.sqrt(float(quantile)))


def _clipped_share(samples: np.ndarray, peak: float) -> float:
    """Return the share of samples in runs of three or more equal ones near the peak, which unclipped sound lacks."""
    if peak < 0.5:
        return 0.0
    clipped = 0
    for channel in samples:
        # Few samples come near the peak, so the rest of the work is small.
        high = np.flatnonzero((channel >= 0.98 * peak) | (channel <= -0.98 * peak))
        follows = (np.diff(high) == 1) & (np.diff(channel[high]) == 0)
        centres = follows[1:] & follows[:-1]
        # Each centre marks itself and its two neighbours.
        flat = np.zeros(len(high), bool)
        for shift in range(3):
            flat[shift : shift + len(centres)] |= centres
        clipped += int(flat.sum())
    return clipped / samples.size
