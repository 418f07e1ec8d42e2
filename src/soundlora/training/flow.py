"""Flow matching (Lipman et al. 2022, arXiv:2210.02747): noise level, noisy latents and loss of a training step.

In shapes B is samples, T latents, C their channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from soundlora.sampling.schedule import shift

HELD_OUT_SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)  # noise levels of the loss on clips kept out
SLIDE = 1.0
"""Times the way from one prompt to the other that a slider is trained to go to either side of the prompt in between."""
_EPS = 1e-3
_UNIFORM_SHARE = 0.1
# The normal distribution has these quantiles at 0.5 % and 99.9 %. Values between them are stretched to 0 to 1.
_LOW_QUANTILE, _HIGH_QUANTILE = -2.5758, 3.0902


def sample_sigma(
    count: int, tokens: int, generator: torch.Generator, band: tuple[float, float] | None = None
) -> Tensor:
    """Draw noise levels (count,) in [0, 1] for clips of `tokens` latents, as the reference trains.

    They are logistic-normal (Esser et al. 2024, arXiv:2403.03206), shifted by the number of latents; one in ten is
    uniform. band: the lowest and the highest level, between which all are drawn evenly instead. The noise that is drawn
    next is the same either way.
    """
    normal = torch.randn(count, generator=generator)  # (count,)
    uniform = torch.rand(count, generator=generator)  # (count,)
    choice = torch.rand(count, generator=generator)  # (count,)
    if band is not None:
        low, high = max(band[0], _EPS), band[1]
        return low + (high - low) * uniform
    return shape_sigma(normal, uniform, choice, tokens)


def shape_sigma(normal: Tensor, uniform: Tensor, choice: Tensor, tokens: int) -> Tensor:
    """Turn the three draws of `sample_sigma`, (count,) each, into noise levels (count,)."""
    mu = torch.tensor(shift(tokens))  # ()
    z = torch.sigmoid(normal + mu)  # (count,)
    low, high = torch.sigmoid(mu + _LOW_QUANTILE), torch.sigmoid(mu + _HIGH_QUANTILE)
    z = (z - low) / (high - low)
    z = torch.where(z < _EPS, 2 * _EPS - z, z).clamp(0, 1)
    return torch.where(choice > _UNIFORM_SHARE, z, (1 - _EPS) * uniform + _EPS)


def noisy(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Return (1 − σ)·clean + σ·noise (B, T, C) for latents (B, T, C) and σ (B,)."""
    s = sigma.view(-1, 1, 1)  # (B, 1, 1)
    return (1 - s) * clean + s * noise


def loss_per_sample(velocity: Tensor, clean: Tensor, noise: Tensor, uncounted: Tensor | None = None) -> Tensor:
    """Return the mean squared error (B,), fp32, of the velocity (B, T, C) against noise − clean, unweighted by σ.

    uncounted: (B, T) bool, latents that count nothing.
    """
    return error_per_sample(velocity, noise - clean, uncounted)


def error_per_sample(velocity: Tensor, target: Tensor, uncounted: Tensor | None = None) -> Tensor:
    """Return the mean squared error (B,), fp32, of the velocity (B, T, C) against the fp32 target (B, T, C).

    uncounted: (B, T) bool, latents that count nothing.
    """
    errors = (velocity.float() - target).square()  # (B, T, C)
    if uncounted is None:
        return errors.mean(dim=(1, 2))  # (B,)
    return errors.mean(dim=2).masked_fill(uncounted, 0).sum(dim=1) / (~uncounted).sum(dim=1)  # (B, T) → (B,)


def slid(middle: Tensor, low: Tensor, high: Tensor, strength: float) -> Tensor:
    """Return the velocity that a slider is to have at a strength from −1 to 1, from the base's own, all (B, T, C).

    middle: for the prompt that it slides on. low, high: for those of its ends. As Concept Sliders train (Gandikota et
    al. 2023, arXiv:2311.12092).
    """
    return middle + strength * SLIDE * (high - low)


def either(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return where one mask or the other is True; None where there is neither."""
    if one is None or other is None:
        return other if one is None else one
    return one | other


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of all randomness of a step.

    It is a function of (seed, step) alone, so that a resumed run equals an uninterrupted one.
    """
    # Odd 64-bit constants spread neighbouring seeds and steps over the generator's whole range.
    return torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % (1 << 63))
