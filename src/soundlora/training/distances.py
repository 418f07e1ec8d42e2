"""How far two sets of sounds lie apart, each sound a matrix of vectors, with an interval.

An interval is 1.96 standard errors, from leaving out one sound after the other (the jackknife of both sets). Sounds are
left out and not their vectors, since those of one sound are alike. In shapes n is the vectors of a sound, D their
width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

FEWEST = 2
"""Sounds that a set has at least, so that one can be left out."""

_MOST_VECTORS = 2000  # of a set that go into a kernel distance, evenly taken
_NORMAL = 1.96


@dataclass(frozen=True)
class Estimate:
    """A figure, and what it may be off by to either side in 19 cases of 20; None where that can't be said."""

    value: float
    interval: float | None = None


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean of a figure over sounds."""
    array = np.asarray(values, np.float64)
    interval = _NORMAL * float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else None
    return Estimate(float(array.mean()), interval)


def kernel_distance(one: Sequence[Array], other: Sequence[Array]) -> Estimate:
    """Return a thousand times the squared maximum mean discrepancy of two sets of sounds (n, D).

    The kernel is Gaussian, and as wide as the median distance between vectors of `other`, as in the kernel audio
    distance (KAD: Chung et al. 2025, arXiv:2502.15602). Pairs within one sound are left out, which makes it unbiased:
    0 is what two sets of one kind have in the mean. Raises ValueError below `FEWEST` sounds.
    """
    _check(one, other)
    first, second = _thinned(one), _thinned(other)
    squares = _squares(np.concatenate(second), np.concatenate(second))
    width = float(np.median(squares[np.triu_indices(len(squares), 1)])) or 1.0
    within = [_kernels(each, each, width) for each in (first, second)]
    across = _kernels(first, second, width)

    def estimate(a: Array, b: Array) -> float:
        own, others = (_off_diagonal(matrix[np.ix_(kept, kept)]) for matrix, kept in zip(within, (a, b), strict=True))
        return 1000 * (own + others - 2 * float(across[np.ix_(a, b)].mean()))

    return _jackknifed(estimate, len(one), len(other))


def frechet_distance(one: Sequence[Array], other: Sequence[Array]) -> Estimate:
    """Return the squared Fréchet distance between Gaussians fitted to the vectors of two sets of sounds (n, D).

    It is what FAD measures (Kilgour et al. 2019, arXiv:1812.08466), and grows as sets get smaller. Raises ValueError
    below `FEWEST` sounds.
    """
    _check(one, other)
    moments = [[_moments(sound) for sound in sounds] for sounds in (one, other)]

    def estimate(a: Array, b: Array) -> float:
        (mean_a, cov_a), (mean_b, cov_b) = (
            _gaussian([sounds[number] for number in kept]) for sounds, kept in zip(moments, (a, b), strict=True)
        )
        roots = np.sqrt(np.maximum(np.linalg.eigvals(cov_a @ cov_b).real, 0)).sum()
        return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * roots)

    return _jackknifed(estimate, len(one), len(other))


def moved(one: Array, other: Array) -> float:
    """Return how far the values of one distribution are to be moved in the mean to become the other (1-Wasserstein).

    one, other: any numbers of values, (n,), not none.
    """
    return float(np.abs(_quantiles(one) - _quantiles(other)).mean())


def _quantiles(values: Array) -> Array:
    found: Array = np.quantile(values, (np.arange(1000) + 0.5) / 1000, method="inverted_cdf")
    return found


def _check(*sets: Sequence[Array]) -> None:
    for sounds in sets:
        if len(sounds) < FEWEST:
            raise ValueError(f"{len(sounds)} sounds are too few to be compared as a set: it takes {FEWEST}")


def _jackknifed(estimate: Callable[[Array, Array], float], ones: int, others: int) -> Estimate:
    a, b = np.arange(ones), np.arange(others)
    variance = 0.0
    if min(ones, others) <= FEWEST:
        return Estimate(estimate(a, b))
    for left_out in ([estimate(np.delete(a, i), b) for i in a], [estimate(a, np.delete(b, i)) for i in b]):
        count = len(left_out)
        variance += (count - 1) / count * float(np.square(np.asarray(left_out) - np.mean(left_out)).sum())
    return Estimate(estimate(a, b), _NORMAL * math.sqrt(variance))


def _thinned(sounds: Sequence[Array]) -> list[Array]:
    """Return the sounds with every k-th vector, so that a set has no more than `_MOST_VECTORS` of them by much."""
    step = math.ceil(sum(map(len, sounds)) / _MOST_VECTORS)
    return [np.asarray(sound[::step], np.float64) for sound in sounds]


def _squares(one: Array, other: Array) -> Array:
    products = one @ other.T
    squares: Array = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1) - 2 * products
    squares = np.maximum(squares, 0)
    return squares


def _kernels(one: Sequence[Array], other: Sequence[Array], width: float) -> Array:
    """Return the mean kernel (sounds of one, sounds of other) of the vectors of every two sounds."""
    return np.asarray([[np.exp(-_squares(a, b) / (2 * width)).mean() for b in other] for a in one])


def _off_diagonal(matrix: Array) -> float:
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1))) if count > 1 else float(matrix.mean())


def _moments(sound: Array) -> tuple[int, Array, Array]:
    wide = np.asarray(sound, np.float64)
    return len(wide), wide.sum(axis=0), wide.T @ wide


def _gaussian(moments: Sequence[tuple[int, Array, Array]]) -> tuple[Array, Array]:
    count = sum(each[0] for each in moments)
    mean: Array = sum((each[1] for each in moments), start=np.zeros_like(moments[0][1])) / count
    second: Array = sum((each[2] for each in moments), start=np.zeros_like(moments[0][2])) / count
    return mean, second - np.outer(mean, mean)
