"""LoKr (Yeh et al. 2023, arXiv:2309.14859): an update w1 ⊗ w2, the Kronecker product of a small and a larger matrix.

A weight (outputs, inputs) gets a w1 of `FACTOR` × `FACTOR`, or of the largest numbers below that divide its sides, and
a w2 for the rest, (k, n). w2 is a product w2_a · w2_b of the rank that is asked for, or whole where that is half of its
longer side or more, as in LyCORIS and PEFT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from soundlora.lora.layer import TrainableLayer
from soundlora.lora.pair import Pair, energy
from soundlora.lora.products import pair_of
from soundlora.system.devices import has_fp64

FACTOR = 4
"""With it a LoKr has a quarter of a LoRA's numbers at the same rank, and is a plain LoRA of four times that rank."""


class LoKrLinear(TrainableLayer):
    """y = base(x) + scale · (w1 ⊗ w2) x. The matrices are fp32; their product is never made."""

    def __init__(self, base: nn.Module, matrices: Mapping[str, Tensor], scale: float) -> None:
        """matrices: lokr_w1 (l, m), and lokr_w2 (k, n), or lokr_w2_a (k, rank) and lokr_w2_b (rank, n)."""
        super().__init__(base)
        self.scale = scale
        self.names = tuple(matrices)
        for name, tensor in matrices.items():
            self.register_parameter(name, nn.Parameter(tensor))

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        return {name: self.get_parameter(name) for name in self.names}

    def forward(self, x: Tensor) -> Tensor:
        below: Tensor = self.base(x)
        return below if self.idle else below + self._added(x)

    def on_top(self, x: Tensor, frozen: Tensor) -> Tensor:
        below = self.below(x, frozen)
        return below if self.idle else below + self._added(x)

    def _added(self, x: Tensor) -> Tensor:
        """Return scale · (w1 ⊗ w2) x, (..., outputs)."""
        matrices = {name: parameter.to(x.dtype) for name, parameter in self.trained.items()}
        w1 = matrices["lokr_w1"] if self.scale == 1 else matrices["lokr_w1"] * self.scale
        parts = x.reshape(-1, w1.shape[1], x.shape[-1] // w1.shape[1])  # (N, m, n)
        if "lokr_w2" in matrices:
            out = torch.matmul(w1, parts) @ matrices["lokr_w2"].T  # (N, l, n) → (N, l, k)
        else:
            # Between the halves the rows are short, so that w1 costs next to nothing.
            low = torch.matmul(w1, parts @ matrices["lokr_w2_b"].T)  # (N, m, rank) → (N, l, rank)
            out = low @ matrices["lokr_w2_a"].T  # (N, l, k)
        return out.reshape(*x.shape[:-1], -1)

    @torch.no_grad()
    def written(self) -> Mapping[str, Tensor]:
        matrices = {name: parameter.detach() for name, parameter in self.trained.items()}
        matrices["lokr_w1"] = matrices["lokr_w1"] * self.scale
        # LyCORIS wants one, and takes alpha/rank times the product.
        rank = matrices["lokr_w2_b"].shape[0] if "lokr_w2_b" in matrices else 1
        return matrices | {"alpha": torch.tensor(float(rank))}

    @torch.no_grad()
    def clear(self) -> None:
        self.get_parameter("lokr_w1").zero_()

    @torch.no_grad()
    def energy(self) -> float:
        w1 = self.get_parameter("lokr_w1")
        if "lokr_w2" in self.names:
            second = float(self.get_parameter("lokr_w2").square().sum())
        else:
            second = energy((self.get_parameter("lokr_w2_b").cpu(), self.get_parameter("lokr_w2_a").cpu()))
        return self.scale**2 * float(w1.square().sum()) * second

    @torch.no_grad()
    def plain(self) -> tuple[Pair, float]:
        """Return the nearest pair, fp32, and the share of the update's energy that it has, see `products.pair_of`."""
        device = self.get_parameter("lokr_w1").device
        device = device if has_fp64(device) else torch.device("cpu")
        (a, b), _, kept = pair_of({name: parameter.detach().to(device) for name, parameter in self.trained.items()})
        return (a, b * self.scale), kept


def shapes_of(outputs: int, inputs: int, rank: int) -> dict[str, tuple[int, int]]:
    """Return the shapes of the matrices of a weight (outputs, inputs), by their names."""
    rows, columns = _factor(outputs), _factor(inputs)
    k, n = outputs // rows, inputs // columns
    if rank >= max(k, n) / 2:
        return {"lokr_w1": (rows, columns), "lokr_w2": (k, n)}
    return {"lokr_w1": (rows, columns), "lokr_w2_a": (k, rank), "lokr_w2_b": (rank, n)}


def fresh(outputs: int, inputs: int, rank: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return matrices whose product is zero, as LyCORIS begins: w2 or w2_b is zero, the others are Kaiming-uniform."""
    matrices = {}
    for name, shape in shapes_of(outputs, inputs, rank).items():
        if name in ("lokr_w2", "lokr_w2_b"):
            matrices[name] = torch.zeros(shape)
        else:
            bound = 1 / math.sqrt(shape[1])
            matrices[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return matrices


def _factor(side: int) -> int:
    return next(factor for factor in range(FACTOR, 0, -1) if side % factor == 0)
