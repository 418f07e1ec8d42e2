"""The reference cases as a whole; each is checked in the file of the module that it concerns."""

from __future__ import annotations

import pytest
import torch
from parity.cases import Case, manifest
from parity.runners import RUNNERS


def test_each_of_the_129_cases_is_computed_by_exactly_one_runner() -> None:
    claimed = [name for prefixes, _ in RUNNERS.values() for name in manifest() if name.startswith(prefixes)]
    assert len(claimed) == 92 + 37
    assert sorted(claimed) == sorted(manifest())


def test_every_group_has_cases() -> None:
    for group, (prefixes, _) in RUNNERS.items():
        for prefix in prefixes:
            assert any(name.startswith(prefix) for name in manifest()), f"{group}: {prefix}"


@pytest.mark.parametrize(
    ("actual", "share"),
    [([1.0, 2.0], 0.0), ([1.0, 2.03], 1.0), ([1.04, 2.0], 2.0), ([float("nan"), 2.0], float("inf"))],
)
def test_an_error_is_measured_against_atol_and_rtol_of_the_expected_value(actual: list[float], share: float) -> None:
    case = Case("", "", 0.01, 0.01, {}, {}, {})
    measured = case.share_of_tolerance(torch.tensor(actual, dtype=torch.float64), torch.tensor([1.0, 2.0]))
    assert measured == pytest.approx(share)


def test_another_shape_is_no_match() -> None:
    with pytest.raises(AssertionError):
        Case("", "", 1, 1, {}, {}, {}).share_of_tolerance(torch.zeros(2, 1), torch.zeros(2))
