"""How far ears agree with the laboratory on what helps: rank correlations over levels, and signs of differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lab import DEFAULTS
from numpy.typing import NDArray

Key = tuple[str, str, str, int]
Results = dict[Key, dict[str, float]]

DRAWS = 2000
NEARER, FARTHER, NOISE = "nearer", "farther", "noise"


@dataclass(frozen=True)
class Agreement:
    """A rank correlation, its 95 % interval by drawing sounds anew, and the number of levels it is over."""

    value: float
    low: float
    high: float
    levels: int


def by_sound(results: Results, figure: str) -> dict[str, dict[str, float]]:
    """Return for each level and sound how much more a figure is than with the defaults, in the mean of its seeds."""
    pairs: dict[str, dict[str, list[float]]] = {}
    for (factor, level, sound, seed), figures in results.items():
        plain = results.get((DEFAULTS, DEFAULTS, sound, seed))
        if factor != DEFAULTS and plain is not None and figure in figures:
            sounds = pairs.setdefault(f"{factor}: {level}", {})
            sounds.setdefault(sound, []).append(figures[figure] - plain[figure])
    return {level: {name: float(np.mean(each)) for name, each in sounds.items()} for level, sounds in pairs.items()}


def agreement(
    one: dict[str, dict[str, float]], other: dict[str, dict[str, float]], among: list[str] | None = None
) -> Agreement | None:
    """Return how alike two tables of `by_sound` rank levels; None with fewer than three levels that have all sounds.

    among: the levels that are looked at; all by default.
    """
    sounds = sorted({sound for table in (one, other) for row in table.values() for sound in row})
    levels = [
        level
        for level in one
        if (among is None or level in among)
        and all(sound in table.get(level, {}) for sound in sounds for table in (one, other))
    ]
    if len(levels) < 3:
        return None
    tables = [np.array([[table[level][sound] for sound in sounds] for level in levels]) for table in (one, other)]
    value = float(_ranked_alike(*(table.mean(axis=1, keepdims=True) for table in tables))[0])
    drawn = np.random.default_rng(0).integers(len(sounds), size=(len(sounds), DRAWS))
    low, high = np.quantile(_ranked_alike(*(table[:, drawn].mean(axis=1) for table in tables)), (0.025, 0.975))
    return Agreement(value, float(low), float(high), len(levels))


def _ranked_alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's correlation of each column (levels, columns). Differences of scores are never equal."""
    ranks = [each.argsort(axis=0).argsort(axis=0) for each in (one, other)]
    a, b = (each - each.mean(axis=0) for each in ranks)
    shared: NDArray[np.float64] = (a * b).sum(axis=0) / np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    return shared


def said(mean: float, interval: float) -> str:
    """Return what a difference of scores with its interval says, in a word."""
    if abs(mean) <= interval:
        return NOISE
    return NEARER if mean < 0 else FARTHER
