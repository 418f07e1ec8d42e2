"""Distances between sets of sounds."""

from __future__ import annotations

import numpy as np
import pytest

from soundlora.training.distances import Estimate, frechet_distance, kernel_distance, mean, moved

Array = np.ndarray


def sounds(
    count: int, seed: int, shift: float = 0.0, spread: float = 1.0, width: int = 8, of_own: float = 0.0
) -> list[Array]:
    """Sounds of 40 vectors. of_own: how far each lies from the others."""
    rng = np.random.default_rng(seed)
    return [
        shift + of_own * rng.standard_normal(width) + spread * rng.standard_normal((40, width)) for _ in range(count)
    ]


def test_sets_of_one_kind_are_at_distance_zero_within_the_interval() -> None:
    off = []
    for seed in range(40):
        found = kernel_distance(sounds(8, seed, of_own=0.5), sounds(8, 1000 + seed, of_own=0.5))
        assert found.interval is not None
        off.append(abs(found.value) > found.interval)
    assert np.mean(off) <= 0.15  # one in twenty is what an interval of 95 % promises


def test_the_kernel_distance_grows_with_what_lies_between() -> None:
    values = [kernel_distance(sounds(6, 1, shift), sounds(6, 2)).value for shift in (0.0, 0.3, 0.6, 1.2)]
    assert values == sorted(values)
    assert values[3] > 100


def test_the_kernel_distance_of_two_points_is_what_its_formula_says() -> None:
    one, other = [np.zeros((1, 1))] * 2, [np.full((1, 1), 2.0), np.full((1, 1), 4.0)]
    # The squared distances between the others' vectors are 0 and 4 within a set of two, so the median is 4.
    across = (np.exp(-4 / 8) + np.exp(-16 / 8)) / 2
    assert kernel_distance(one, other).value == pytest.approx(1000 * (1 + np.exp(-4 / 8) - 2 * across))


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    one, other = sounds(30, 1, shift=0.0, spread=1.0), sounds(30, 2, shift=2.0, spread=3.0)
    # d (Δmean² + (σ − σ')²) for independent channels.
    assert frechet_distance(one, other).value == pytest.approx(8 * (4 + 4), rel=0.05)
    assert frechet_distance(one, one).value == pytest.approx(0, abs=1e-9)


def test_a_set_of_two_has_no_interval_and_one_of_one_no_distance() -> None:
    assert kernel_distance(sounds(2, 1), sounds(5, 2)).interval is None
    for distance in (kernel_distance, frechet_distance):
        with pytest.raises(ValueError, match="1 sounds are too few"):
            distance(sounds(1, 1), sounds(5, 2))


def test_many_vectors_are_thinned_and_give_nearly_the_same() -> None:
    rng = np.random.default_rng(3)
    long = [rng.standard_normal((2000, 4)) for _ in range(4)]
    other = [0.5 + rng.standard_normal((50, 4)) for _ in range(4)]
    short = [each[::20] for each in long]
    assert kernel_distance(long, other).value == pytest.approx(kernel_distance(short, other).value, rel=0.2)


def test_the_mean_has_an_interval_of_standard_errors() -> None:
    found = mean([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.interval == pytest.approx(1.96 / 3**0.5)
    assert mean([4.0]) == Estimate(4.0, None)


def test_values_are_moved_by_their_shift_whatever_their_number() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal(500)
    assert moved(one, one + 3) == pytest.approx(3)
    assert moved(one, np.repeat(one, 3)) == pytest.approx(0, abs=0.01)
    assert moved(np.zeros(3), np.asarray([1.0, -1.0])) == pytest.approx(1)
