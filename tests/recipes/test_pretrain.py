"""Which noise levels the base is trained at."""

from __future__ import annotations

import torch
from pretrain import EMA_DECAY, follow, heard_error, noise_levels
from torch import nn

from soundlora.sampling.schedule import sigmas
from soundlora.training.flow import sample_sigma


def share_above(levels: torch.Tensor, level: float) -> float:
    return float((levels > level).float().mean())


def test_high_noise_is_trained_as_often_as_sampling_needs_it() -> None:
    generator = torch.Generator().manual_seed(0)
    lora, base = sample_sigma(20_000, 126, generator), noise_levels(20_000, 126, generator)
    assert share_above(lora, 0.95) < 0.04
    assert share_above(base, 0.95) > 0.06
    assert base.min() >= 0
    assert base.max() <= 1
    # Half of the levels that sampling passes through lie above what half of LoRA training sees.
    assert sigmas(30).median() > base.median() > lora.median()


def test_the_average_follows_closely_at_first_and_slowly_later() -> None:
    average, learning = nn.Linear(1, 1), nn.Linear(1, 1)

    def moved(step: int) -> float:
        nn.init.zeros_(average.weight)
        nn.init.ones_(learning.weight)
        follow(average, dict(learning.named_parameters()), step)
        return float(average.weight.detach())

    assert abs(moved(0) - 0.9) < 1e-6
    assert abs(moved(100_000) - (1 - EMA_DECAY)) < 1e-6


def test_an_error_in_the_loudness_counts_more_than_one_in_the_finest_texture() -> None:
    target, rows = torch.zeros(2, 3, 128), torch.eye(8).repeat_interleave(16, dim=1)  # a channel is 16 tokens' values
    errors = torch.stack([heard_error(target + row, target) for row in rows])
    assert errors[0] > 20 * errors[-1]
    assert torch.equal(errors, errors.sort(descending=True)[0])
    # All in all the loss stays about as large as the plain one, and so do steps beside the other loss.
    assert 0.9 < float(heard_error(target + 1, target)) < 1.1
