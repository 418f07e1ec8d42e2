"""A linear layer with an update beside it, such as a low-rank one (LoRA: Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.lora.pair import energy
from soundlora.model.quantize import linear, linear_backward


@dataclass(eq=False)
class Update:
    """scale · B A, which is added to a frozen matrix (outputs, inputs). It stands here alone, for all that use it."""

    a: nn.Parameter  # (rank, inputs), fp32
    b: nn.Parameter  # (outputs, rank), fp32
    scale: float


class AdapterLayer(nn.Module, ABC):
    """A frozen linear layer with what an adapter adds to it, for x (..., inputs) and y (..., outputs).

    `base` may itself be an AdapterLayer: several adapters then add up. `scale` multiplies all that is added.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.joint: Callable[..., Tensor] | None = None  # in training, see `Adapter.join`

    scale: float
    lora_A: nn.Parameter  # noqa: N815  # of a LoRA; other forms have matrices of their own
    lora_B: nn.Parameter  # noqa: N815

    @property
    def idle(self) -> bool:
        """Whether it adds nothing: its layer is then as it would be without it, to the bit. Training adds always."""
        return self.scale == 0 and not torch.is_grad_enabled()

    @property
    def frozen(self) -> nn.Linear:
        """The layer below all adapters."""
        layer = self.base
        while isinstance(layer, AdapterLayer):
            layer = layer.base
        assert isinstance(layer, nn.Linear)
        return layer

    def below(self, x: Tensor, frozen: Tensor) -> Tensor:
        """Return what the adapters below it make of `frozen`, see `on_top`."""
        return self.base.on_top(x, frozen) if isinstance(self.base, AdapterLayer) else frozen

    @abstractmethod
    def on_top(self, x: Tensor, frozen: Tensor) -> Tensor:
        """Return the outputs for what the layer below all adapters makes of x, (..., outputs)."""

    @abstractmethod
    def energy(self) -> float:
        """Return the sum of the squares of what is added to the weight, with the scale."""


class TrainableLayer(AdapterLayer):
    """An AdapterLayer of a form that is trained, and not only read from files."""

    @property
    @abstractmethod
    def trained(self) -> dict[str, nn.Parameter]:
        """What is learnt, fp32, by its name in a state."""

    @property
    def after(self) -> list[nn.Parameter]:
        """What of it begins with zeros and has a learning rate of its own, where one is asked for."""
        return []

    @abstractmethod
    def written(self) -> Mapping[str, Tensor]:
        """Return what a file of the adapter's own form holds of it, by the file's names, with the scale in it."""

    @abstractmethod
    def clear(self) -> None:
        """Let it add nothing."""


class LoRALinear(TrainableLayer):
    """y = base(x) + scale · B(A(x)). A and B are fp32."""

    def __init__(self, base: nn.Module, lora_a: Tensor, lora_b: Tensor, scale: float) -> None:
        super().__init__(base)
        self.lora_A = nn.Parameter(lora_a)  # (rank, inputs)
        self.lora_B = nn.Parameter(lora_b)  # (outputs, rank)
        self.update = Update(self.lora_A, self.lora_B, scale)

    @property
    def scale(self) -> float:
        return self.update.scale

    @scale.setter
    def scale(self, value: float) -> None:
        self.update.scale = value

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        return {"lora_A": self.lora_A, "lora_B": self.lora_B}

    @property
    def after(self) -> list[nn.Parameter]:
        return [self.lora_B]

    def written(self) -> Mapping[str, Tensor]:
        return {"lora_A": self.lora_A, "lora_B": self.lora_B if self.scale == 1 else self.lora_B * self.scale}

    @torch.no_grad()
    def clear(self) -> None:
        self.lora_B.zero_()

    def energy(self) -> float:
        return self.scale**2 * energy((self.lora_A.detach().cpu(), self.lora_B.detach().cpu()))

    def forward(self, x: Tensor) -> Tensor:
        if self.joint is not None and torch.is_grad_enabled():
            return self.joint(x)
        if self.idle:
            result: Tensor = self.base(x)
            return result
        base = self.base
        while isinstance(base, AdapterLayer) and base.idle:
            base = base.base
        a = self.lora_A.to(x.dtype)  # (rank, inputs)
        b = (self.lora_B if self.scale == 1 else self.lora_B * self.scale).to(x.dtype)  # (outputs, rank)
        if isinstance(base, nn.Linear) and base.bias is not None:
            out: Tensor = _AdaptedLinear.apply(x, base.weight, base.bias, a, b)  # type: ignore[no-untyped-call]
            return out
        result = base(x) + F.linear(F.linear(x, a), b)  # (..., inputs) → (..., rank) → (..., outputs)
        return result

    def on_top(self, x: Tensor, frozen: Tensor) -> Tensor:
        """Return frozen + scale · B(A(x)) for what the layer below all adapters makes of x, (..., outputs)."""
        frozen = self.below(x, frozen)
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
