"""Run a reference case and measure how far it is from what the official code gave."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .cases import Case
from .runners import RUNNERS, Outputs, final_lora

# AdamW divides by the size of tiny gradients, so weights after a few steps differ more than what they were made from.
FINAL_LORA_ATOL = 1e-3


def shares(case: Case) -> dict[str, float]:
    """The largest error of every expected tensor as a share of its tolerance: at most 1 passes."""
    expected = dict(case.expected)
    if case.name.startswith("train_"):
        expected |= final_lora(case)
    actual = runner(case.name)(case)
    assert actual.keys() == expected.keys(), f"{case.name}: {sorted(actual.keys() ^ expected.keys())}"
    return {key: _share(case, key, actual[key], expected[key]) for key in expected}


def runner(name: str) -> Callable[[Case], Outputs]:
    (run,) = (run for prefixes, run in RUNNERS.values() if name.startswith(prefixes))
    return run


def _share(case: Case, key: str, actual: Tensor, expected: Tensor) -> float:
    return case.share_of_tolerance(actual, expected, atol=FINAL_LORA_ATOL if key.startswith("final ") else None)
