from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from parity.cases import checkpoint, manifest
from parity.runners import fresh_transformer
from support import CPU, TINY_CHECKPOINT, TINY_ENCODER, gradient_of
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.model.latents import positions
from soundlora.model.quantize import QuantizedLinear, is_quantized, quantize, widened
from soundlora.model.transformer import AudioTransformer
from soundlora.weights.base import open_base

# The largest relative errors of the velocity on the reference checkpoint, as docs/benchmarks.md has them.
ERRORS = {"int8": 0.009, "fp8": 0.029}
CASES = ("tr_basic", "tr_len1", "tr_len126_sigma1", "tr_small_sigma", "tr_long_510", "tr_per_token_timesteps")


def velocity(model: AudioTransformer, x: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    c = model.config
    noise = torch.randn(1, 7, c.in_channels, generator=generator)
    context = torch.randn(1, 5, c.context_dim, generator=generator)
    sigma = torch.tensor([0.6])
    rope = model.rope(positions(7, checkpoint().config.audio))
    result: Tensor = model(noise if x is None else x, sigma[:, None], sigma, context, rope)
    return result


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", ERRORS)
def test_the_references_velocity_changes_by_little_but_not_by_nothing(kind: str) -> None:
    model = quantize(fresh_transformer(), kind)
    off = []
    for case in map(manifest().__getitem__, CASES):
        x = case.inputs
        with torch.no_grad():
            rope = model.rope(x["positions"])
            out = model(x["latent"], x.get("timesteps", x["sigma"][:, None]), x["sigma"], x["context"], rope)
        off.append(error(out, case.expected["velocity"]))
    assert min(off) > 1e-3
    assert max(off) < ERRORS[kind]


def test_every_matrix_of_the_blocks_is_a_byte_a_number_and_nothing_else_is() -> None:
    model = quantize(fresh_transformer(), "int8")
    quantized = {name for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}
    assert len(quantized) == 10 * model.config.layers
    assert not any("gate" in name or "adaln" in name for name in quantized)
    for name in quantized:
        weight: Any = model.get_parameter(f"{name}.weight")
        assert (weight.qdata.dtype, weight.requires_grad) == (torch.int8, False)


@pytest.mark.parametrize("targets", ["all", "attention"])
def test_the_adapters_gradients_are_those_of_the_widened_weights(targets: str) -> None:
    """Also where a quantised layer without an adapter lies between them."""
    gradients = []
    for widen in (False, True):
        model = quantize(fresh_transformer(), "int8")
        if widen:
            for name, module in list(model.named_modules()):
                if isinstance(module, QuantizedLinear):
                    plain = torch.nn.Linear(module.in_features, module.out_features)
                    plain.weight.data, plain.bias.data = module.weight.dequantize(), module.bias.data
                    parent, _, child = name.rpartition(".")
                    setattr(model.get_submodule(parent), child, plain.requires_grad_(False))
        adapter = Adapter.create(model, 4, targets=targets)
        with torch.no_grad():
            for number, layer in enumerate(adapter.layers.values()):
                layer.lora_B.normal_(std=0.05, generator=torch.Generator().manual_seed(number))
        velocity(model).square().sum().backward()
        assert all(p.dtype == torch.float32 for p in adapter.parameters())
        gradients.append([p.grad for p in adapter.parameters()])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("targets", ["all", "attention"])
def test_no_widened_weight_is_kept_for_the_backward_pass(targets: str) -> None:
    model = quantize(fresh_transformer(), "int8")
    Adapter.create(model, 4, targets=targets)
    widened = [module.weight.dequantize() for module in model.modules() if isinstance(module, QuantizedLinear)]
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        if not hasattr(tensor, "qdata") and tensor.ndim == 2:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        velocity(model)
    assert kept
    assert not any(torch.equal(tensor, w) or torch.equal(tensor.mT, w) for tensor in kept for w in widened)


def test_without_torchao_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'soundlora\[quantize\]'"):
        quantize(fresh_transformer(), "int8")


def test_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="quantize is 'int4', but it must be one of int8, fp8, bf16"):
        quantize(fresh_transformer(), "int4")


def test_a_base_in_bf16_computes_the_very_numbers_of_one_in_fp32_where_products_are_wide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soundlora.model.quantize.multiplies_in_bf16", lambda: False)
    base = open_base(str(TINY_CHECKPOINT), TINY_ENCODER)
    wide, narrow = base.transformer(CPU), base.transformer(CPU, "bf16")
    types = {parameter.dtype for name, parameter in narrow.named_parameters() if is_quantized(name)}
    assert types == {torch.bfloat16}
    gradients = []
    for model in (wide, narrow):
        adapter = Adapter.create(model, 4)
        out = velocity(model)
        assert out.dtype == torch.float32
        out.square().sum().backward()
        gradients.append([out.detach(), *(p.grad for p in adapter.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_products_in_bf16_stay_within_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor: one that can't multiply in bf16 converts, slowly, to the same numbers."""
    base = open_base(str(TINY_CHECKPOINT), TINY_ENCODER)
    results = {}
    for narrow in (False, True):
        monkeypatch.setattr("soundlora.model.quantize.multiplies_in_bf16", lambda narrow=narrow: narrow)
        model = base.transformer(CPU, "bf16")
        adapter = Adapter.create(model, 4)
        with torch.no_grad():
            for layer in adapter.layers.values():
                layer.lora_B.fill_(0.01)
        out = velocity(model)
        out.square().sum().backward()
        results[narrow] = [out.detach(), *map(gradient_of, adapter.parameters())]
    for wide, rounded in zip(results[False], results[True], strict=True):
        error = float((rounded - wide).norm() / wide.norm())
        assert 1e-5 < error < 0.05


@pytest.mark.parametrize("kind", ["int8", "fp8", "bf16"])
def test_a_stored_weight_can_be_widened_again(kind: str) -> None:
    model = fresh_transformer()
    name = "transformer_blocks.0.audio_attn1.to_q"
    before = model.get_parameter(f"{name}.weight").detach().clone()
    after = widened(quantize(model, kind).get_parameter(f"{name}.weight"))
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, before, rtol=0.1, atol=0.02 * float(before.abs().max()))
