"""Figures of a sound, and a judge of families that has heard real renderings only.

The judge is a linear discriminant on, of every mel band, the mean, the deviation, the mean slope and the share of the
slow changes, and on the spectrum of the loudness, which tells rhythms apart. A sound counts as the family whose mean
is nearest, in the measure in which families differ most and sounds of one family least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sizes import AUDIBLE, AUDIO
from sounds import render

from soundlora.model.mel import log_mel, resample

Array = NDArray[np.float32]

FRAMES_PER_SECOND = 100


def mel_of(waveform: Array, rate: int = 48_000) -> Array:
    """(2, samples) → log-mel (2, frames, 64) at 16 kHz."""
    low = resample(torch.from_numpy(np.ascontiguousarray(waveform)), rate, AUDIO.sample_rate)
    mel: Array = log_mel(low[None], AUDIO)[0].numpy()
    return mel


def rendered(
    family: str, seed: tuple[int, ...], seconds: float = 5.0, attributes: dict[str, str] | None = None
) -> Array:
    """Log-mel of a real rendering."""
    return mel_of(render(family, np.random.default_rng(seed), seconds, attributes=attributes).audio)


def statistics(mel: Array) -> Array:
    """(2, frames, 64) → (192,): mean, deviation and mean slope of each band, both channels as one."""
    mono = np.maximum(mel.mean(axis=0), AUDIBLE)
    return np.concatenate((mono.mean(0), mono.std(0), np.abs(np.diff(mono, axis=0)).mean(0)))


def features(mel: Array) -> Array:
    """(2, frames, 64) → (280,): `statistics`, the share of slow changes, and rhythm."""
    mono = np.maximum(mel.mean(axis=0), AUDIBLE)
    table = statistics(mel)
    _, deviation, slope = table.reshape(3, -1)
    loudness = mono.max(axis=1) - mono.max(axis=1).mean()
    rhythm = np.log(np.abs(np.fft.rfft(loudness * np.hanning(len(loudness)), 1024))[1:193].reshape(24, 8).max(1) + 1)
    return np.concatenate((table, slope / (deviation + 0.1), rhythm)).astype(np.float32)


class Judge:
    """Linear discriminant over rows of `features`."""

    def __init__(self, rows: Array, labels: NDArray[np.int64], names: Sequence[str]) -> None:
        """rows (N, 280), and the number of each one's family in `names`."""
        self.names = list(names)
        means = np.stack([rows[labels == number].mean(0) for number in range(len(self.names))])
        within = np.cov((rows - means[labels]).T)
        # A little of the diagonal is added, so that no direction without variance counts infinitely much.
        within += 0.05 * np.diag(np.diag(within)) + 1e-4 * np.eye(len(within))
        self.whiten = np.linalg.inv(np.linalg.cholesky(within)).T
        self.centroids = means @ self.whiten

    def distances(self, mel: Array) -> Array:
        """Of one sound to every family, in deviations within a family."""
        result: Array = np.sqrt(((features(mel) @ self.whiten - self.centroids) ** 2).mean(axis=1))
        return result

    def nearest(self, mel: Array) -> str:
        return self.names[int(self.distances(mel).argmin())]


def pace(mel: Array) -> float:
    """Hz: where the loudness moves most, between 0.5 and 16 Hz."""
    loudness = np.maximum(mel.mean(axis=0), AUDIBLE).mean(axis=1)
    changes = np.maximum(np.diff(loudness), 0)
    changes = changes - changes.mean()
    size = 4096
    spectrum = np.abs(np.fft.rfft(changes * np.hanning(len(changes)), size)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / FRAMES_PER_SECOND)
    band = (hertz >= 0.5) & (hertz <= 16)
    return float((hertz[band] * spectrum[band]).sum() / spectrum[band].sum())


def height(mel: Array) -> float:
    """Mel band: the middle of the energy."""
    energy = np.exp(2 * mel.mean(axis=0)).sum(axis=0)
    return float((np.arange(len(energy)) * energy).sum() / energy.sum())


def weight(mel: Array) -> float:
    """Nats: how loud it is on the whole, quiet moments counted as they are heard."""
    return float(np.maximum(mel.mean(axis=0), AUDIBLE).max(axis=1).mean())


# What an attribute changes, and so how to see which of two sounds has more of it.
MEASURES: dict[str, Callable[[Array], float]] = {"speed": pace, "pitch": height, "intensity": weight}
