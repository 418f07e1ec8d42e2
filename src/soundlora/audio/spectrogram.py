"""Pictures of sound: log-frequency spectrograms as PNG, of which several stand side by side on the same scales."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 480, 192
"""Pixels of one spectrogram."""
LOWEST_HZ, HIGHEST_HZ = 40.0, 20_000.0
FLOOR_DB = -100.0
"""The level, relative to a sine of full scale, that is drawn darkest."""

_GAP = 6
_WINDOW_SECONDS = 0.043
# Red, green and blue of colours from dark to bright, evenly spaced along the levels.
_COLOURS = ((4, 4, 12), (42, 20, 84), (122, 28, 109), (205, 66, 71), (249, 142, 35), (252, 255, 190))


def side_by_side(sounds: Sequence[tuple[np.ndarray, int]]) -> bytes:
    """Draw sounds, each (channels, n) with its rate in Hz, from left to right on the scales of the longest → PNG.

    Time runs to the right; pitch rises by octaves from 40 Hz to 20 kHz. Pitches that a rate cannot hold stay dark.
    """
    seconds = max(samples.shape[1] / rate for samples, rate in sounds)
    gap = np.full((HEIGHT, _GAP), 255, np.uint8)
    columns: list[np.ndarray] = []
    for samples, rate in sounds:
        columns += [levels(samples, rate, seconds), gap]
    return _png(np.concatenate(columns[:-1], axis=1))


def levels(samples: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Return the picture of (channels, n) as bytes (HEIGHT, WIDTH), 0 at and below the floor, 255 at full scale.

    rate: in Hz. seconds: the time that the whole width stands for.
    """
    size = 1 << round(np.log2(_WINDOW_SECONDS * rate))
    mono = np.zeros(max(round(seconds * rate), samples.shape[1]) + size, np.float32)
    mono[size // 2 : size // 2 + samples.shape[1]] = samples.mean(axis=0)
    starts = np.linspace(0, len(mono) - size, WIDTH).astype(int)
    window = np.hanning(size).astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(mono, size)[starts] * window  # (WIDTH, size)
    spectrum = np.abs(np.fft.rfft(pieces)) / (window.sum() / 2)  # (WIDTH, size/2 + 1)
    decibels = 20 * np.log10(np.maximum(spectrum, 1e-9))
    pitches = np.geomspace(HIGHEST_HZ, LOWEST_HZ, HEIGHT)
    bins = pitches / rate * size
    low = np.minimum(bins.astype(int), size // 2 - 1)
    share = np.clip(bins - low, 0, 1)
    rows = decibels[:, low] * (1 - share) + decibels[:, low + 1] * share  # (WIDTH, HEIGHT)
    rows[:, pitches > rate / 2] = FLOOR_DB
    return np.asarray(np.clip((rows / -FLOOR_DB + 1) * 255, 0, 255).T.astype(np.uint8))


def _png(indices: np.ndarray) -> bytes:
    """Return a PNG of (height, width) bytes, coloured by the palette."""
    height, width = indices.shape
    places = np.linspace(0, 1, len(_COLOURS))
    palette = np.stack(
        [np.interp(np.linspace(0, 1, 256), places, [colour[part] for colour in _COLOURS]) for part in range(3)], axis=1
    )
    # Every row begins with the number of its filter, 0 for none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.round().astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
