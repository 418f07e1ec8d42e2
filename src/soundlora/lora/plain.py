"""A LoKr as the plain LoRA that every program loads, and what of it is lost by that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from soundlora.lora.adapter import Adapter
from soundlora.lora.lokr import LoKrLinear
from soundlora.lora.pair import Pair
from soundlora.lora.rank import percent


@dataclass(frozen=True)
class Plain:
    """The pairs of all layers, in bf16 on the CPU.

    kept: the least share of a layer's energy that its pair has. together: that of all layers' energies together.
    larger: the layers whose pair has more numbers than the weight that it is added to.
    """

    pairs: dict[str, Pair]
    kept: float
    together: float
    larger: int

    @property
    def ranks(self) -> tuple[int, int]:
        """The smallest and the largest rank."""
        ranks = [len(a) for a, _ in self.pairs.values()]
        return min(ranks), max(ranks)

    def words(self, title: str) -> str:
        """Return a sentence on what the pairs are. title: what the adapter is, such as `LoKr`."""
        least, most = self.ranks
        rank = f"rank {most}" if least == most else f"the ranks {least} to {most}"
        whole = "all of each layer's energy"
        kept = f"{percent(self.kept)} or more of each layer's energy, {percent(self.together)} of all"
        said = f"As a plain LoRA of {rank} the {title} keeps {kept if self.kept < 1 else whole}."
        if self.larger:
            said += (
                f" In {self.larger} of {len(self.pairs)} layers that takes more numbers than their own weights have, "
                f"so use the {title} itself wherever it loads."
            )
        return said

    def to_metadata(self, form: str) -> dict[str, str]:
        """Return what the LoRA's file says of where it comes from."""
        return {"made_from": form, "energy_kept": f"{math.floor(self.kept * 1e4) / 1e4}", "rank": str(self.ranks[1])}

    def to_json(self) -> dict[str, object]:
        """Return the figures for a run's report and config."""
        return {"kept": self.kept, "together": self.together, "ranks": list(self.ranks), "larger": self.larger}


def plain_of(adapter: Adapter) -> Plain:
    """Return the plain LoRA nearest to an adapter of LoKr layers, with the fewest ranks that keep what
    `products.KEPT` says of each layer's energy.

    A decomposition a layer: that of w1 and w2.
    """
    pairs, least, total, left, larger = {}, 1.0, 0.0, 0.0, 0
    for name, layer in adapter.layers.items():
        assert isinstance(layer, LoKrLinear)
        (a, b), kept = layer.plain()
        pairs[name] = a.to("cpu", torch.bfloat16), b.to("cpu", torch.bfloat16)
        size = layer.energy()
        least, total, left = min(least, kept), total + size, left + kept * size
        larger += a.numel() + b.numel() > a.shape[1] * b.shape[0]
    return Plain(pairs, least, left / total if total else 1.0, larger)
