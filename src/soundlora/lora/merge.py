"""A LoRA beside the weights of a base: the size of its update among them, and a copy of them with it merged in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.adapter import check_shapes
from soundlora.lora.file import Lora
from soundlora.lora.pair import Pair, energy
from soundlora.model.tensor_file import pack_header
from soundlora.system.whole_files import whole
from soundlora.weights.checkpoint import Checkpoint
from soundlora.wording import setting, using


@dataclass(frozen=True)
class Merged:
    """The result of a merge: the file's bytes, and the share of the update's energy that was lost to rounding."""

    size: int
    lost: float


def relative_norm(checkpoint: Checkpoint, lora: Lora) -> float:
    """Return ‖B·A‖ over ‖W‖, for all modules that the LoRA changes taken together.

    Raises InputError when the base has other modules or shapes than the LoRA.
    """
    pairs = _pairs_by_tensor(checkpoint, lora)
    weights = sum(float(weight.double().square().sum()) for _, weight in checkpoint.read(pairs))
    return math.sqrt(sum(map(energy, pairs.values())) / weights)


def check_fits(checkpoint: Checkpoint, lora: Lora) -> None:
    """Raises InputError when the base has other modules or shapes than the LoRA. No weight is read for that."""
    for module, update in lora.updates.items():
        check_shapes(module, update, checkpoint.layout.audio[_tensor_of(checkpoint, lora, module)])


def weights_of(checkpoint: Checkpoint) -> Callable[[str], Tensor]:
    """Return what reads a module's weight (outputs, inputs) of the base. It raises InputError where there is none."""

    def weight_of(module: str) -> Tensor:
        name = f"model.diffusion_model.{module}.weight"
        if name not in checkpoint.layout.audio:
            raise InputError(f"{checkpoint.path} has no {module}, which the LoRA changes; give its own base.")
        ((_, weight),) = checkpoint.read([name])
        return weight

    return weight_of


def check_generation(checkpoint: Checkpoint, lora: Lora, field: str = "") -> None:
    """Raises InputError when the LoRA says that it was trained on another generation of LTX.

    field: the setting that overrules this, if there is one.
    """
    wanted = checkpoint.generation
    if lora.generation is None or lora.generation == wanted.name:
        return
    ways = f"use it with LTX {lora.generation}, or train another"
    if field:
        ways = f"use it with LTX {lora.generation}, or hear what comes of it with {using(field, True)}"
    raise InputError(
        f"{lora.path} was trained on LTX {lora.generation}, but the base is {wanted.title}, whose weights are others; "
        f"{ways}."
    )


def merge(checkpoint: Checkpoint, lora: Lora, strength: float, path: Path) -> Merged:
    """Write the checkpoint's audio tensors, with weight + strength·B·A where the LoRA has a pair, to `path`.

    Metadata, names, types and order are the checkpoint's. Sums are taken in fp32. One tensor is in memory at a time,
    and the file appears under its name when it is whole.

    Raises InputError when the base is of another generation or has other modules or shapes, or when a sum is too large
    for its type.
    """
    check_generation(checkpoint, lora)
    pairs = _pairs_by_tensor(checkpoint, lora)
    audio = checkpoint.layout.audio
    by_place = sorted(checkpoint.tensors.items(), key=lambda item: item[1].start)
    tensors = {name: info for name, info in by_place if name in audio}
    error = total = 0.0
    with whole(path) as unfinished, unfinished.open("wb") as file:
        file.write(pack_header(tensors, checkpoint.metadata))
        for name, weight in checkpoint.read(tensors):
            if name in pairs:
                a, b = pairs[name]
                update = strength * (b.float() @ a.float())  # (outputs, inputs)
                merged = _stored(weight.float() + update, weight.dtype, name)
                error += float((merged.float() - weight.float() - update).double().square().sum())
                total += float(update.double().square().sum())
                weight = merged
            file.write(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return Merged(path.stat().st_size, min(1.0, error / total) if total else 0.0)


def _pairs_by_tensor(checkpoint: Checkpoint, lora: Lora) -> dict[str, Pair]:
    """Return the pairs by the name of the tensor they change. Raises InputError when the base has no such tensor."""
    check_fits(checkpoint, lora)
    return {_tensor_of(checkpoint, lora, module): pair for module, pair in lora.pairs.items()}


def _tensor_of(checkpoint: Checkpoint, lora: Lora, module: str) -> str:
    name = f"model.diffusion_model.{module}.weight"
    if name not in checkpoint.layout.audio:
        raise InputError(f"{checkpoint.path} has no {module}, which {lora.path} changes; give its own base.")
    return name


def _stored(weight: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    stored = weight.to(dtype)
    if not stored.isfinite().all():
        raise InputError(f"{name} becomes too large for its type; merge with a smaller {setting('strength')}.")
    return stored
