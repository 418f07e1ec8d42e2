"""A linear layer with a low-rank update beside it (LoRA: Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.model.quantize import linear, linear_backward


@dataclass(eq=False)
class Update:
    """scale · B A, which is added to a frozen matrix (outputs, inputs). It stands here alone, for all that use it."""

    a: nn.Parameter  # (rank, inputs), fp32
    b: nn.Parameter  # (outputs, rank), fp32
    scale: float


class LoRALinear(nn.Module):
    """y = base(x) + scale · B(A(x)) for x (..., inputs) and y (..., outputs). The base is frozen; A and B are fp32.

    `base` may itself be a LoRALinear: several adapters then add up.
    """

    def __init__(self, base: nn.Module, lora_a: Tensor, lora_b: Tensor, scale: float) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(lora_a)  # (rank, inputs)
        self.lora_B = nn.Parameter(lora_b)  # (outputs, rank)
        self.update = Update(self.lora_A, self.lora_B, scale)
        self.joint: Callable[[Tensor], Tensor] | None = None  # in training, see `Adapter.join`

    @property
    def scale(self) -> float:
        return self.update.scale

    @scale.setter
    def scale(self, value: float) -> None:
        self.update.scale = value

    @property
    def idle(self) -> bool:
        """Whether it adds nothing: its layer is then as it would be without it, to the bit. Training adds always."""
        return self.scale == 0 and not torch.is_grad_enabled()

    def forward(self, x: Tensor) -> Tensor:
        if self.joint is not None and torch.is_grad_enabled():
            return self.joint(x)
        if self.idle:
            result: Tensor = self.base(x)
            return result
        base = self.base
        while isinstance(base, LoRALinear) and base.idle:
            base = base.base
        a = self.lora_A.to(x.dtype)  # (rank, inputs)
        b = (self.lora_B if self.scale == 1 else self.lora_B * self.scale).to(x.dtype)  # (outputs, rank)
        if isinstance(base, nn.Linear) and base.bias is not None:
            out: Tensor = _AdaptedLinear.apply(x, base.weight, base.bias, a, b)  # type: ignore[no-untyped-call]
            return out
        result = base(x) + F.linear(F.linear(x, a), b)  # (..., inputs) → (..., rank) → (..., outputs)
        return result

    def on_top(self, x: Tensor, frozen: Tensor) -> Tensor:
        """Return frozen + scale · B(A(x)) for what the layers below all adapters make of x, (..., outputs)."""
        if isinstance(self.base, LoRALinear):
            frozen = self.base.on_top(x, frozen)
        if self.idle:
            return frozen
        a = self.lora_A.to(x.dtype)  # (rank, inputs)
        b = (self.lora_B if self.scale == 1 else self.lora_B * self.scale).to(x.dtype)  # (outputs, rank)
        low = x.reshape(-1, x.shape[-1]) @ a.T  # (N, rank)
        return torch.addmm(frozen.reshape(-1, frozen.shape[-1]), low, b.T).view(frozen.shape)


class _AdaptedLinear(torch.autograd.Function):
    """x Wᵀ + bias + (x Aᵀ) Bᵀ with frozen W and bias, in three products forward and five backward.

    Autograd would take twice as many calls, and a small model's step is made of calls. A quantised W is kept as it is
    for the backward pass, not as it is widened for a product. In shapes N is the rows of x: clips times tokens.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (N, inputs)
        low = flat @ a.T  # (N, rank)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.shape = x.shape
        return linear(flat, weight, bias).addmm_(low, b.T).view(*x.shape[:-1], -1)  # (N, outputs) → (..., outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor]:
        flat, weight, a, b, low = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1])  # (N, outputs)
        g_low = g @ b  # (N, rank)
        g_x = None
        if ctx.needs_input_grad[0]:
            g_x = linear_backward(g, weight).addmm_(g_low, a).view(ctx.shape)  # (N, inputs) → (..., inputs)
        return g_x, None, None, g_low.T @ flat, g.T @ low  # A's is (rank, inputs), B's (outputs, rank)
