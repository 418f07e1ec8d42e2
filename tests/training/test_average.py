from __future__ import annotations

import pytest
import torch

from soundlora.training import average as average_module
from soundlora.training.average import Average


def run(steps: int, seed: int = 0) -> tuple[Average, torch.Tensor]:
    """An average of values that go astray by 1 around 3 at every step, and all of them."""
    noise = torch.randn(steps, 200, generator=torch.Generator().manual_seed(seed))
    parameter = torch.nn.Parameter(torch.full((200,), -50.0))
    average = Average(parameter)
    for step, values in enumerate(3 + noise, start=1):
        parameter.data.copy_(values)
        average.update(Average.share(step))
    return average, 3 + noise


def test_after_one_step_it_is_that_step() -> None:
    average, values = run(1)
    torch.testing.assert_close(average.values, values[0])


@pytest.mark.parametrize("steps", [20, 200, 2000])
def test_each_step_counts_by_a_power_of_its_place_whatever_the_length(steps: int) -> None:
    average, values = run(steps)
    # Weights whose running mean this is: (n + 7)! / (n − 1)!, about the eighth power of n.
    n = torch.arange(1, steps + 1, dtype=torch.float64)
    weights = torch.stack([n + k for k in range(8)]).prod(dim=0)
    expected = (weights[:, None] * values.double()).sum(dim=0) / weights.sum()
    torch.testing.assert_close(average.values.double(), expected, atol=1e-4, rtol=1e-5)
    reach = float((weights * (steps - n)).sum() / weights.sum() / steps)
    assert reach == pytest.approx(1 / 10, abs=0.02)


def test_what_goes_astray_is_averaged_out() -> None:
    average, values = run(2000)
    assert float((average.values - 3).std()) < 0.1 < 0.9 < float(values[-1].std())


def test_the_parameter_is_the_mean_only_while_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(average_module, "_PIECE", 64)  # of 200 numbers: the last piece is smaller
    average, values = run(40)
    mean = average.values.clone()
    with average.used():
        assert torch.equal(average.parameter.data, mean)
        assert not torch.equal(mean, values[-1])
    assert torch.equal(average.parameter.data, values[-1])
    assert torch.equal(average.values, mean)
    with pytest.raises(KeyboardInterrupt), average.used():
        raise KeyboardInterrupt
    assert torch.equal(average.parameter.data, values[-1])
    assert torch.equal(average.values, mean)


def test_an_interrupt_on_the_way_in_or_out_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    average, values = run(40)
    mean = average.values.clone()

    def interrupted(self: Average) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), average.used():
        patch.setattr(Average, "_restore", interrupted)
    assert torch.equal(average.parameter.data, mean)
    with average.used():  # as a checkpoint does
        assert torch.equal(average.parameter.data, mean)
    assert torch.equal(average.parameter.data, values[-1])
    swap = Average._swap

    def late(self: Average) -> None:
        swap(self)
        raise KeyboardInterrupt  # held back until it was through

    with monkeypatch.context() as patch:
        patch.setattr(Average, "_swap", late)
        with pytest.raises(KeyboardInterrupt), average.used():
            raise AssertionError("it was not interrupted")
    assert torch.equal(average.parameter.data, values[-1])
    assert torch.equal(average.values, mean)
