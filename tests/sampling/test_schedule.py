from __future__ import annotations

import pytest
from support import assert_matches, parity_cases

from soundlora.sampling.schedule import shift, sigmas


@parity_cases("sigmas_")
def test_parity(case: str) -> None:
    assert_matches(case)


@pytest.mark.parametrize("steps", [2, 3, 10, 30, 50, 200])
def test_noise_falls_from_1_to_a_tenth_and_then_to_0(steps: int) -> None:
    levels = sigmas(steps)
    assert len(levels) == steps + 1
    assert levels[0].item() == pytest.approx(1)
    assert levels[-2].item() == pytest.approx(0.1)
    assert levels[-1].item() == 0
    assert (levels[1:] < levels[:-1]).all()


def test_one_step_goes_all_the_way() -> None:
    assert sigmas(1).tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize(
    ("tokens", "mu"), [(126, 0.6285), (251, 0.6732), (501, 0.7627), (1024, 0.95), (4096, 2.05), (8192, 3.5167)]
)
def test_the_shift_is_linear_in_the_tokens_without_bounds(tokens: int, mu: float) -> None:
    assert shift(tokens) == pytest.approx(mu, abs=1e-4)


def test_sampling_takes_the_shift_of_4096_tokens_unless_told_otherwise() -> None:
    assert sigmas(30).tolist() == sigmas(30, 4096).tolist()
    assert (sigmas(30)[1:-2] > sigmas(30, 126)[1:-2]).all()
