"""Rotary position embedding, split form, with a frequency band of its own for every head."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]  # cos and sin, each (B, H, T, head_dim / 2)


def rope_table(position: Tensor, max_position: float, theta: float, heads: int, head_dim: int) -> Rope:
    """cos and sin for positions (B, T), fp32, in the unit of `max_position` → two (B, heads, T, head_dim/2) tensors.

    The width/2 frequencies theta^(j/(width/2 − 1))·π/2 are built in float64 and then rounded to fp32; their product
    with the position is taken in fp32. Both roundings are part of the reference result. Head h takes the frequencies
    h·head_dim/2 … (h+1)·head_dim/2 − 1. Positions beyond `max_position` extrapolate.
    """
    half = heads * head_dim // 2
    exponents = np.linspace(0.0, 1.0, half, dtype=np.float64)
    frequencies = torch.from_numpy(np.power(theta, exponents) * (math.pi / 2)).to(position.device, torch.float32)
    fraction = position.float() / max_position
    angles = (fraction * 2 - 1).unsqueeze(-1) * frequencies  # (B, T, width/2)
    angles = angles.unflatten(-1, (heads, head_dim // 2)).transpose(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotate (B, H, T, head_dim): the first half of the channels pairs with the second half.

    The result has the wider type of x and the tables.
    """
    cos, sin = rope
    x = x.to(torch.promote_types(x.dtype, cos.dtype))
    if x.device.type != "cpu":
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    result: Tensor = _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return result


class _Rotation(torch.autograd.Function):
    """A rotation's gradient is the rotation back: four products each way, where autograd would record eleven.

    On CPUs: a compiler makes one call of the plain form.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(gradient, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    out = torch.empty_like(x)
    new_first, new_second = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=new_first).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=new_second).addcmul_(first, sin, value=direction)
    return out
