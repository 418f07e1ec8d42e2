"""Every clip counts alike, whatever its length, and the order is a function of the seed and the sample."""

from __future__ import annotations

from collections import Counter

import pytest

from soundlora.training.order import Order

SHAPES = ["short", "long", "short", "long", "short", "middle", "short"]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_every_clip_comes_as_often(size: int) -> None:
    order = Order(SHAPES, size, seed=3)
    drawn = Counter(order.clip(sample) for sample in range(len(SHAPES) * size))
    assert drawn == dict.fromkeys(range(len(SHAPES)), size)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_batch_has_clips_of_one_shape(size: int) -> None:
    order = Order(SHAPES, size, seed=3)
    batches = [[SHAPES[order.clip(step * size + n)] for n in range(size)] for step in range(30)]
    assert all(len(set(batch)) == 1 for batch in batches)
    assert {batch[0] for batch in batches} == set(SHAPES)


def test_epochs_differ_and_the_seed_and_the_sample_decide() -> None:
    drawn = [Order(SHAPES, 2, seed=3).clip(sample) for sample in reversed(range(60))][::-1]
    order = Order(SHAPES, 2, seed=3)
    assert drawn == [order.clip(sample) for sample in range(60)]
    assert drawn[:14] != drawn[14:28]
    assert drawn != [Order(SHAPES, 2, seed=4).clip(sample) for sample in range(60)]


def test_clips_of_one_shape_come_in_permutations_whatever_the_batch() -> None:
    one, eight = Order(["same"] * 5, 1, seed=3), Order(["same"] * 5, 8, seed=3)
    drawn = [one.clip(sample) for sample in range(20)]
    assert drawn == [eight.clip(sample) for sample in range(20)]
    assert all(sorted(drawn[start : start + 5]) == [0, 1, 2, 3, 4] for start in range(0, 20, 5))
