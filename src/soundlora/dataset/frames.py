"""What is measured of a recording before it is cut: levels, onsets, flat tops and a fingerprint, 100 times a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from soundlora.dataset.problems import DecodeError
from soundlora.dataset.stream import Form, blocks, to_float

FRAME_SECONDS = 0.01
PART_SECONDS = 1800
"""A longer recording is measured and cut part by part, so that memory does not grow with it."""
PRINT_FRAMES = 5
"""Frames of one entry of the fingerprint."""

# Runs of equal samples above this level, -1 dBFS, are flat tops.
_HIGH = 0.89
_BANDS = 24
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 16_000.0
# Rises below this power are no onsets, and differences below it no fingerprint.
_FLOOR = 1e-8
# Entries of a fingerprint are means over so many groups of frames, and differences over so many.
_SMOOTHED, _APART = 6, 2
PRINT_BITS = _BANDS - 1
HEARD = np.uint32(1 << 31)
"""The bit of a fingerprint's entry that says that something is heard there."""
# A mean below -80 dBFS is that of any sound.
_NO_OFFSET = 1e-4
_CHANCE = 6
# Floats of other programs may stand on the scale of integers.
_FAR_TOO_LOUD = 8.0


@dataclass(frozen=True, eq=False)
class Frames:
    """A part of a recording: `samples` samples from the sample `start` on, in frames of `hop` samples.

    `levels` (F,) are in dB of full scale, `peaks` (F,) amplitudes, both without a DC offset. `offset` is the largest of
    a channel. `powers` (C,) are the mean squares of the channels. `onsets` (F,) is how much the spectrum rises from
    one frame to the next, as a mean of its bands in dB. `flat` (F,) counts the samples on flat tops, of all channels.
    `prints` (F / 5,) are 32 bits each, which `Prints` compares. `used_bits` are the bits of integers that are ever set.
    """

    form: Form
    start: int
    samples: int
    hop: int
    levels: np.ndarray
    peaks: np.ndarray
    onsets: np.ndarray
    flat: np.ndarray
    prints: np.ndarray
    used_bits: int
    last: bool
    offset: float
    powers: np.ndarray

    def frame(self, sample: int) -> int:
        """Return the frame in which a sample of the recording lies."""
        return (sample - self.start) // self.hop


def hop_of(rate: int) -> int:
    """Return the samples of a frame at `rate` Hz."""
    return round(FRAME_SECONDS * rate)


def measured(path: Path) -> Iterator[Frames]:
    """Measure a recording, and yield its parts of half an hour, the last of which is marked.

    It is read once. Memory holds what was measured of one part. Raises DecodeError as `blocks` does.
    """
    part: _Part | None = None
    for form, block in blocks(path):
        if part is None:
            part = _Part(form, 0)
        while len(block):
            taken = min(len(block), part.room)
            part.add(block[:taken])
            block = block[taken:]
            if not part.room and len(block):
                yield part.frames(last=False)
                part = _Part(form, part.start + part.samples)
    if part is not None:
        yield part.frames(last=True)


class _Part:
    """Collects the frames of up to half an hour."""

    def __init__(self, form: Form, start: int) -> None:
        self.form, self.start, self.samples = form, start, 0
        self._hop = hop_of(form.sample_rate)
        self._most = self._hop * round(PART_SECONDS / FRAME_SECONDS)
        self._rest = np.zeros((0, form.channels), np.float32)
        # The spectrum of a frame sees the frame before it, too.
        self._before = np.zeros(self._hop, np.float32)
        self._rise_from: np.ndarray | None = None
        self._used_bits = 0
        self._found: list[tuple[np.ndarray, ...]] = []
        self._energies = np.zeros(form.channels)
        self._powers: list[np.ndarray] = []

    @property
    def room(self) -> int:
        return self._most - self.samples

    def add(self, block: np.ndarray) -> None:
        self.samples += len(block)
        if block.dtype == np.int32:
            self._used_bits |= int(np.bitwise_or.reduce(block, axis=None))
        sound = np.concatenate([self._rest, to_float(block)]) if len(self._rest) else to_float(block)
        whole = len(sound) // self._hop * self._hop
        self._measure(sound[:whole])
        self._rest = sound[whole:].copy()

    def frames(self, *, last: bool) -> Frames:
        if len(self._rest):
            lacking = self._hop - len(self._rest)
            self._measure(np.pad(self._rest, ((0, lacking), (0, 0))))
        spreads, tops, bottoms, means, onsets, flat = (np.concatenate(each) for each in zip(*self._found, strict=True))
        offsets = _offsets(means)
        squares, peaks = _without_offsets(offsets, spreads, tops, bottoms, means)
        levels = (10 * np.log10(np.maximum(squares, 1e-12))).astype(np.float32)
        prints = _prints(np.concatenate(self._powers))
        used_bits = self._used_bits & 0xFFFFFFFF
        return Frames(
            self.form,
            self.start,
            self.samples,
            self._hop,
            levels,
            peaks,
            onsets,
            flat,
            prints,
            used_bits,
            last,
            float(np.abs(offsets).max()),
            self._energies / self.samples,
        )

    def _measure(self, sound: np.ndarray) -> None:
        """Measure whole frames of samples (n, channels)."""
        hop, count = self._hop, len(sound) // self._hop
        if not count:
            return
        pieces = sound.reshape(count, -1)
        tops, bottoms = pieces.max(axis=1), pieces.min(axis=1)
        peaks = np.maximum(tops, -bottoms)
        # NaN fails this comparison, and would pass the opposite one.
        if not float(peaks.max()) <= _FAR_TOO_LOUD:
            raise DecodeError(
                f"its samples run to {float(peaks.max()):,.0f}, where full scale is 1; save it on the scale of 1"
            )
        means = pieces @ np.tile(np.eye(sound.shape[1], dtype=np.float32), (hop, 1)) / hop
        # Taken from a mean square, a large offset would leave its rounding, which is louder than silence.
        swings = (sound.reshape(count, hop, -1) - means[:, None]).reshape(count, -1)
        spreads = np.vecdot(swings, swings) / swings.shape[1]
        self._energies += [float(np.dot(channel, channel)) for channel in sound.T]
        # This product is ten times as fast as a mean over two channels.
        mono = sound @ np.full(sound.shape[1], 1 / sound.shape[1], np.float32)
        seen = np.concatenate([self._before, mono])
        self._before = seen[-hop:].copy()
        windowed = np.lib.stride_tricks.sliding_window_view(seen, 2 * hop)[::hop] * _hann(2 * hop)
        spectra = np.fft.rfft(windowed)
        powers = (spectra.real**2 + spectra.imag**2) @ _weights(self.form.sample_rate, 2 * hop)
        decibels = 10 * np.log10(powers + np.float32(_FLOOR))
        before = decibels[:1] if self._rise_from is None else self._rise_from
        rises = np.diff(decibels, axis=0, prepend=before)
        self._rise_from = decibels[-1:]
        onsets = np.maximum(rises, 0).mean(axis=1)
        flat = _flat(sound, hop, peaks)
        self._found.append((spreads, tops, bottoms, means, onsets.astype(np.float32), flat))
        self._powers.append(powers)


def _offsets(means: np.ndarray) -> np.ndarray:
    """Return the DC offset (C,) of each channel, from the means (F, C) of frames; what chance explains is 0.

    The median is that of silence between sounds, and of sounds that swing around it.
    """
    offsets = np.median(means, axis=0)
    spread = np.median(np.abs(means - offsets), axis=0) / np.sqrt(len(means))
    return np.where(np.abs(offsets) < np.maximum(_NO_OFFSET, _CHANCE * spread), 0, offsets)


def _without_offsets(
    offsets: np.ndarray, spreads: np.ndarray, tops: np.ndarray, bottoms: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean squares (F,) and the peaks (F,) of frames without DC offsets (C,).

    spreads: mean squares around each frame's own means (F, C). tops, bottoms: the highest and the lowest samples (F,).
    No frame gets louder by that: silence that was put in by hand has no offset.
    """
    peaks, squares = np.maximum(tops, -bottoms), spreads + np.square(means).mean(axis=1)
    if not offsets.any():
        return squares, peaks
    shifted = spreads + np.square(means - offsets).mean(axis=1)
    below = np.maximum(tops - offsets.min(), offsets.max() - bottoms)
    return np.minimum(squares, shifted), np.minimum(peaks, below)


def _flat(sound: np.ndarray, hop: int, peaks: np.ndarray) -> np.ndarray:
    """Return how many samples of each frame lie on flat tops: three or more equal ones at -1 dBFS or above."""
    found = np.zeros(len(peaks), np.uint32)
    if not (peaks >= _HIGH).any():
        return found
    for channel in sound.T:
        high = np.flatnonzero(np.abs(channel) >= _HIGH)
        follows = (np.diff(high) == 1) & (np.diff(channel[high]) == 0)
        centres = follows[1:] & follows[:-1]
        # Each centre marks itself and its two neighbours.
        marked = np.zeros(len(high), bool)
        for shift in range(3):
            marked[shift : shift + len(centres)] |= centres
        found += np.bincount(high[marked] // hop, minlength=len(found)).astype(np.uint32)
    return found


def _prints(powers: np.ndarray) -> np.ndarray:
    """Return the fingerprint of band powers (F, bands) as uint32 (F / 5,).

    A bit says whether the step from one band to the next has grown within a tenth of a second. Level and codec hardly
    change that. Two moments of the same rain share half of their bits, as chance has it.
    """
    count = -(-len(powers) // PRINT_FRAMES)
    padded = np.pad(powers, ((0, count * PRINT_FRAMES - len(powers)), (0, 0)))
    groups = padded.reshape(count, PRINT_FRAMES, -1).mean(axis=1)
    summed = np.cumsum(np.pad(groups, ((_SMOOTHED, 0), (0, 0))), axis=0, dtype=np.float64)
    smooth = (summed[_SMOOTHED:] - summed[:-_SMOOTHED]) / _SMOOTHED
    steps = np.diff(np.log(np.maximum(smooth, 0) + _FLOOR), axis=1)
    grown = steps - _shifted(steps, _APART)
    # Rounding must not decide about bits.
    bits = (grown > 1e-6).astype(np.uint32) << np.arange(PRINT_BITS, dtype=np.uint32)
    heard = (groups.max(axis=1) > _FLOOR).astype(np.uint32) * HEARD
    return np.asarray(np.bitwise_or.reduce(bits, axis=1) | heard, np.uint32)


def _shifted(values: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.repeat(values[:1], min(by, len(values)), axis=0), values[:-by]])[: len(values)]


@lru_cache(maxsize=8)
def _hann(size: int) -> np.ndarray:
    return np.hanning(size + 1)[:-1].astype(np.float32)


@lru_cache(maxsize=8)
def _weights(rate: int, size: int) -> np.ndarray:
    """Return the weights (size / 2 + 1, bands) that sum a spectrum of `size` samples to the mean power of bands."""
    hertz = np.arange(size // 2 + 1) * rate / size
    edges = np.geomspace(_LOWEST_HZ, min(_HIGHEST_HZ, rate / 2), _BANDS + 1)
    # Each bin belongs to one band. Low bands that hold no bin take the nearest one.
    weights = np.zeros((len(hertz), _BANDS), np.float32)
    for band in range(_BANDS):
        inside = np.flatnonzero((hertz >= edges[band]) & (hertz < edges[band + 1]))
        if not inside.size:
            inside = np.array([np.abs(hertz - (edges[band] + edges[band + 1]) / 2).argmin()])
        weights[inside, band] = (4 / size) ** 2 / 2
    return weights
