"""DoRA (Liu et al. 2024, arXiv:2402.09353): a low-rank update, and the length of each of a weight's rows beside it.

A weight W becomes m · (W + V) / ‖W + V‖ with V = B·A and a length m for each row. So what is added depends on W, and is
of full rank; a plain pair comes near to it. LyCORIS has lengths of columns, too, which are read and not trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from soundlora.lora.layer import AdapterLayer
from soundlora.lora.pair import Pair
from soundlora.lora.products import KEPT
from soundlora.model.quantize import linear, widened
from soundlora.system.devices import has_fp64

_TINY = torch.finfo(torch.float32).tiny


class DoRALinear(AdapterLayer):
    """y = m/‖W + V‖ · (W + V) x + bias for a frozen base with the weight W, and V = factor · B·A.

    Learnt are A, B and by how much each length m differs from that of W's own row, `longer`. It begins with zeros, so
    that weight decay leads back to the base. The gradient takes ‖W + V‖ for a constant, as the paper advises and PEFT
    does. ‖W + V‖² − ‖W‖² comes from W·Aᵀ and A·Aᵀ, so that no second matrix of W's size is made, and a fresh DoRA
    changes nothing, to the bit.
    """

    def __init__(
        self, base: nn.Module, lora_a: Tensor, lora_b: Tensor, factor: float = 1.0, lengths: Tensor | None = None
    ) -> None:
        """lora_a: (rank, inputs), lora_b: (outputs, rank), fp32. lengths: (outputs,), None takes those of W."""
        super().__init__(base)
        self.lora_A, self.lora_B = nn.Parameter(lora_a), nn.Parameter(lora_b)
        self.factor, self.scale = factor, 1.0
        self.norms = _row_lengths(self.frozen.weight).to(lora_a.device)  # (outputs,)
        self.longer = nn.Parameter(torch.zeros_like(self.norms) if lengths is None else lengths - self.norms)
        self._held: Tensor | None = None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        return {"lora_A": self.lora_A, "lora_B": self.lora_B, "longer": self.longer}

    @property
    def after(self) -> list[nn.Parameter]:
        return [self.lora_B]

    def hold(self) -> None:
        """Compute what follows from A, B and lengths alone once, as they will stay as they are."""
        with torch.no_grad():
            self._held = self.excess(self.frozen.weight.dtype)

    def excess(self, dtype: torch.dtype) -> Tensor:
        """Return m/‖W + V‖ − 1, (outputs,), fp32. dtype: in which W is multiplied."""
        if self._held is not None:
            return self._held
        norms, grown = self._norms(dtype)
        return (self.longer - grown) / norms

    @torch.no_grad()
    def _norms(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return ‖W + V‖ of each row, and by how much it is more than ‖W‖, (outputs,), fp32."""
        twice, own = self._moved(dtype)
        moved = twice + own  # ‖W + V‖² − ‖W‖²
        norms = (self.norms.square() + moved).clamp_min(_TINY).sqrt()
        return norms, moved / (norms + self.norms)

    @torch.no_grad()
    def _moved(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return 2 W·V and ‖V‖² of each row, (outputs,), fp32."""
        a, b = self.lora_A, self.factor * self.lora_B
        across = linear(a.to(dtype), self.frozen.weight, None).float()  # A·Wᵀ, (rank, outputs)
        return 2 * (across.T * b).sum(1), (b @ (a @ a.T) * b).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        if self.idle:
            result: Tensor = self.base(x)
            return result
        return self.on_top(x, self.frozen(x))

    def on_top(self, x: Tensor, frozen: Tensor) -> Tensor:
        below = self.below(x, frozen)
        if self.idle:
            return below
        a, b = self.lora_A.to(x.dtype), (self.factor * self.lora_B).to(x.dtype)
        low = x.reshape(-1, x.shape[-1]) @ a.T  # (N, rank)
        out = torch.addmm(frozen.reshape(-1, frozen.shape[-1]), low, b.T)  # (W + V) x + bias, (N, outputs)
        bias = self.frozen.bias
        product = out if bias is None else out - bias
        out = torch.addcmul(out, product, self.excess(x.dtype).to(x.dtype)).view(frozen.shape)
        return out if below is frozen and self.scale == 1 else below + self.scale * (out - frozen)

    @torch.no_grad()
    def set_lengths(self, lengths: Tensor | None) -> None:
        """Let the lengths be these, (outputs,) or (outputs, 1); None takes those of W + V, so that V alone is added."""
        if lengths is None:
            _, grown = self._norms(self.lora_A.dtype)
            self.longer.copy_(grown)
        else:
            self.longer.copy_(lengths.flatten().to(self.norms) - self.norms)

    @torch.no_grad()
    def clear(self) -> None:
        self.lora_B.zero_()
        self.longer.zero_()

    @torch.no_grad()
    def written(self) -> Mapping[str, Tensor]:
        lengths = (self.norms + self.longer)[:, None]
        return {"lora_A": self.lora_A, "lora_B": self.factor * self.lora_B, "dora_scale": lengths}

    @torch.no_grad()
    def energy(self) -> float:
        # V + e (W + V) for e, the excess: ‖V‖² + 2 e (W·V + ‖V‖²) + e² ‖W + V‖².
        twice, own = self._moved(self.lora_A.dtype)
        excess = self.excess(self.lora_A.dtype)
        whole = self.norms.square() + twice + own
        added = own + excess * (twice + 2 * own) + excess.square() * whole
        return self.scale**2 * float(added.cpu().double().sum().clamp_min(0))

    @torch.no_grad()
    def plain(self) -> tuple[Pair, float]:
        """Return the pair nearest to what it adds to W, and the share of its energy that it has, see `nearest`."""
        device = self.lora_A.device if has_fp64(self.lora_A.device) else torch.device("cpu")
        w = widened(self.frozen.weight).to(device).double()
        v = (self.factor * self.lora_B).to(device).double() @ self.lora_A.to(device).double()
        return nearest(v + self.excess(self.lora_A.dtype).to(device).double()[:, None] * (w + v))


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


@torch.no_grad()
def _row_lengths(weight: Tensor) -> Tensor:
    """Return the lengths of a weight's rows, (outputs,), fp32, the same on every device that has fp64."""
    wide = widened(weight)
    lengths: Tensor = torch.linalg.vector_norm(wide.double() if has_fp64(wide.device) else wide.cpu().double(), dim=1)
    return lengths.float()
