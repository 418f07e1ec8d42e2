from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from parity.runners25 import unmodulated_transformer
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.lora.pair import Pair
from soundlora.model.latents import positions
from soundlora.model.quantize import quantize
from soundlora.model.transformer import AudioTransformer
from soundlora.training.optimizer import Optimizer

CONFIG = checkpoint().config
TOKENS = 6


def adapter(
    targets: str = "all",
    alpha: float | None = None,
    quantized: bool = False,
    model: AudioTransformer | None = None,
) -> Adapter:
    model = model or fresh_transformer()
    if quantized:
        quantize(model, "bf16")
    made = Adapter.create(model, 4, targets=targets, alpha=alpha, seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in made.layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
    return made


def velocity(model: AudioTransformer, projected: bool = False, whole: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    c = CONFIG.transformer
    x = torch.randn(2, TOKENS, c.in_channels, generator=generator)
    context = torch.randn(2, CONFIG.text.context_length, c.context_dim, generator=generator)
    sigma = torch.tensor([0.3, 0.8])
    rope = model.rope(positions(TOKENS, CONFIG.audio))
    known = model.project_text(context, whole) if projected else None
    result: Tensor = model(x, sigma[:, None], sigma, context, rope, projected=known, whole=whole)
    return result


def trained(adapter: Adapter, projected: bool = False) -> tuple[Tensor, list[Tensor]]:
    """The velocity, and the gradients of A and B."""
    adapter.refresh()
    out = velocity(adapter.model, projected)
    out.square().sum().backward()
    adapter.settle()
    return out.detach(), [p.grad for p in adapter.parameters() if p.grad is not None]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize(
    ("targets", "alpha", "joints"), [("all", None, 7), ("attention", 2.0, 5), ("self-ff", None, 4)]
)
def test_joined_layers_do_the_same(
    targets: str, alpha: float | None, joints: int, gathers: bool, checkpointing: bool
) -> None:
    plain, joined = adapter(targets, alpha), adapter(targets, alpha)
    joined.join(gathers)
    assert len(joined.joints) == joints
    joined.model.checkpointing = checkpointing
    (expected, gradients), (out, others) = trained(plain), trained(joined)
    torch.testing.assert_close(out, expected)
    assert len(gradients) == len(others) == len(plain.parameters())
    for a, b in zip(gradients, others, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(b, a, atol=1e-5 * float(a.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("joined", ["not", "gathering", "block by block"])
@pytest.mark.parametrize(("targets", "alpha"), [("all", None), ("attention", 2.0), ("self-ff", None)])
def test_an_adapters_share_comes_on_top_of_known_keys_and_values(
    targets: str, alpha: float | None, joined: str, checkpointing: bool
) -> None:
    """Forwards and backwards, to rounding."""
    plain, known = (adapter(targets, alpha, model=unmodulated_transformer()) for _ in range(2))
    if joined != "not":
        known.join(gathers=joined == "gathering")
    known.model.checkpointing = checkpointing
    (expected, gradients), (out, others) = trained(plain), trained(known, projected=True)
    torch.testing.assert_close(out, expected)
    assert len(gradients) == len(others) == len(plain.parameters())
    for a, b in zip(gradients, others, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(b, a, atol=1e-5 * float(a.abs().max()), rtol=1e-4)


def test_several_adapters_come_on_top_of_one_another() -> None:
    first = adapter(model=unmodulated_transformer())
    Adapter.attach(first.model, {name: (layer.lora_A, layer.lora_B) for name, layer in first.layers.items()}, 0.5)
    with torch.no_grad():
        expected, known = velocity(first.model), velocity(first.model, projected=True)
        whole = velocity(first.model, projected=True, whole=True)
    torch.testing.assert_close(known, expected)
    torch.testing.assert_close(whole, expected)


@pytest.mark.parametrize("gathers", [False, True])
def test_a_second_pass_adds_to_the_gradients(gathers: bool) -> None:
    joined = adapter()
    joined.join(gathers)
    once = [gradient.clone() for gradient in trained(joined)[1]]
    for a, b in zip(once, trained(joined)[1], strict=True):
        torch.testing.assert_close(b, 2 * a, atol=1e-5 * float(a.abs().max()), rtol=1e-5)


@pytest.mark.parametrize("laid", ["behind one another", "behind one another, unevenly", "apart"])
def test_gradients_of_all_blocks_get_to_their_places(laid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two products a layer for all blocks; where the places are even, they are added there by the product itself."""
    plain, joined = adapter(), adapter()
    if laid == "behind one another":
        Optimizer(joined.parameters(), 1e-3, steps=1)
    elif laid == "behind one another, unevenly":
        parameters = joined.parameters()
        Optimizer([*parameters[:5], torch.nn.Parameter(torch.zeros(3)), *parameters[5:]], 1e-3, steps=1)
    joined.join()
    expected = trained(plain)[1]
    calls: list[tuple[int, ...]] = []

    def counting(total: Tensor, *rest: Any, **how: Any) -> Tensor:
        calls.append(tuple(total.shape))
        return baddbmm(total, *rest, **how)

    baddbmm = torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", counting)
    for a, b in zip(expected, trained(joined)[1], strict=True):
        torch.testing.assert_close(b, a, atol=1e-5 * float(a.abs().max()), rtol=1e-4)
    assert len([shape for shape in calls if shape[0] == CONFIG.transformer.layers]) == 20
    assert all(joints.kept_bytes == 0 for joints in joined.joints)


def test_changes_count_after_refresh() -> None:
    joined, plain = adapter(), adapter()
    joined.join()
    before, _ = trained(joined)
    for changed in (joined, plain):
        for layer in changed.layers.values():
            layer.lora_A.data.mul_(1.5)
            layer.lora_B.data.mul_(-2)
    assert torch.equal(velocity(joined.model).detach(), before)
    torch.testing.assert_close(trained(joined)[0], trained(plain)[0])


def test_without_gradients_nothing_is_to_be_refreshed() -> None:
    joined, plain = adapter(), adapter()
    joined.join()
    with torch.no_grad():
        torch.testing.assert_close(velocity(joined.model), velocity(plain.model))


def test_quantised_layers_stay_by_themselves() -> None:
    quantized = adapter(quantized=True)
    quantized.join()
    assert quantized.joints == []
    trained(quantized)


def test_layers_whose_rank_or_scale_differs_by_block_stay_by_themselves() -> None:
    made = adapter()
    pairs: dict[str, Pair] = {name: (layer.lora_A, layer.lora_B) for name, layer in made.layers.items()}
    a, b = pairs["transformer_blocks.1.audio_attn1.to_k"]
    pairs["transformer_blocks.1.audio_attn1.to_k"] = a[:2], b[:, :2]
    made.detach()
    uneven = Adapter.attach(made.model, pairs)
    uneven.layers["transformer_blocks.0.audio_ff.net.2"].scale = 0.5
    uneven.join()
    assert len(uneven.joints) == 5
    trained(uneven)


def test_weights_are_moved_and_not_kept_twice() -> None:
    joined = adapter()
    weights = {name: layer.base.get_parameter("weight").clone() for name, layer in joined.layers.items()}
    joined.join()
    held = {joints.matrices.untyped_storage().data_ptr() for joints in joined.joints}
    for name, layer in joined.layers.items():
        weight = layer.base.get_parameter("weight")
        assert torch.equal(weight, weights[name])
        assert weight.untyped_storage().data_ptr() in held


def test_detached_the_base_is_what_it_was() -> None:
    with torch.no_grad():
        expected = velocity(fresh_transformer())
    joined = adapter()
    joined.join()
    joined.detach()
    torch.testing.assert_close(velocity(joined.model).detach(), expected)
    again = Adapter.create(joined.model, 2)
    again.join()
    again.refresh()
    torch.testing.assert_close(velocity(joined.model).detach(), expected)


def test_a_joined_adapter_is_gone_with_its_last_name() -> None:
    """Without waiting for the collector of circles: on a GPU the next run needs its memory."""
    joined = adapter()
    joined.join()
    trained(joined)
    matrices = [weakref.ref(joints.matrices) for joints in joined.joints]
    parameters = [weakref.ref(parameter) for parameter in joined.parameters()]
    gc.disable()
    try:
        del joined
        assert {reference() for reference in matrices + parameters} == {None}
    finally:
        gc.enable()
