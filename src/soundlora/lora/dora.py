"""DoRA layers as pairs B·A: other programs write the length of each of a weight's rows beside A and B.

A DoRA (Liu et al. 2024, arXiv:2402.09353) makes m · (W + B·A) / ‖W + B·A‖ of a weight W. So what it adds depends on W,
and is of full rank; a plain pair comes near to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from soundlora.lora.products import KEPT


class NoMagnitudeError(ValueError):
    """The lengths don't fit the update or the weight; the message says why, in a clause."""


def plain_pair(weight: Tensor, pair: tuple[Tensor, Tensor], magnitude: Tensor) -> tuple[tuple[Tensor, Tensor], float]:
    """Return the pair (A, B) nearest to what a DoRA adds to a weight, in fp32, and the share of its energy that it has.

    weight: (outputs, inputs). pair: A (rank, inputs) and B (outputs, rank), scaled. magnitude: (outputs,) or
    (outputs, 1), the lengths of rows, or (1, inputs), those of columns, as LyCORIS writes them, too. The pair has the
    fewest ranks that keep `products.KEPT`. Raises NoMagnitudeError.
    """
    a, b = (tensor.double() for tensor in pair)
    w = weight.double()
    if (b.shape[0], a.shape[1]) != tuple(w.shape):
        raise NoMagnitudeError(
            f"{b.shape[0]}×{a.shape[1]}, but this base has {w.shape[0]}×{w.shape[1]} there; give the base that it was "
            "trained on"
        )
    rows = magnitude.ndim == 1 or magnitude.shape == (w.shape[0], 1)
    lengths = magnitude.double().reshape(-1, 1) if rows else magnitude.double()
    if lengths.shape != ((w.shape[0], 1) if rows else (1, w.shape[1])) or not lengths.isfinite().all():
        raise NoMagnitudeError(
            f"given lengths of the shape {list(magnitude.shape)} that are none of its rows or columns"
        )
    changed = w + b @ a
    norms = changed.norm(dim=1 if rows else 0, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    update = changed * (lengths / norms) - w  # (outputs, inputs)
    # The vectors of the smaller side, by its products with itself: many times faster than a decomposition of the whole.
    tall = update.shape[0] > update.shape[1]
    values, vectors = torch.linalg.eigh(update.T @ update if tall else update @ update.T)
    summed = values.flip(0).clamp_min(0).cumsum(0)
    total = float(summed[-1])
    count = int((summed < KEPT * total).sum()) + 1
    kept = float(summed[count - 1]) / total if total else 1.0
    vectors = vectors.flip(1)[:, :count]
    nearest = (vectors.T, update @ vectors) if tall else (vectors.T @ update, vectors)
    return (nearest[0].float().contiguous(), nearest[1].float().contiguous()), kept
