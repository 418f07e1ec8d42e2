from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from soundlora.model.attention import Attention, FeedForward, rms_norm, scaled_dot_product

WIDTH, CONTEXT, HEADS, HEAD_DIM = 12, 10, 3, 4


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(WIDTH, WIDTH, HEADS, HEAD_DIM, 1e-6).eval()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("queries", [1, 6])
def test_the_cpu_path_equals_torchs_attention_forward_and_backward(masked: bool, queries: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (queries, 9, 9))
    mask = torch.where(torch.rand(2, 1, queries, 9) < 0.4, torch.finfo(torch.float32).min, 0.0) if masked else None
    ours, reference = scaled_dot_product(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, reference, atol=1e-6, rtol=1e-5)
    weight = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad((r * weight).sum(), (q, k, v)) for r in (ours, reference)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_masked_key_is_not_heard() -> None:
    q, k, v = torch.randn(3, 1, 1, 4, 8)
    mask = torch.tensor([0.0, 0.0, torch.finfo(torch.float32).min, 0.0])
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[:, :, 2], changed_v[:, :, 2] = 9.0, 9.0
    assert torch.equal(scaled_dot_product(q, k, v, mask), scaled_dot_product(q, changed_k, changed_v, mask))


def test_a_gate_of_zero_logits_changes_nothing_and_a_closed_one_silences_its_head(attention: Attention) -> None:
    x = torch.randn(1, 5, WIDTH)
    with torch.no_grad():
        attention.to_gate_logits.weight.zero_()
        attention.to_gate_logits.bias.zero_()
        opened = attention(x)
        attention.to_gate_logits.bias[1] = -100.0
        closed = attention(x)
        head = slice(HEAD_DIM, 2 * HEAD_DIM)
        attention.to_gate_logits.bias.zero_()
        attention.get_parameter("to_out.0.weight")[:, head] = 0
        torch.testing.assert_close(closed, attention(x))
    assert not torch.allclose(opened, closed)


def test_bypassed_attention_is_the_gated_values(attention: Attention) -> None:
    x = torch.randn(2, 5, WIDTH)
    gate = 2 * torch.sigmoid(attention.to_gate_logits(x)).repeat_interleave(HEAD_DIM, dim=-1)
    expected = attention.to_out[0](attention.to_v(x) * gate)
    torch.testing.assert_close(attention(x, bypass=True), expected)


def test_bypass_by_sample_mixes_the_two(attention: Attention) -> None:
    x = torch.randn(2, 5, WIDTH)
    mixed = attention(x, bypass=torch.tensor([True, False]))
    torch.testing.assert_close(mixed[0], attention(x, bypass=True)[0])
    torch.testing.assert_close(mixed[1], attention(x)[1])


def test_queries_and_keys_are_normalised_over_all_heads_together(attention: Attention) -> None:
    x = torch.randn(1, 5, WIDTH)
    before = attention(x)
    with torch.no_grad():
        attention.to_q.weight.mul_(10)
        attention.to_q.bias.mul_(10)
        torch.testing.assert_close(attention(x), before, atol=1e-5, rtol=1e-5)
        attention.to_q.weight[:HEAD_DIM].mul_(10)
        assert not torch.allclose(attention(x), before, atol=1e-3)


def test_cross_attention_takes_keys_and_values_from_the_context() -> None:
    attention = Attention(WIDTH, CONTEXT, HEADS, HEAD_DIM, 1e-6)
    assert attention(torch.randn(2, 5, WIDTH), torch.randn(2, 7, CONTEXT)).shape == (2, 5, WIDTH)


def test_rms_norm_has_unit_mean_square() -> None:
    x = 50 * torch.randn(4, 64)
    torch.testing.assert_close(rms_norm(x, 1e-6).square().mean(-1), torch.ones(4))
    assert torch.equal(rms_norm(torch.zeros(1, 8), 1e-6), torch.zeros(1, 8))


def test_the_feed_forward_uses_the_tanh_form_of_gelu() -> None:
    layer = FeedForward(WIDTH)
    x = torch.randn(3, WIDTH)
    expected = layer.net[2](F.gelu(layer.get_submodule("net.0.proj")(x), approximate="tanh"))
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_the_feed_forward_carries_biases_where_the_config_says_so(bias: bool) -> None:
    names = {"net.0.proj.weight", "net.2.weight"} | ({"net.0.proj.bias", "net.2.bias"} if bias else set())
    assert set(FeedForward(WIDTH, bias).state_dict()) == names


@pytest.mark.parametrize("weighted", [False, True])
def test_the_norms_gradients_are_torchs(weighted: bool) -> None:
    x = torch.randn(2, 5, WIDTH, dtype=torch.float32, requires_grad=True)
    weight = torch.rand(WIDTH, requires_grad=True) if weighted else None
    inputs = (x, weight) if weight is not None else (x,)
    scale = torch.randn(2, 5, WIDTH)
    outputs = rms_norm(x, 1e-6, weight), F.rms_norm(x, (WIDTH,), weight, 1e-6)
    torch.testing.assert_close(*outputs)
    for a, b in zip(*(torch.autograd.grad((y * scale).sum(), inputs) for y in outputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
