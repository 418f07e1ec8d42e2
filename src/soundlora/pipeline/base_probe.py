"""The loss of a base on a few clips, computed as it is or another way.

A trained model computes in the way that it was trained in. Any other way costs it loss, so a way that lowers the loss
says that a switch is wrong, or a weight. That needs no reference of the base. In shapes N is clips, T latents, C their
channels, S tokens of the context, D its width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.config import AudioConfig
from soundlora.model.latents import positions
from soundlora.model.rope import Rope
from soundlora.model.transformer import AudioTransformer
from soundlora.training.flow import loss_per_sample, noisy

LEVELS = (0.2, 0.5, 0.8)
"""The noise levels of all losses."""


@dataclass(frozen=True)
class Change:
    """What is other than usual in a pass.

    time, prompt: turn the noise level into the timesteps, and into the level that modulates the prompt. velocity: makes
    a velocity of (what the model returns, noisy latents, noise level).
    """

    latents: Tensor | None = None
    contexts: Tensor | None = None
    rope: Rope | None = None
    time: Callable[[Tensor], Tensor] | None = None
    prompt: Callable[[Tensor], Tensor] | None = None
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None


USUAL = Change()


@dataclass(frozen=True)
class Difference:
    """What a change costs: the mean over clips and levels as a share of the usual loss, and over its standard error."""

    share: float
    errors: float

    def lowers(self, share: float, errors: float = 2.5) -> bool:
        """Say whether the loss falls by more than `share` of it and so many standard errors."""
        return self.share < -share and self.errors < -errors


class Probe:
    """A transformer with the latents (N, T, C) and contexts (N, S, D) of the clips, and one noise for all passes."""

    def __init__(
        self, model: AudioTransformer, audio: AudioConfig, latents: Tensor, contexts: Tensor, seed: int = 0
    ) -> None:
        self.model, self.audio = model, audio
        device = model.audio_patchify_proj.weight.device
        self.latents, self.contexts = latents.to(device), contexts.to(device)
        self.rope = model.rope(positions(latents.shape[1], audio).to(device))
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn((len(LEVELS), *latents.shape), generator=generator).to(device)
        self.usual = self.losses()

    @torch.inference_mode()
    def losses(self, change: Change = USUAL, levels: tuple[float, ...] = LEVELS) -> Tensor:
        """Return the loss of every level and clip, (levels, N), fp32, on the CPU."""
        return torch.stack([self._level(change, level) for level in levels]).float().cpu()

    def velocity(self, change: Change, level: float) -> tuple[Tensor, Tensor]:
        """Return what the model predicts of the clips at a noise level, and the clean latents, both (N, T, C)."""
        clean = self.latents if change.latents is None else change.latents
        sigma = torch.full((len(clean),), level, device=clean.device)  # (N,)
        x = noisy(clean, self.noise[LEVELS.index(level), : len(clean)], sigma)
        time = sigma if change.time is None else change.time(sigma)
        prompt = sigma if change.prompt is None else change.prompt(sigma)
        contexts = self.contexts if change.contexts is None else change.contexts
        velocity = self.model(x, time[:, None], prompt, contexts, change.rope or self.rope).float()
        if change.velocity is not None:
            velocity = change.velocity(velocity, x, sigma.view(-1, 1, 1))
        return velocity, clean

    def _level(self, change: Change, level: float) -> Tensor:
        velocity, clean = self.velocity(change, level)
        return loss_per_sample(velocity, clean, self.noise[LEVELS.index(level)])

    def cost(self, change: Change = USUAL, levels: tuple[float, ...] = LEVELS) -> Difference:
        """Return what a change costs at these levels."""
        usual = self.usual[[LEVELS.index(level) for level in levels]]
        return difference(self.losses(change, levels), usual)


def difference(changed: Tensor, usual: Tensor) -> Difference:
    """Return what loss (levels, N) is above the usual one."""
    gap = (changed - usual).flatten().double()
    error = gap.std() / len(gap) ** 0.5
    share = float(gap.mean() / usual.double().mean())
    return Difference(share, float(gap.mean() / error) if error > 0 else 0.0)


def average_spectrum_loss(latents: Tensor) -> Tensor:
    """Return the loss (levels,) of the best guess that knows mean and variance of each channel, and nothing else.

    latents: (N, T, C).
    """
    variance = latents.float().var(dim=(0, 1))  # (C,)
    levels = torch.tensor(LEVELS, device=latents.device)[:, None]
    return (variance / (levels**2 + (1 - levels) ** 2 * variance)).mean(dim=1).cpu()
