"""What the tests of the kernels compute: parts of joints, with numbers of every kind, and calls of the kernels.

Triton's interpreter stands in for a GPU where none is named.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from soundlora.lora.joint import Both, Parts
from soundlora.model.quantize import EightBits
from soundlora.training.kernels.launch import Fused
from soundlora.training.kernels.tiles import Choice, Tiles

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
# Few programs, since the interpreter's time is theirs, and sizes that divide nothing.
TABLE = (Tiles(16, 64, 64, 4, 2), Tiles(128, 128, 128, 8, 2))
KERNELS = ("outputs", "input_gradients", "on_top")


def made(units: int = 1, tiles: tuple[Tiles, ...] = TABLE, **settings: Any) -> Fused:
    return Fused(DEVICE, units, Choice(tiles, **settings))


def parts_of(
    inputs: int = 40,
    outputs: int = 24,
    layers: int = 1,
    rank: int = 8,
    kind: str = "fp32",
    biased: bool = True,
    beside: int = 0,
) -> Parts:
    """outputs: of each layer. beside: of what has no adapter.

    The numbers are such that each part of a result is as large as the others.
    """
    dtype = torch.float32 if kind.startswith("fp32") else torch.bfloat16
    ranks, adapted = -(-layers * rank // 8) * 8, layers * outputs
    matrix = torch.zeros(adapted + beside + ranks, inputs + ranks, device=DEVICE)
    a, b = matrix[-ranks:, :inputs], matrix[:adapted, inputs:]
    a[: layers * rank] = torch.randn(layers * rank, inputs) / inputs**0.5
    for layer in range(layers):
        rows, columns = slice(layer * outputs, (layer + 1) * outputs), slice(layer * rank, (layer + 1) * rank)
        b[rows, columns] = torch.randn(outputs, rank) / rank**0.5
    weight = torch.randn(adapted + beside, inputs, device=DEVICE) / inputs**0.5
    matrix[: adapted + beside, :inputs] = weight
    matrix = matrix.to(dtype)
    a, b = matrix[-ranks:, :inputs], matrix[:adapted, inputs:]
    bias = (torch.randn(adapted + beside, device=DEVICE) * biased).to(dtype)
    stored: Tensor | EightBits = matrix[: adapted + beside, :inputs]
    if "int8" in kind or "fp8" in kind:
        scale = torch.rand(adapted, 1, device=DEVICE) + 0.5
        numbers = weight / scale
        if "int8" in kind:
            stored = EightBits((numbers * 30).round().clamp(-128, 127).to(torch.int8), scale / 30)
        else:
            stored = EightBits(numbers.to(torch.float8_e4m3fn), scale)
    return Parts(stored, a, b, bias, layers, rank)


def given_to(kernel: str, parts: Parts, rows: int) -> list[Tensor]:
    sizes = parts.a.shape[1], len(parts.bias)
    x, out = (torch.randn(rows, size, device=DEVICE, dtype=parts.a.dtype) for size in sizes)
    return {"outputs": [x], "input_gradients": [out], "on_top": [x, out]}[kernel]


def never() -> Both:
    raise AssertionError("the plain products were taken")
