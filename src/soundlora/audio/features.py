"""What a sound is like, in figures that no model makes: its spectrum, its onsets, its pitches and its width.

Sound is float (channels, n) with full scale ±1. In shapes F is frames, of which there are 100 a second.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

FRAMES = 100  # a second
BANDS = 48
_WINDOW = 0.025  # s
_LOWEST, _HIGHEST = 50.0, 12_000.0  # Hz, between which the bands lie
_FLOOR = 1e-10  # power, −100 dBFS

_RISE = 0.5  # nats by which the bands rise in the mean at an onset, more than around it
_APART = 5  # frames between two onsets, at least
_AROUND = 25  # frames on either side of one, whose median is what rises anyway
_DEPTH = 13.8  # nats below the loudest band, 60 dB, under which nothing is heard to rise

_PITCHES = (60.0, 2000.0)  # Hz
_PITCH_WINDOW = 0.064  # s
_CLEAR = 0.7  # correlation with itself a period later, from which on a frame has a pitch
_FIRST = 0.95  # share of the best correlation: the shortest period that reaches it is the pitch, not a multiple of it
_QUIET = 1e-6  # power, −60 dBFS


def log_mel(sound: Array, rate: int) -> Array:
    """Return the log powers (F, BANDS), in nats, of bands between 50 Hz and 12 kHz; channels are averaged in power."""
    size, hop = round(_WINDOW * rate), round(rate / FRAMES)
    frames = _framed(sound, size, hop) * np.hanning(size)  # (channels, F, size)
    powers = np.square(np.abs(np.fft.rfft(frames))).mean(axis=0) / size  # (F, bins)
    bands: Array = np.log(powers @ _filters(size, rate).T + _FLOOR)
    return bands


def spectrum(mel: Array) -> Array:
    """Return mean and deviation of each band, (2·BANDS,), of a log-mel (F, BANDS)."""
    return np.concatenate((mel.mean(axis=0), mel.std(axis=0)))


def liveliness(mel: Array) -> float:
    """Return by how much the level of a log-mel (F, BANDS) moves: its deviation over the frames, in dB.

    What lies 60 dB below the loudest frame counts as that far below it.
    """
    level = np.log(np.exp(mel).sum(axis=1))
    return float(10 / np.log(10) * np.maximum(level, level.max() - _DEPTH).std())


def onsets(mel: Array) -> list[int]:
    """Return the frames of a log-mel (F, BANDS) at which something begins. One at the very start is none."""
    heard = np.maximum(mel, mel.max() - _DEPTH)
    rise = np.zeros(len(heard))
    rise[2:] = np.maximum(heard[2:] - heard[:-2], 0).mean(axis=1)  # over two frames, since windows overlap
    found: list[int] = []
    for frame in np.argsort(rise)[::-1].tolist():
        around = rise[max(0, frame - _AROUND) : frame + _AROUND + 1]
        if rise[frame] < _RISE:
            break
        if rise[frame] > np.median(around) + _RISE and all(abs(frame - other) > _APART for other in found):
            found.append(frame)
    return sorted(found)


def pitches(sound: Array, rate: int) -> tuple[Array, float]:
    """Return the pitches between 60 Hz and 2 kHz in semitones above 60 Hz, one a frame that has one, and their share.

    The share is that of all frames that are not silent; it is 0 where all are. Frames are 64 ms, 20 ms apart.
    """
    size, hop = round(_PITCH_WINDOW * rate), round(2 * rate / FRAMES)
    frames = _framed(sound.mean(axis=0, keepdims=True), size, hop)[0]  # (F, size)
    frames = frames[np.square(frames).mean(axis=1) > _QUIET]
    if not len(frames):
        return np.zeros(0), 0.0
    shortest, longest = int(rate / _PITCHES[1]), min(int(rate / _PITCHES[0]), size - 2)
    clear = _correlations(frames, longest + 2)  # (F, lags)
    found = [_pitch(each, shortest, longest, rate) for each in clear]
    heard = np.asarray([pitch for pitch in found if pitch is not None])
    return heard, len(heard) / len(frames)


def width(sound: Array) -> float | None:
    """Return the correlation of left and right: 1 is mono. None is a silent side, or a single channel."""
    if len(sound) < 2:
        return None
    left, right = (channel - channel.mean() for channel in sound[:2])
    norm = float(np.sqrt(np.square(left).sum() * np.square(right).sum()))
    return float((left * right).sum() / norm) if norm > _FLOOR else None


def _framed(sound: Array, size: int, hop: int) -> Array:
    """Return the frames (channels, F, size) of a sound. One that is shorter than a frame is filled up with silence."""
    padded = np.pad(sound, ((0, 0), (0, max(0, size - sound.shape[1]))))
    frames: Array = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
    return frames


def _filters(size: int, rate: int) -> Array:
    """Return triangles (BANDS, size // 2 + 1), evenly spaced on the mel scale."""
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (_LOWEST, _HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / rate)
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters: Array = np.maximum(np.minimum(up, down), 0)
    # The lowest bands are narrower than a bin, and each takes the bin that is nearest.
    empty = np.flatnonzero(filters.sum(axis=1) == 0)
    filters[empty, np.abs(bins - edges[1:-1][empty, None]).argmin(axis=1)] = 1
    return filters


def _correlations(frames: Array, lags: int) -> Array:
    """Return each frame's correlation (F, lags) with itself that many samples later, where both parts overlap."""
    frames = frames - frames.mean(axis=1, keepdims=True)
    size = frames.shape[1]
    spectra = np.fft.rfft(frames, 2 * size)
    products = np.fft.irfft(np.square(np.abs(spectra)))[:, :lags]
    energy = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), axis=1)  # (F, size + 1)
    lag = np.arange(lags)
    first, second = energy[:, size - lag], energy[:, -1:] - energy[:, lag]
    norms: Array = np.sqrt(np.maximum(first * second, _FLOOR**2))
    result: Array = products / norms
    return result


def _pitch(clear: Array, shortest: int, longest: int, rate: int) -> float | None:
    """Return the pitch in semitones above 60 Hz of a frame with these correlations, None where it has none."""
    here = clear[1:-1]
    peaks = np.flatnonzero((here > clear[:-2]) & (here >= clear[2:])) + 1
    peaks = peaks[(peaks >= shortest) & (peaks <= longest)]
    if not len(peaks) or clear[peaks].max() < _CLEAR:
        return None
    lag = int(peaks[clear[peaks] >= _FIRST * clear[peaks].max()][0])
    before, at, after = clear[lag - 1 : lag + 2]
    between = 0.5 * (before - after) / (before - 2 * at + after)  # the top of a parabola through the three
    return float(12 * np.log2(rate / (lag + between) / _PITCHES[0]))
