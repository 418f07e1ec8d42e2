"""The number of a clip's latents, their places in time, and the noise that sampling starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from soundlora.model.config import AudioConfig


def training_latents(seconds: float, c: AudioConfig) -> int:
    """Return the latent frames of an encoded clip, ⌈(1 + ⌊samples/hop⌋)/4⌉; 5 s have 126."""
    mel_frames = 1 + round(seconds * c.sample_rate) // c.hop
    return -(-mel_frames // c.downsample)


def generation_latents(seconds: float, c: AudioConfig) -> int:
    """Return the latent frames that are generated for a duration, round(seconds·25), halves to even; 5 s have 125."""
    return round(seconds * c.latent_rate)


def positions(frames: int, c: AudioConfig) -> Tensor:
    """Return start and end of every latent frame in seconds, (1, 1, frames, 2), fp32.

    The VAE is causal: the first latent stands for one mel frame, every later one for four.
    """
    index = torch.arange(frames, dtype=torch.float32)
    bounds = torch.stack((index, index + 1), dim=-1) * c.downsample  # (frames, 2)
    mel_frame = (bounds + 1 - c.downsample).clamp_min(0)  # (frames, 2)
    return (mel_frame * c.hop / c.sample_rate)[None, None]


def initial_noise(frames: int, channels: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return noise (1, frames, channels). The CPU draws it, so that a seed gives the same sound on every device."""
    return torch.randn((1, frames, channels), generator=torch.Generator().manual_seed(seed), dtype=dtype)
