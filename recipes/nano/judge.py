"""This module has figures of a sound, and a judge of families that has heard real renderings only.

The judge looks at the mean, the deviation, the mean slope and the share of slow changes of every mel band. It also
looks at the spectrum of the loudness, which tells rhythms apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sizes import AUDIBLE, AUDIO
from sounds import render

from soundlora.model.mel import log_mel, resample

Array = NDArray[np.float32]

FRAMES_PER_SECOND = 100
COPIES = 3


def mel_of(waveform: Array, rate: int = 48_000) -> Array:
    """Return the log-mel (2, frames, 64) at 16 kHz of a waveform (2, samples)."""
    low = resample(torch.from_numpy(np.ascontiguousarray(waveform)), rate, AUDIO.sample_rate)
    mel: Array = log_mel(low[None], AUDIO)[0].numpy()
    return mel


def rendered(
    family: str, seed: tuple[int, ...], seconds: float = 5.0, attributes: dict[str, str] | None = None
) -> Array:
    """Return the log-mel of a real rendering."""
    return mel_of(render(family, np.random.default_rng(seed), seconds, attributes=attributes).audio)


def statistics(mel: Array) -> Array:
    """Return (192,) for a log-mel (2, frames, 64): mean, deviation and mean slope of each band over both channels."""
    mono = np.maximum(mel.mean(axis=0), AUDIBLE)
    return np.concatenate((mono.mean(0), mono.std(0), np.abs(np.diff(mono, axis=0)).mean(0)))


def features(mel: Array) -> Array:
    """Return (280,) for a log-mel (2, frames, 64): `statistics`, the share of slow changes, and the rhythm."""
    mono = np.maximum(mel.mean(axis=0), AUDIBLE)
    table = statistics(mel)
    _, deviation, slope = table.reshape(3, -1)
    # The loudness is that of all bands. The loudest band of a gliding tone jumps from line to line of a vocoder.
    loudness = mono.mean(axis=1) - mono.mean()
    rhythm = np.log(np.abs(np.fft.rfft(loudness * np.hanning(len(loudness)), 1024))[1:193].reshape(24, 8).max(1) + 1)
    return np.concatenate((table, slope / (deviation + 0.1), rhythm)).astype(np.float32)


def worn(mel: Array, rng: np.random.Generator) -> Array:
    """Return a rendering as a poor recorder would have it: blurred, at another level, coloured, grainy, at times noisy.

    It is still the same sound. A judge that has not heard such copies goes by the finest texture. It takes one in ten
    real renderings that have only been through the audio VAE for another family.
    """
    time, bands = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    padding = (bands // 2, bands - 1 - bands // 2, time // 2, time - 1 - time // 2)
    padded = F.pad(torch.from_numpy(mel)[None], padding, mode="replicate")
    blurred = F.avg_pool2d(padded, (time, bands), 1)[0].numpy()
    share = rng.uniform(0, 1)
    tilt = rng.normal(0, 0.2) * np.linspace(-1, 1, mel.shape[-1])
    result = (1 - share) * mel + share * blurred + rng.normal(0, 0.3) + tilt
    result = result + rng.normal(0, rng.uniform(0, 0.35), mel.shape)
    if rng.random() < 0.5:
        result = np.maximum(result, rng.uniform(-9.5, -6.5) + 0.5 * rng.normal(size=mel.shape))
    return result.astype(np.float32)


class Judge:
    """Logistic regression over `features` of real renderings, each as it is and as three `worn` copies.

    A family is several clouds, such as slow and fast or low and high. A linear discriminant has one centre for each
    family and tells 90 % of real renderings apart, while this tells 98 %.
    """

    def __init__(self, mels: Iterable[Array], labels: Iterable[int], names: Sequence[str], decay: float = 3e-4) -> None:
        """Fit the judge to log-mels (2, frames, 64). `labels` number their families in `names`."""
        self.names = list(names)
        rng = np.random.default_rng(0)
        rows = np.stack([features(copy) for mel in mels for copy in (mel, *(worn(mel, rng) for _ in range(COPIES)))])
        labels = np.repeat(np.fromiter(labels, np.int64), 1 + COPIES)
        self.middle, self.spread = rows.mean(axis=0), rows.std(axis=0) + 1e-3
        inputs, wanted = torch.from_numpy((rows - self.middle) / self.spread), torch.from_numpy(labels)
        weight = torch.zeros(rows.shape[1], len(self.names), requires_grad=True)
        bias = torch.zeros(len(self.names), requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            total = F.cross_entropy(inputs @ weight + bias, wanted) + decay * weight.square().sum()
            total.backward()
            return total

        optimizer.step(loss)
        self.weight, self.bias = weight.detach().numpy(), bias.detach().numpy()

    def nearest(self, mel: Array) -> str:
        """Return the most likely family of a sound."""
        return self.names[int((((features(mel) - self.middle) / self.spread) @ self.weight + self.bias).argmax())]


def pace(mel: Array) -> float:
    """Return the rate in Hz, between 0.5 and 16, at which the loudness moves most."""
    loudness = np.maximum(mel.mean(axis=0), AUDIBLE).mean(axis=1)
    changes = np.maximum(np.diff(loudness), 0)
    changes = changes - changes.mean()
    size = 4096
    spectrum = np.abs(np.fft.rfft(changes * np.hanning(len(changes)), size)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / FRAMES_PER_SECOND)
    band = (hertz >= 0.5) & (hertz <= 16)
    return float((hertz[band] * spectrum[band]).sum() / spectrum[band].sum())


def height(mel: Array) -> float:
    """Return the mel band at the middle of the energy."""
    energy = np.exp(2 * mel.mean(axis=0)).sum(axis=0)
    return float((np.arange(len(energy)) * energy).sum() / energy.sum())


def weight(mel: Array) -> float:
    """Return the loudness of the whole sound in nats. Quiet moments count as they are heard."""
    return float(np.maximum(mel.mean(axis=0), AUDIBLE).max(axis=1).mean())


# Each attribute has a measure, which shows which of two sounds has more of it.
MEASURES: dict[str, Callable[[Array], float]] = {"speed": pace, "pitch": height, "intensity": weight}
