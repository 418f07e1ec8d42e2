"""How near takes are to real sounds: what is told, how far takes spread, and the figures of it."""

from __future__ import annotations

import numpy as np
import pytest
from nano_apart import figures_of, spread, told


def test_a_take_is_told_where_it_lies_nearest_to_its_own_sound() -> None:
    own = np.array([[0.0, 0.0], [0.0, 2.0]], np.float32)  # the mean is (0, 1)
    others = [np.array([[4.0, 1.0]], np.float32), np.array([[0.0, -5.0]], np.float32)]
    takes = np.array([[1.0, 1.0], [3.0, 1.0], [0.0, -4.0], [0.0, 3.0]], np.float32)
    assert told(takes, own, others) == 0.5


def test_takes_that_are_alike_have_no_spread() -> None:
    assert spread(np.ones((4, 3), np.float32)) == 0
    assert spread(np.array([[0.0, 0.0], [0.0, 2.0]], np.float32)) == 1


def test_the_figures_have_the_mean_and_the_worst_sound() -> None:
    found = {
        "tabla": {"score at 1": 0.1, "told at 1": 1.0, "spread at 1": 0.5, "clips told": 1.0},
        "blips": {"score at 1": 0.6, "told at 1": 0.5, "spread at 1": 1.0, "clips told": 0.9},
    }
    figures = {figure.name: figure for figure in figures_of(found)}
    assert figures["score at 1, mean of four"].value == pytest.approx(0.35)
    assert figures["score at 1, largest"].value == 0.6
    assert figures["score at 1, largest"].verdict == "missed"
    assert figures["told at 1, mean of four"].value == 75
    assert figures["told at 1, mean of four"].verdict == "reached"
    assert figures["spread at 1, smallest"].value == 0.5
    assert figures["clips told, mean of four"].value == 95
