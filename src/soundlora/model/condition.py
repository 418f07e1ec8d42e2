"""What of a sample is given instead of generated, as the transformer sees it.

Latents that are given are clean, have the timestep 0 and count nothing in the loss. A reference, another sound, stands
in front of the sample's own latents; its positions count from 0 as theirs do. The noise level that modulates a prompt
stays the sample's.

In shapes B is samples, T their latents, R those of the reference, N = R + T, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.config import AudioConfig
from soundlora.model.latents import positions


@dataclass(frozen=True)
class Condition:
    """The condition of a batch. Without an argument nothing is given.

    given: (B, T) bool, True where a latent is given.
    reference: (B, R, C), latents that stand in front.
    """

    given: Tensor | None = None
    reference: Tensor | None = None

    @property
    def front(self) -> int:
        """The number R of latents that stand in front."""
        return 0 if self.reference is None else self.reference.shape[1]

    def sequence(self, x: Tensor, clean: Tensor) -> Tensor:
        """Return what the transformer gets, (B, N, C), of noisy and clean latents (B, T, C)."""
        if self.given is not None:
            x = torch.where(self.given[..., None], clean, x)
        return x if self.reference is None else torch.cat((self.reference.expand(len(x), -1, -1), x), dim=1)

    def timesteps(self, sigma: Tensor, tokens: int) -> Tensor:
        """Return the timesteps (B, N) of samples at noise levels σ (B,), with T = tokens; (B, 1) if all are alike."""
        return timesteps(sigma, self.mask(tokens, sigma.device))

    def mask(self, tokens: int, device: torch.device) -> Tensor | None:
        """Return where the sequence is given, (B, N) bool, with T = tokens; None where nothing is."""
        if self.reference is None:
            return self.given
        count = len(self.reference)
        given = self.given
        if given is None:
            given = torch.zeros(count, tokens, dtype=torch.bool, device=device)
        return torch.cat((torch.ones(count, self.front, dtype=torch.bool, device=device), given), dim=1)

    def positions(self, tokens: int, audio: AudioConfig) -> Tensor:
        """Return start and end of every latent of the sequence in seconds, (1, 1, N, 2), with T = tokens."""
        own = positions(tokens, audio)
        return torch.cat((positions(self.front, audio), own), dim=2) if self.front else own


@dataclass(frozen=True)
class Given:
    """What is given of one sound.

    latents: (T, C), of which those count where `mask` (T,), bool, is True. reference: (R, C), or None.
    """

    latents: Tensor
    mask: Tensor
    reference: Tensor | None = None

    def condition(self, device: torch.device) -> tuple[Tensor, Condition]:
        """Return the latents (1, T, C) and the condition of a batch of this one, on a device."""
        reference = None if self.reference is None else self.reference[None].to(device)
        mask = self.mask[None].to(device) if self.mask.any() else None
        return self.latents[None].to(device), Condition(mask, reference)


def timesteps(sigma: Tensor, mask: Tensor | None) -> Tensor:
    """Return 0 where the mask (1 or B, N) is True, else σ (B,), as (B, N); (B, 1) where there is no mask."""
    return sigma[:, None] if mask is None else torch.where(mask, 0.0, sigma[:, None])


def at_start(tokens: int, count: int) -> Tensor:
    """Return the mask (tokens,) of a sound whose first `count` latents are given."""
    return torch.arange(tokens) < count


def at_end(tokens: int, count: int) -> Tensor:
    """Return the mask (tokens,) of a sound whose last `count` latents are given."""
    return torch.arange(tokens) >= tokens - count


def outside(tokens: int, spans: Sequence[tuple[float, float]], audio: AudioConfig) -> Tensor:
    """Return the mask (tokens,) of a sound that is given outside of `spans`, (start, end) in seconds.

    A latent that lies in a span with any part of its time is generated.
    """
    bounds = positions(tokens, audio)[0, 0]  # (tokens, 2)
    inside = torch.zeros(tokens, dtype=torch.bool)
    for start, end in spans:
        inside |= (bounds[:, 0] < end) & (bounds[:, 1] > start)
    return ~inside
