"""LTX's rotary position embedding (Su et al. 2021, arXiv:2104.09864): split, with a band of its own for every head.

In shapes B is samples, H heads, T tokens.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]  # cos and sin, each (B, H, T, head_dim / 2)


def rope_table(position: Tensor, max_position: float, theta: float, heads: int, head_dim: int) -> Rope:
    """Return cos and sin (B, heads, T, head_dim/2), fp32, of positions (B, T) in the unit of `max_position`.

    The width/2 frequencies theta^(j/(width/2 − 1))·π/2 are built in float64 and then rounded to fp32; their product
    with the position is taken in fp32. Both roundings are part of the reference's result. Head h takes the frequencies
    h·head_dim/2 … (h+1)·head_dim/2 − 1. Positions beyond `max_position` extrapolate.
    """
    half = heads * head_dim // 2
    exponents = np.linspace(0.0, 1.0, half, dtype=np.float64)
    # (width/2,)
    frequencies = torch.from_numpy(np.power(theta, exponents) * (math.pi / 2)).float().to(position.device)
    fraction = position.float() / max_position  # (B, T)
    angles = (fraction * 2 - 1).unsqueeze(-1) * frequencies  # (B, T, width/2)
    angles = angles.unflatten(-1, (heads, head_dim // 2)).transpose(1, 2)  # (B, H, T, head_dim/2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotate x (B, H, T, head_dim), in which the first half of the channels pairs with the second.

    rope: cos and sin, (B or 1, H, T, head_dim/2) each. The result has x's shape, and the wider type of x and tables.
    """
    cos, sin = rope
    x = x.to(torch.promote_types(x.dtype, cos.dtype))
    if torch.compiler.is_compiling():
        first, second = x.chunk(2, dim=-1)  # (B, H, T, head_dim/2)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    result: Tensor = _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return result


class _Rotation(torch.autograd.Function):
    """The rotation where nothing is compiled. Its gradient is the rotation back: four calls each way.

    Of the plain form autograd records eighteen, and a compiler makes one each way.
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
    first, second = x.chunk(2, dim=-1)  # (B, H, T, head_dim/2)
    out = torch.empty_like(x)  # (B, H, T, head_dim)
    new_first, new_second = out.chunk(2, dim=-1)  # views of out, (B, H, T, head_dim/2)
    torch.mul(first, cos, out=new_first).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=new_second).addcmul_(first, sin, value=direction)
    return out
