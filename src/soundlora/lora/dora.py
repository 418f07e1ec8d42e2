"""DoRA (Liu et al. 2024, arXiv:2402.09353): a low-rank update, and the length of each of a weight's rows beside it.

A weight W becomes m · (W + V) / ‖W + V‖ with V = B·A and a length m for each row. So what is added depends on W, and is
of full rank; a plain pair comes near to it. LyCORIS has lengths of columns, too, which are read and not trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soundlora.lora.layer import AdapterLayer
from soundlora.lora.pair import Pair
from soundlora.lora.products import KEPT
from soundlora.model.quantize import widened
from soundlora.system.devices import has_fp64

_TINY = torch.finfo(torch.float32).tiny


class DoRALinear(AdapterLayer):
    """y = m/‖W + V‖ · (W + V) x + bias for a frozen base with the weight W, and V = B·A.

    It is that of a file, and nothing of it is learnt: a DoRA that was trained here came no nearer than a LoRA did, see
    docs/what_helps.md.
    """

    a: Tensor
    b: Tensor
    excess: Tensor

    def __init__(self, base: nn.Module, lora_a: Tensor, lora_b: Tensor, lengths: Tensor) -> None:
        """lora_a: (rank, inputs), lora_b: (outputs, rank), lengths: (outputs,) or (outputs, 1), fp32."""
        super().__init__(base)
        self.scale = 1.0
        device = lora_a.device if has_fp64(lora_a.device) else torch.device("cpu")
        w = widened(self.frozen.weight).to(device).double()
        changed = w + lora_b.to(w) @ lora_a.to(w)
        norms = changed.norm(dim=1).clamp_min(_TINY)
        excess = lengths.flatten().to(w) / norms - 1  # m/‖W + V‖ − 1, (outputs,)
        self._energy = float((changed * (1 + excess[:, None]) - w).square().sum())
        for name, tensor in (("a", lora_a), ("b", lora_b), ("excess", excess.float().to(lora_a.device))):
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.idle:
            result: Tensor = self.base(x)
            return result
        return self.on_top(x, self.frozen(x))

    def on_top(self, x: Tensor, frozen: Tensor) -> Tensor:
        below = self.below(x, frozen)
        if self.idle:
            return below
        low = x.reshape(-1, x.shape[-1]) @ self.a.to(x.dtype).T  # (N, rank)
        # (W + V) x + bias, (N, outputs)
        out = torch.addmm(frozen.reshape(-1, frozen.shape[-1]), low, self.b.to(x.dtype).T)
        bias = self.frozen.bias
        product = out if bias is None else out - bias
        out = torch.addcmul(out, product, self.excess.to(x.dtype)).view(frozen.shape)
        return out if below is frozen and self.scale == 1 else below + self.scale * (out - frozen)

    def energy(self) -> float:
        return self.scale**2 * self._energy


class NoMagnitudeError(ValueError):
    """The lengths don't fit the update or the weight; the message says why, in a clause."""


def plain_pair(weight: Tensor, pair: Pair, magnitude: Tensor) -> tuple[Pair, float]:
    """Return the pair (A, B) nearest to what a DoRA adds to a weight, and the share of its energy; see `nearest`.

    weight: (outputs, inputs). pair: A (rank, inputs) and B (outputs, rank), scaled. magnitude: (outputs,) or
    (outputs, 1), the lengths of rows, or (1, inputs), those of columns, as LyCORIS writes them, too. Raises
    NoMagnitudeError.
    """
    a, b = (tensor.double() for tensor in pair)
    w = weight.double()
    if (b.shape[0], a.shape[1]) != tuple(w.shape):
        raise NoMagnitudeError(
            f"{b.shape[0]}×{a.shape[1]}, but this base has {w.shape[0]}×{w.shape[1]} there; give the base that it was "
            "trained on"
        )
    rows = of_rows(magnitude, w.shape[0])
    lengths = magnitude.double().reshape(-1, 1) if rows else magnitude.double()
    if lengths.shape != ((w.shape[0], 1) if rows else (1, w.shape[1])) or not lengths.isfinite().all():
        raise NoMagnitudeError(
            f"given lengths of the shape {list(magnitude.shape)} that are none of its rows or columns"
        )
    changed = w + b @ a
    norms = changed.norm(dim=1 if rows else 0, keepdim=True).clamp_min(_TINY)
    return nearest(changed * (lengths / norms) - w)


def of_rows(magnitude: Tensor, outputs: int) -> bool:
    """Say whether a file's lengths are those of a weight's rows, and not of its columns."""
    return magnitude.ndim == 1 or magnitude.shape == (outputs, 1)


def nearest(update: Tensor) -> tuple[Pair, float]:
    """Return the pair (A, B), fp32, of the fewest ranks that keep `products.KEPT` of an update's energy, and the share.

    update: (outputs, inputs), fp64.
    """
    # The vectors of the smaller side, by its products with itself: many times faster than a decomposition of the whole.
    tall = update.shape[0] > update.shape[1]
    values, vectors = torch.linalg.eigh(update.T @ update if tall else update @ update.T)
    summed = values.flip(0).clamp_min(0).cumsum(0)
    total = float(summed[-1])
    count = int((summed < KEPT * total).sum()) + 1
    kept = float(summed[count - 1]) / total if total else 1.0
    vectors = vectors.flip(1)[:, :count]
    pair = (vectors.T, update @ vectors) if tall else (vectors.T @ update, vectors)
    return (pair[0].float().contiguous(), pair[1].float().contiguous()), kept
