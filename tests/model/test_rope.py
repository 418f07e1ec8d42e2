from __future__ import annotations

import math

import pytest
import torch

from soundlora.model.rope import rope_table, rotate

HEADS, HEAD_DIM, THETA = 4, 8, 10000.0
PAIRS = HEADS * HEAD_DIM // 2


def frequencies() -> torch.Tensor:
    exponents = torch.arange(PAIRS, dtype=torch.float64) / (PAIRS - 1)
    return THETA**exponents * math.pi / 2


@pytest.mark.parametrize("seconds", [0.0, 0.005, 3.21, 20.0])
def test_heads_share_out_the_frequencies_from_low_to_high(seconds: float) -> None:
    cos, sin = rope_table(torch.tensor([[seconds]]), 20.0, THETA, HEADS, HEAD_DIM)
    angles = ((seconds / 20 * 2 - 1) * frequencies()).reshape(HEADS, 1, HEAD_DIM // 2)
    # Angles of 15,708 rad are rounded to fp32, by design.
    torch.testing.assert_close(cos[0].double(), angles.cos(), atol=2e-3, rtol=0)
    torch.testing.assert_close(sin[0].double(), angles.sin(), atol=2e-3, rtol=0)


def test_no_two_heads_turn_alike() -> None:
    cos, _ = rope_table(torch.tensor([[1.0, 2.0]]), 20.0, THETA, HEADS, HEAD_DIM)
    for a in range(HEADS):
        for b in range(a):
            assert not torch.allclose(cos[:, a], cos[:, b], atol=1e-2)


def test_the_middle_of_the_range_is_not_turned() -> None:
    cos, sin = rope_table(torch.tensor([[10.0]]), 20.0, THETA, HEADS, HEAD_DIM)
    assert torch.equal(cos, torch.ones_like(cos))
    assert torch.equal(sin, torch.zeros_like(sin))


def test_positions_beyond_the_range_go_on() -> None:
    inside, beyond = (rope_table(torch.tensor([[t]]), 20.0, 1.0, 1, 2)[1] for t in (5.0, 25.0))
    assert inside.item() == pytest.approx(math.sin(-0.5 * math.pi / 2), abs=1e-6)
    assert beyond.item() == pytest.approx(math.sin(1.5 * math.pi / 2), abs=1e-6)


def test_tables_are_fp32_per_head_and_token() -> None:
    cos, sin = rope_table(torch.rand(2, 5), 20.0, THETA, HEADS, HEAD_DIM)
    assert cos.shape == sin.shape == (2, HEADS, 5, HEAD_DIM // 2)
    assert cos.dtype == torch.float32


def test_rotation_keeps_lengths_and_pairs_the_halves() -> None:
    x = torch.randn(1, HEADS, 3, HEAD_DIM)
    rope = rope_table(torch.rand(1, 3) * 20, 20.0, THETA, HEADS, HEAD_DIM)
    turned = rotate(x, rope)

    def pair_lengths(t: torch.Tensor) -> torch.Tensor:
        lengths: torch.Tensor = t.unflatten(-1, (2, -1)).square().sum(-2)
        return lengths

    torch.testing.assert_close(pair_lengths(turned), pair_lengths(x))
    quarter = (torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert rotate(torch.tensor([[[[1.0, 0.0]]]]), quarter).tolist() == [[[[0.0, 1.0]]]]


def test_only_the_distance_of_two_positions_counts() -> None:
    q, k = torch.randn(2, 1, HEADS, 1, HEAD_DIM)

    def product(at: float, distance: float) -> torch.Tensor:
        tables = [rope_table(torch.tensor([[t]]), 20.0, 10.0, HEADS, HEAD_DIM) for t in (at, at + distance)]
        return (rotate(q, tables[0]) * rotate(k, tables[1])).sum(-1)

    torch.testing.assert_close(product(1.0, 2.5), product(11.0, 2.5), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(product(1.0, 2.5), product(1.0, 3.0), atol=1e-3)


def test_the_gradient_turns_back() -> None:
    rope = rope_table(torch.rand(1, 3) * 20, 20.0, THETA, HEADS, HEAD_DIM)
    x = torch.randn(2, HEADS, 3, HEAD_DIM, requires_grad=True)
    weight = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((rotate(x, rope) * weight).sum(), x)
    torch.testing.assert_close(rotate(gradient, rope), weight)


def test_fp32_tables_turn_bf16_in_fp32() -> None:
    rope = rope_table(torch.rand(1, 3) * 20, 20.0, THETA, HEADS, HEAD_DIM)
    x = torch.randn(1, HEADS, 3, HEAD_DIM, dtype=torch.bfloat16)
    assert torch.equal(rotate(x, rope), rotate(x.float(), rope))
