"""WAV files of generated sound: 16-bit PCM, as the reference saves it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soundlora.system.whole_files import whole


def write_wav(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """Write (channels, samples) in [−1, 1] at `sample_rate` Hz. The file appears under its name when it is complete."""
    pcm = (waveform.clamp(-1, 1) * 32767).to(torch.int16).T.contiguous().numpy()
    with whole(path) as unfinished, unfinished.open("wb") as raw, wave.open(raw, "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.astype("<i2").tobytes())


def read_wav(path: Path) -> tuple[Tensor, int]:
    """Read a 16-bit file as `write_wav` makes it. Return (channels, samples) in [−1, 1] and the rate in Hz."""
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, file.getnchannels())
        return torch.from_numpy(pcm.T.astype(np.float32) / 32767), file.getframerate()
