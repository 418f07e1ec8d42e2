"""The frozen base in fewer bytes than it is computed in: int8 and fp8 for small GPUs, bf16 for CPUs.

torchao makes the weights of eight bits; the products are ours. Its own layers would keep every weight's wide copy for
the backward pass, and the memory saved would be gone. Here a weight is widened for a product and dropped, twice a step.

The checkpoints hold bf16, so it loses nothing of a weight. A CPU that multiplies in bf16 takes the products as a GPU
does: sums are fp32, inputs and results are rounded to bf16. Any other CPU computes the very numbers of a base in fp32,
in half the memory.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.model.transformer import AudioTransformer

QUANTIZATIONS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn, "bf16": torch.bfloat16}
"""Each by the type that holds its numbers."""


def is_quantized(name: str) -> bool:
    """Say whether the parameter `name` of the transformer is quantised. The blocks' matrices are nearly all of it."""
    return name.startswith("transformer_blocks.") and name.endswith(".weight") and not _stays(name)


def _stays(name: str) -> bool:
    return "_norm." in name or "to_gate_logits" in name  # they are too small to be worth it


class EightBits(NamedTuple):
    """The weights of several layers one above the other, as a weight in eight bits has its own."""

    qdata: Tensor  # (outputs, inputs), int8 or e4m3
    scale: Tensor  # (outputs, 1)


class QuantizedLinear(nn.Linear):
    """x Wᵀ + bias with a frozen, narrow W (outputs, inputs). Only x gets a gradient."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Product.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return linear_backward(gradient, weight), None, None


def linear(x: Tensor, weight: Any, bias: Tensor | None) -> Tensor:
    """Return x Wᵀ + bias (..., outputs) in x's type, for x (..., inputs) and a narrow or wide W (outputs, inputs).

    weight: a tensor, or `EightBits`.
    """
    if in_eight_bits(weight):
        values, scale = _parts(weight, x.dtype)
        out = (x @ values.T).mul_(scale.T)  # scaling the result is much less work than scaling the weight
    elif _multiplied_narrow(x, weight):
        out = (x.to(weight.dtype) @ weight.T).to(x.dtype)
    else:
        return nn.functional.linear(x, weight.to(x.dtype), bias)
    return out if bias is None else out.add_(bias)


def linear_backward(gradient: Tensor, weight: Any) -> Tensor:
    """Return the gradient of `linear` by x, (..., inputs), from that of its result, (..., outputs)."""
    if in_eight_bits(weight):
        values, scale = _parts(weight, gradient.dtype)
        return (gradient * scale.T).to(gradient.dtype) @ values
    if _multiplied_narrow(gradient, weight):
        narrow: Tensor = gradient.to(weight.dtype) @ weight
        return narrow.to(gradient.dtype)
    wide: Tensor = gradient @ weight.to(gradient.dtype)
    return wide


def widened(weight: Tensor) -> Tensor:
    """Return a weight (outputs, inputs) in fp32, whatever it is stored in."""
    if not in_eight_bits(weight):
        return weight.float()
    values, scale = _parts(weight, torch.float32)
    return values * scale.float()


def in_eight_bits(weight: object) -> bool:
    """Say whether a weight has values in eight bits, and a scale a row."""
    return hasattr(weight, "qdata")


def side_by_side(weights: Sequence[Any]) -> EightBits:
    """Move the values and scales of weights in eight bits into one tensor each, and return these."""
    values = torch.cat([weight.qdata.view(torch.uint8) for weight in weights]).view(weights[0].qdata.dtype)
    scales = torch.cat([weight.scale for weight in weights])
    begin = 0
    for weight in weights:
        rows = slice(begin, begin := begin + len(weight.qdata))
        weight.qdata, weight.scale = values[rows], scales[rows]
    return EightBits(values, scales)


def _parts(weight: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the values (outputs, inputs) of a weight in eight bits, and its scale (outputs, 1).

    Every float type that is computed in holds the values exactly.
    """
    return weight.qdata.to(dtype), weight.scale


def _multiplied_narrow(x: Tensor, weight: Tensor) -> bool:
    wide = x.dtype == torch.float32 and weight.dtype == torch.bfloat16 and not in_eight_bits(weight)
    return wide and x.device.type == "cpu" and multiplies_in_bf16()


@cache
def multiplies_in_bf16() -> bool:
    """Say whether this processor multiplies in bf16. One that has to convert is slower by far."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def check_quantization(kind: str) -> None:
    """Raise InputError when `kind` is none of `QUANTIZATIONS`, or torchao is missing where it is needed."""
    if kind not in QUANTIZATIONS:
        raise InputError(f"quantize is {kind!r}, but it must be one of {', '.join(QUANTIZATIONS)}.")
    if kind != "bf16" and importlib.util.find_spec("torchao") is None:
        raise InputError(
            "A base in int8 or fp8 needs torchao, which is not installed; run pip install 'soundlora[quantize]'."
        )


def quantize(model: AudioTransformer, kind: str) -> AudioTransformer:
    """Put the blocks' matrices into bf16, or int8 or fp8 (e4m3) with a scale a row, in place.

    Raises as `check_quantization` does.
    """
    check_quantization(kind)
    narrow = _to_bf16 if kind == "bf16" else _to_eight_bits(kind)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and is_quantized(f"{name}.weight"):
            narrow(module)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, QuantizedLinear(module))
    return model.requires_grad_(False)


def _to_bf16(linear: nn.Linear) -> None:
    linear.weight.data = linear.weight.data.bfloat16()


def _to_eight_bits(kind: str) -> Callable[[nn.Linear], None]:
    # torchao is an extra, and slow to import.
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    return lambda linear: quantize_(linear, config)
