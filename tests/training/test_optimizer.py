from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from soundlora.training.optimizer import CLIP_NORM, Optimizer


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((2, 3), (4,), (1, 5))]


def backward(weights: list[nn.Parameter], step: int, size: float = 1.0) -> None:
    """Gradients that differ from step to step."""
    loss = sum((size * torch.cos(p * (step + 1)) * (i + 1)).sum() for i, p in enumerate(weights))
    assert isinstance(loss, torch.Tensor)
    loss.backward()


def test_the_rate_falls_in_a_line_to_a_tenth_after_the_last_step() -> None:
    optimizer = Optimizer(parameters(), 2e-4, steps=10)
    assert [optimizer.rate(step) for step in (0, 5, 10, 11)] == pytest.approx([2e-4, 1.1e-4, 2e-5, 2e-5])
    weights = parameters()
    optimizer, rates = Optimizer(weights, 2e-4, steps=10), []
    for step in range(10):
        backward(weights, step)
        rates.append(optimizer.step()[0])
    assert rates == pytest.approx([2e-4 * (1 - 0.09 * step) for step in range(10)])


def test_the_rate_stays_where_it_is_constant() -> None:
    constant = Optimizer(parameters(), 2e-4, steps=10, schedule="constant")
    assert {constant.rate(step) for step in range(20)} == {2e-4}


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit", "adafactor"])
def test_some_parameters_may_have_a_rate_of_their_own(kind: str) -> None:
    """What is faster moves as it would at so many times the rate, and the others as they do without it."""
    pieces = []
    for factor, rate in ((4.0, 1e-3), (1.0, 1e-3), (1.0, 4e-3)):
        weights = parameters()
        optimizer = Optimizer(weights, rate, steps=5, kind=kind, average=True, faster=weights[1:2], factor=factor)
        trained(weights, optimizer, range(5))
        pieces.append([p.detach().clone() for p in weights])
    both, slow, fast = pieces
    for one, other in ((both[0], slow[0]), (both[1], fast[1]), (both[2], slow[2])):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(slow[1], fast[1], atol=1e-3)


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit", "adafactor"])
def test_parameters_of_two_rates_go_on_to_the_bit(kind: str) -> None:
    def made(weights: list[nn.Parameter]) -> Optimizer:
        return Optimizer(weights, 1e-2, steps=6, kind=kind, average=True, faster=weights[::2], factor=3.0)

    straight, first = parameters(), parameters()
    trained(straight, made(straight), range(6))
    optimizer = made(first)
    trained(first, optimizer, range(3))
    second = copied(first)
    restored = made(second)
    restored.load_state_dict(optimizer.state_dict())
    trained(second, restored, range(3, 6))
    assert torch.equal(flat(second), flat(straight))


@pytest.mark.parametrize("size", [0.01, 10.0])
def test_updates_are_those_of_torchs_adamw_after_clipping(size: float) -> None:
    ours, theirs = parameters(), parameters()
    optimizer = Optimizer(ours, 1e-2, steps=5)
    adamw = torch.optim.AdamW(theirs, lr=1e-2)
    for step in range(5):
        backward(ours, step, size)
        backward(theirs, step, size)
        norm = nn.utils.clip_grad_norm_(theirs, CLIP_NORM).item()
        adamw.param_groups[0]["lr"] = optimizer.rate(step)
        adamw.step()
        adamw.zero_grad()
        assert optimizer.step() == pytest.approx((optimizer.rate(step), norm))
        assert (norm > CLIP_NORM) == (size > 1)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_gradients_do_not_last_beyond_their_step() -> None:
    weights = parameters()
    optimizer = Optimizer(weights, 1e-2, steps=5)
    backward(weights, 0)
    optimizer.step()
    assert optimizer.step()[1] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told_and_nothing_is_updated(value: float) -> None:
    weights = parameters()
    optimizer = Optimizer(weights, 1e-2, steps=5)
    backward(weights, 0)
    optimizer.step()
    before = [p.detach().clone() for p in weights]
    backward(weights, 1)
    assert weights[1].grad is not None
    weights[1].grad[0] = value
    _, norm = optimizer.step()
    assert not math.isfinite(norm)
    assert optimizer.step_number == 1
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))


def trained(weights: list[nn.Parameter], optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        backward(weights, step)
        optimizer.step()


def copied(weights: list[nn.Parameter]) -> list[nn.Parameter]:
    return [nn.Parameter(p.detach().clone()) for p in weights]


def flat(weights: list[nn.Parameter]) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in weights])


def test_a_restored_optimizer_goes_on_to_the_bit() -> None:
    straight = parameters()
    trained(straight, Optimizer(straight, 1e-2, steps=6), range(6))

    first = parameters()
    optimizer = Optimizer(first, 1e-2, steps=6)
    trained(first, optimizer, range(3))
    second = copied(first)
    restored = Optimizer(second, 1e-2, steps=6)
    restored.load_state_dict(optimizer.state_dict())
    assert restored.step_number == 3
    trained(second, restored, range(3, 6))
    assert torch.equal(flat(second), flat(straight))


def test_the_mean_is_of_the_weights_after_each_step_and_goes_on_to_the_bit() -> None:
    whole, first = parameters(), parameters()
    optimizer = Optimizer(whole, 1e-2, steps=6, average=True)
    trained(whole, optimizer, range(6))
    begun = Optimizer(first, 1e-2, steps=6, average=True)
    trained(first, begun, range(3))
    second = copied(first)
    restored = Optimizer(second, 1e-2, steps=6, average=True)
    restored.load_state_dict(begun.state_dict())
    trained(second, restored, range(3, 6))
    with optimizer.averaged(), restored.averaged():
        mean = flat(whole)
        assert torch.equal(flat(second), mean)
    assert torch.equal(flat(second), flat(whole))
    assert not torch.equal(mean, flat(whole))


def test_without_a_mean_what_is_averaged_is_the_weights_themselves() -> None:
    weights = parameters()
    optimizer = Optimizer(weights, 1e-2, steps=6)
    trained(weights, optimizer, range(2))
    before = flat(weights)
    with optimizer.averaged():
        assert torch.equal(flat(weights), before)


def test_a_state_from_before_there_was_a_mean_begins_one() -> None:
    weights = parameters()
    optimizer = Optimizer(weights, 1e-2, steps=6)
    trained(weights, optimizer, range(3))
    later = copied(weights)
    restored = Optimizer(later, 1e-2, steps=6, average=True)
    restored.load_state_dict(optimizer.state_dict())
    with restored.averaged():
        assert torch.equal(flat(later), flat(weights))


def advancing(weights: list[nn.Parameter], optimizer: Optimizer, steps: range, loss: float = 1.0) -> list[list[float]]:
    """Steps as a GPU takes them, by calls that read nothing back: the rate, the loss and the norm of each."""
    figures = []
    for step in steps:
        backward(weights, step)
        rate = optimizer.begin()
        loss_, norm = optimizer.advance(torch.tensor(loss)).tolist()
        if math.isfinite(loss_) and math.isfinite(norm):
            optimizer.done()
        figures.append([rate, loss_, norm])
    return figures


def test_steps_that_read_nothing_back_are_the_same() -> None:
    plain, there = parameters(), parameters()
    optimizer, other = (Optimizer(w, 1e-2, steps=6, average=True) for w in (plain, there))
    expected = []
    for step in range(6):
        backward(plain, step)
        rate, norm = optimizer.step()
        expected.append([rate, 1.0, norm])
    for figures, wanted in zip(advancing(there, other, range(6)), expected, strict=True):
        assert figures == pytest.approx(wanted)
    torch.testing.assert_close(flat(there), flat(plain))
    with optimizer.averaged(), other.averaged():
        torch.testing.assert_close(flat(there), flat(plain))
    assert other.gradient.abs().max() == 0


@pytest.mark.parametrize(("value", "loss"), [(math.nan, 1.0), (math.inf, 1.0), (0.5, math.nan), (0.5, math.inf)])
def test_where_loss_or_norm_is_not_finite_nothing_changes_and_it_is_told(value: float, loss: float) -> None:
    weights = parameters()
    optimizer = Optimizer(weights, 1e-2, steps=6, average=True)
    advancing(weights, optimizer, range(3))
    before, mean = flat(weights).clone(), optimizer.averaged()
    state = {key: tensor.clone() for key, tensor in optimizer.state_dict()["adamw"]["state"][0].items()}
    backward(weights, 3)
    assert weights[1].grad is not None
    weights[1].grad[0] = value
    optimizer.begin()
    told = optimizer.advance(torch.tensor(loss)).tolist()
    assert not all(map(math.isfinite, told))
    assert torch.equal(flat(weights), before)
    assert all(torch.equal(tensor, state[key]) for key, tensor in optimizer.state_dict()["adamw"]["state"][0].items())
    assert optimizer.step_number == 3
    # The steps that follow are those of an optimiser that never saw it.
    spared = parameters()
    other = Optimizer(spared, 1e-2, steps=6, average=True)
    advancing(spared, other, range(5))
    advancing(weights, optimizer, range(3, 5))
    assert torch.equal(flat(weights), flat(spared))
    with mean, other.averaged():
        assert torch.equal(flat(weights), flat(spared))


def test_what_a_step_depends_on_stays_where_it_lies_and_its_state_goes_to_any_machine() -> None:
    weights = parameters()
    optimizer = Optimizer(weights, 1e-2, steps=6)
    advancing(weights, optimizer, range(1))
    group = optimizer.adamw.param_groups[0]
    rate = group["lr"]
    advancing(weights, optimizer, range(1, 3))
    assert group["lr"] is rate
    state = optimizer.state_dict()
    assert state["adamw"]["param_groups"][0]["lr"] == pytest.approx(optimizer.rate(3))
    assert state["adamw"]["param_groups"][0]["capturable"] is False
    later, elsewhere = copied(weights), copied(weights)
    for taken_up, go_on in ((later, advancing), (elsewhere, trained)):
        restored = Optimizer(taken_up, 1e-2, steps=6)
        restored.load_state_dict(copy.deepcopy(state))
        go_on(taken_up, restored, range(3, 6))
    advancing(weights, optimizer, range(3, 6))
    assert torch.equal(flat(later), flat(weights))
    torch.testing.assert_close(flat(elsewhere), flat(weights))
