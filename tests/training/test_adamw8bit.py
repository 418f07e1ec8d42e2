from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from soundlora.training.adamw8bit import BLOCK, AdamW8bit

SIZE = 5 * BLOCK - 7  # the last block is not full


def gradient(step: int, scale: Tensor) -> Tensor:
    """Noisy, of sizes that are far apart, and with a mean that the first moment has to find."""
    noise = torch.randn(SIZE, generator=torch.Generator().manual_seed(step))
    return scale * (0.3 + noise)


def scales() -> Tensor:
    return 10 ** torch.empty(SIZE).uniform_(-4, 0, generator=torch.Generator().manual_seed(1))


def trained(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, steps: range) -> Tensor:
    for step in steps:
        parameter.grad = gradient(step, scales())
        optimizer.step()
    return parameter.detach().clone()


def test_it_steps_as_torchs_adamw_does() -> None:
    ours, theirs = (nn.Parameter(torch.zeros(SIZE)) for _ in range(2))
    a = trained(AdamW8bit(ours, lr=1e-3), ours, range(400))
    b = trained(torch.optim.AdamW([theirs], lr=1e-3), theirs, range(400))
    # Whatever its gradient's size beside the largest of its block, a number goes about as far.
    for decade, off in ((1, 0.03), (2, 0.06), (3, 0.12), (4, 0.18)):
        part = (scales() > 10**-decade) & (scales() <= 10 ** (1 - decade))
        assert (a - b)[part].square().mean().sqrt() < off * b[part].square().mean().sqrt()
        assert float(a[part].mean()) == pytest.approx(float(b[part].mean()), rel=0.05)


def test_the_first_step_is_the_sign_of_the_gradient() -> None:
    parameter = nn.Parameter(torch.zeros(SIZE))
    parameter.grad = 100 * gradient(0, scales())
    AdamW8bit(parameter, lr=1e-3).step()
    torch.testing.assert_close(parameter.detach(), -1e-3 * parameter.grad.sign(), rtol=1e-3, atol=0)


def test_a_second_moment_that_moves_slowly_moves() -> None:
    """By a thousandth of what is missing each step, far less than the distance between two codes."""
    parameter = nn.Parameter(torch.zeros(BLOCK))
    optimizer = AdamW8bit(parameter, lr=0.0)
    for size, steps in ((1.0, 500), (0.5, 1500)):
        for _ in range(steps):
            # One number sets the scale, and stays.
            parameter.grad = torch.full((BLOCK,), size).index_fill(0, torch.tensor([0]), 2.0)
            optimizer.step()
    state = optimizer.state[parameter]
    second = (state["second"] / 255) ** 6 * state["second_scale"]
    expected = 1.0 * (1 - 0.999**500) * 0.999**1500 + 0.25 * (1 - 0.999**1500)
    assert float(second[0, 1:].mean()) == pytest.approx(expected, rel=0.05)


def test_moments_take_a_byte_a_number() -> None:
    parameter = nn.Parameter(torch.zeros(1000 * BLOCK))
    state = AdamW8bit(parameter, lr=1e-3).state[parameter]
    size = sum(value.nbytes for value in state.values() if isinstance(value, Tensor))
    assert size == (2 + 8 / BLOCK) * parameter.numel()


def test_a_restored_one_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = nn.Parameter(torch.zeros(SIZE))
    expected = trained(AdamW8bit(whole, lr=1e-3), whole, range(20))
    begun = nn.Parameter(torch.zeros(SIZE))
    optimizer = AdamW8bit(begun, lr=1e-3)
    trained(optimizer, begun, range(9))
    path = tmp_path / "state.pt"
    torch.save(optimizer.state_dict(), path)
    resumed = nn.Parameter(begun.detach().clone())
    again = AdamW8bit(resumed, lr=1e-3)
    again.load_state_dict(torch.load(path, weights_only=True))
    assert {again.state[resumed][name].dtype for name in ("first", "second")} == {torch.int8, torch.uint8}
    assert torch.equal(trained(again, resumed, range(9, 20)), expected)


def test_no_gradient_and_zero_gradients_change_nothing() -> None:
    parameter = nn.Parameter(torch.ones(SIZE))
    optimizer = AdamW8bit(parameter, lr=1e-3, weight_decay=0.0)
    optimizer.step()
    parameter.grad = torch.zeros(SIZE)
    optimizer.step()
    assert torch.equal(parameter, torch.ones(SIZE))
    assert torch.isfinite(optimizer.state[parameter]["second_scale"]).all()
