from __future__ import annotations

import pytest
import torch
from support import assert_matches, parity_cases

from soundlora.training.flow import loss_per_sample, noisy, sample_sigma, shape_sigma, step_generator


@parity_cases("timestep_sampler")
def test_parity(case: str) -> None:
    assert_matches(case)


def test_noise_levels_of_5_seconds_have_the_references_mean_and_median() -> None:
    sigma = sample_sigma(400_000, 126, torch.Generator().manual_seed(0))
    assert sigma.mean().item() == pytest.approx(0.581, abs=2e-3)
    assert sigma.median().item() == pytest.approx(0.611, abs=2e-3)
    assert sigma.min() >= 0
    assert sigma.max() <= 1


def test_longer_clips_are_trained_at_more_noise() -> None:
    means = [sample_sigma(20_000, tokens, torch.Generator().manual_seed(0)).mean() for tokens in (26, 501, 4096)]
    assert means == sorted(means)


def test_one_draw_in_ten_is_uniform_above_a_thousandth() -> None:
    normal, uniform, choice = torch.zeros(3), torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.1, 0.05, 0.10001])
    sigma = shape_sigma(normal, uniform, choice, 126)
    assert sigma[:2].tolist() == pytest.approx([0.001, 1.0])
    assert sigma[2] == shape_sigma(normal[:1], uniform[:1], torch.ones(1), 126)


def test_the_tails_are_folded_back_or_cut() -> None:
    tails = shape_sigma(torch.tensor([-2.5758, -2.7, -9.0, 3.0902, 9.0]), torch.zeros(5), torch.ones(5), 126)
    assert tails[0].item() == pytest.approx(0.002, abs=1e-4)
    assert 0 <= tails[1] <= 1
    assert tails[3:].tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_noisy_latents_run_in_a_straight_line_from_clean_to_noise() -> None:
    clean, noise = torch.randn(2, 3, 4, 5)
    sigma = torch.tensor([0.0, 1.0, 0.25])
    mixed = noisy(clean, noise, sigma)
    assert torch.equal(mixed[0], clean[0])
    assert torch.equal(mixed[1], noise[1])
    torch.testing.assert_close(mixed[2], clean[2] + 0.25 * (noise[2] - clean[2]))


def test_the_loss_is_the_plain_mean_square_of_each_sample() -> None:
    clean, noise = torch.randn(2, 3, 4, 5)
    right = noise - clean
    assert loss_per_sample(right, clean, noise).tolist() == [0.0, 0.0, 0.0]
    off = right + torch.tensor([1.0, 2.0, 0.0]).view(3, 1, 1)
    torch.testing.assert_close(loss_per_sample(off, clean, noise), torch.tensor([1.0, 4.0, 0.0]))


def test_the_loss_is_fp32_whatever_the_velocity_is() -> None:
    clean, noise = torch.randn(2, 1, 4, 5)
    assert loss_per_sample((noise - clean).bfloat16(), clean, noise).dtype == torch.float32


def test_randomness_is_a_function_of_seed_and_step() -> None:
    def draw(seed: int, step: int) -> tuple[float, ...]:
        return tuple(torch.rand(2, generator=step_generator(seed, step)).tolist())

    places = [(seed, step) for seed in (0, 1, 2, 42, 2**31, 2**32 - 1) for step in (-3, -1, 0, 1, 2, 19_999)]
    draws = {place: draw(*place) for place in places}
    assert len(set(draws.values())) == len(places)
    assert all(draw(*place) == draws[place] for place in reversed(places))


def test_neighbouring_steps_are_not_alike() -> None:
    first = torch.stack([torch.randn(64, generator=step_generator(42, step)) for step in range(64)])
    assert torch.corrcoef(first).fill_diagonal_(0).abs().max() < 0.6


def test_a_band_is_drawn_from_evenly_and_leaves_the_noise_as_it_was() -> None:
    whole, banded = (torch.Generator().manual_seed(3) for _ in range(2))
    sample_sigma(5000, 126, whole)
    sigma = sample_sigma(5000, 126, banded, (0.3, 0.9))
    assert sigma.min() >= 0.3
    assert sigma.max() <= 0.9
    counts = torch.histc(sigma, bins=6, min=0.3, max=0.9)
    assert counts.min() > 700
    assert torch.equal(torch.randn(4, generator=whole), torch.randn(4, generator=banded))
    assert sample_sigma(5000, 126, banded, (0.0, 1.0)).min() >= 1e-3, "no clip is without noise"
