"""Flow matching: noise level, noisy latents, target and loss of a training step."""

from __future__ import annotations

import torch
from torch import Tensor

from soundlora.sampling.schedule import shift

HELD_OUT_SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)  # at which the loss on clips kept out is computed
_EPS = 1e-3
_CAPTIONS = 0x5CA9_7105  # apart from the seed of noise and noise levels
_UNIFORM_SHARE = 0.1
# Quantiles of the normal distribution at 0.5 % and 99.9 %, between which the logistic-normal values are stretched.
_LOW_QUANTILE, _HIGH_QUANTILE = -2.5758, 3.0902


def sample_sigma(count: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,) in [0, 1] for clips of `tokens` latents: shifted logistic-normal, one in ten uniform."""
    normal = torch.randn(count, generator=generator)
    uniform = torch.rand(count, generator=generator)
    choice = torch.rand(count, generator=generator)
    return shape_sigma(normal, uniform, choice, tokens)


def shape_sigma(normal: Tensor, uniform: Tensor, choice: Tensor, tokens: int) -> Tensor:
    """The three draws of `sample_sigma` → noise levels."""
    mu = torch.tensor(shift(tokens))
    z = torch.sigmoid(normal + mu)
    low, high = torch.sigmoid(mu + _LOW_QUANTILE), torch.sigmoid(mu + _HIGH_QUANTILE)
    z = (z - low) / (high - low)
    z = torch.where(z < _EPS, 2 * _EPS - z, z).clamp(0, 1)
    return torch.where(choice > _UNIFORM_SHARE, z, (1 - _EPS) * uniform + _EPS)


def noisy(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 − σ)·clean + σ·noise for (B, T, C) latents and σ (B,)."""
    s = sigma.view(-1, 1, 1)
    return (1 - s) * clean + s * noise


def loss_per_sample(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error (B,) of the velocity against noise − clean, fp32, without any weighting by σ."""
    return (velocity.float() - (noise - clean)).square().mean(dim=(1, 2))


def drops_caption(seed: int, sample: int, share: float) -> bool:
    """Whether a sample trains with the empty caption: of a `share` of all samples, by (seed, sample) alone."""
    return torch.rand((), generator=step_generator(seed ^ _CAPTIONS, sample)).item() < share


def step_generator(seed: int, step: int) -> torch.Generator:
    """All randomness of a step: a function of (seed, step) alone, so that a resumed run equals an uninterrupted one."""
    # Odd 64-bit constants spread neighbouring seeds and steps over the generator's whole range.
    return torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % (1 << 63))
