"""Norms of a base's weights and activations, compared from block to block.

Some faults leave the loss as it is, such as a scaled matrix before a norm. They show in a norm that differs from those
of the blocks beside it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.quantize import widened
from soundlora.model.transformer import AudioTransformer
from soundlora.pipeline.base_probe import USUAL, Probe
from soundlora.weights.base import Base

_BLOCK = re.compile(r"(transformer(?:_1d)?_blocks)\.(\d+)\.")
_RUN = 128  # zeros in a row that no training leaves behind
_MAY_BE_EMPTY = "vocoder."  # its filters have zeros by nature, and the codec's measures hear it


@dataclass(frozen=True)
class Stored:
    """What the tensors of the files look like: names of the faulty ones and the largest outlier."""

    no_numbers: list[str]
    empty: list[str]
    outlier: float
    outlier_name: str
    jump: float
    jump_name: str


def stored(base: Base) -> Stored:
    """Read every audio tensor of a base, and return what is odd about them.

    outlier: the largest weight over its tensor's root mean square. jump: see `largest_jump`.
    """
    no_numbers, empty = [], []
    outlier, outlier_name = 0.0, ""
    sizes: dict[str, float] = {}
    for name, tensor in base.checkpoint.read(sorted(base.checkpoint.layout.audio)):
        x = tensor.float()
        size = float(x.square().mean().sqrt())
        if not math.isfinite(size):
            no_numbers.append(name)
            continue
        if x.dim() > 1 and not name.startswith(_MAY_BE_EMPTY):
            rows = x.flatten()[: x.numel() // _RUN * _RUN].view(-1, _RUN)
            if size == 0 or (len(rows) and not bool(rows.any(dim=1).all())):
                empty.append(name)
            elif (ratio := float(x.abs().max()) / size) > outlier:
                outlier, outlier_name = ratio, name
        if x.dim() > 1 or name.endswith("_norm.weight"):
            sizes[name] = size
    jump, jump_name = largest_jump(sizes)
    return Stored(no_numbers, empty, outlier, outlier_name, jump, jump_name)


def loaded_jump(model: AudioTransformer) -> tuple[float, str]:
    """Return `largest_jump` of the loaded blocks, whatever their weights are stored in."""
    sizes = {}
    for name, weight in model.named_parameters():
        if weight.dim() > 1 or name.endswith("_norm.weight"):
            sizes[name] = float(widened(weight).square().mean().sqrt())
    return largest_jump(sizes)


def largest_jump(sizes: dict[str, float]) -> tuple[float, str]:
    """Return the largest factor between a tensor and both tensors of its name in the nearest blocks, and the name.

    sizes: root mean square by name. A tensor between its neighbours, or near one of them, is no jump.
    """
    rows: dict[str, dict[int, tuple[float, str]]] = defaultdict(dict)
    for name, size in sizes.items():
        if match := _BLOCK.search(name):
            rows[_BLOCK.sub(r"\1.", name)][int(match[2])] = (max(size, 1e-12), name)
    worst, worst_name = 1.0, ""
    for blocks in rows.values():
        for index, (size, name) in blocks.items():
            near = sorted((other for other in blocks if other != index), key=lambda other: abs(other - index))[:2]
            if len(near) < 2:
                continue
            factors = [size / blocks[other][0] for other in near]
            jump = max(min(factors), 1 / max(factors))
            if jump > worst:
                worst, worst_name = jump, name
    return worst, worst_name


def activation_jump(probe: Probe, level: float) -> tuple[float, str, float]:
    """Return the largest jump of what the parts of blocks give, the part, and the most that one block grows by.

    A jump is that of `largest_jump`, of the root mean squares of attentions and feed-forwards in one pass at a noise
    level. Growth is the factor by which a block raises the root mean square of what goes through.
    """
    sizes: dict[str, float] = {}
    growth = [0.0]

    def size_of(x: Tensor) -> float:
        return float(x.float().square().mean().sqrt())

    handles = []
    for name, module in probe.model.named_modules():
        if name.startswith("transformer_blocks.") and name.count(".") == 2:

            def keep(module: object, inputs: object, out: Tensor, name: str = name) -> None:
                sizes[name] = size_of(out)

            handles.append(module.register_forward_hook(keep))
        elif name.startswith("transformer_blocks.") and name.count(".") == 1:

            def grow(module: object, inputs: tuple[Tensor, ...], out: Tensor) -> None:
                growth.append(size_of(out) / max(size_of(inputs[0]), 1e-12))

            handles.append(module.register_forward_hook(grow))
    try:
        with torch.inference_mode():
            probe.velocity(USUAL, level)
    finally:
        for handle in handles:
            handle.remove()
    jump, name = largest_jump({f"{name}.": size for name, size in sizes.items()})
    return jump, name.removesuffix("."), max(growth)
