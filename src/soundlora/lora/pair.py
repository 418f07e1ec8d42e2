"""A and B of a layer, whose product is added to its weight."""

from __future__ import annotations

from torch import Tensor

Pair = tuple[Tensor, Tensor]  # A (rank, inputs) and B (outputs, rank)


def energy(pair: Pair) -> float:
    """‖B·A‖², the sum of the squares of what is added to a weight, from two matrices of rank × rank."""
    a, b = (tensor.double() for tensor in pair)
    return float(((b.T @ b) * (a @ a.T)).sum().clamp_min(0))
