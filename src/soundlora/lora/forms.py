"""The forms of an adapter's update: plain LoRA, LoKr and, in files alone, DoRA. Each has a layer of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from soundlora.lora.dora import DoRALinear
from soundlora.lora.layer import AdapterLayer, LoRALinear, TrainableLayer
from soundlora.lora.lokr import LoKrLinear, fresh
from soundlora.lora.pair import Pair

Form = Literal["lora", "lokr"]
"""What is trained."""

FileForm = Literal["lora", "dora", "lokr"]
"""What a file may hold."""

FORMS: tuple[Form, ...] = get_args(Form)
FILE_FORMS: tuple[FileForm, ...] = get_args(FileForm)
TITLES: dict[Form, str] = {"lora": "LoRA", "lokr": "LoKr"}

Matrices = Mapping[str, Tensor]
"""Those of a layer by their names in files: lora_A, lora_B and dora_scale, or lokr_w1 and lokr_w2, and the scale is in
them."""


def fresh_layer(
    form: Form, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator, device: torch.device
) -> TrainableLayer:
    """Return a layer around `linear` that changes nothing yet. scale: what the update is multiplied with.

    A of a LoRA is Kaiming-uniform and B zero; for LoKr see `lokr.fresh`.
    """
    if form == "lokr":
        matrices = fresh(linear.out_features, linear.in_features, rank, generator)
        return LoKrLinear(linear, {name: tensor.to(device) for name, tensor in matrices.items()}, scale)
    bound = 1 / math.sqrt(linear.in_features)  # kaiming_uniform_ with a = √5
    a = torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=generator).to(device)
    b = torch.zeros(linear.out_features, rank, device=device)
    return LoRALinear(linear, a, b, scale)


def layer_of(base: nn.Module, update: Pair | Matrices, scale: float, device: torch.device) -> AdapterLayer:
    """Return a layer around `base` with an update that was read from a file."""
    if isinstance(update, tuple):
        a, b = update
        return LoRALinear(base, _here(a, device), _here(b, device), scale)
    matrices = {name: _here(tensor, device) for name, tensor in update.items()}
    if form_of(update) == "lokr":
        return LoKrLinear(base, matrices, scale)
    layer = DoRALinear(base, matrices["lora_A"], matrices["lora_B"], matrices["dora_scale"])
    layer.scale = scale
    return layer


def form_of(update: Pair | Matrices) -> FileForm:
    """Return the form of a layer's update."""
    if isinstance(update, tuple):
        return "lora"
    return "dora" if "dora_scale" in update else "lokr"


def size_of(update: Pair | Matrices) -> tuple[int, int]:
    """Return the outputs and inputs of the weight that an update is added to."""
    if isinstance(update, tuple):
        return update[1].shape[0], update[0].shape[1]
    if form_of(update) == "dora":
        return update["lora_B"].shape[0], update["lora_A"].shape[1]
    w1, whole = update["lokr_w1"], "lokr_w2" in update
    k, n = update["lokr_w2" if whole else "lokr_w2_a"].shape[0], update["lokr_w2" if whole else "lokr_w2_b"].shape[1]
    return w1.shape[0] * k, w1.shape[1] * n


def _here(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.float().to(device)  # files hold bf16, which the device may lack
