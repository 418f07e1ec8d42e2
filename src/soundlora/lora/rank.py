"""Updates B·A of one rank made as good as they can be in another, and a new adapter that begins where a LoRA ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import pad

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter, check_shapes
from soundlora.lora.file import Lora
from soundlora.lora.forms import Matrices
from soundlora.lora.layer import LoRALinear
from soundlora.lora.lokr import LoKrLinear
from soundlora.lora.pair import Pair, energy
from soundlora.wording import setting


def resize(pair: Pair, rank: int) -> tuple[Pair, float]:
    """Return the pair of rank `rank` that comes nearest to B·A, in fp32, and the share of ‖B·A‖² that it keeps.

    The truncated singular value decomposition is the nearest (Eckart & Young 1936). A rank that is not smaller keeps
    all; the rest of A and B is zero.
    """
    a, b = (tensor.float() for tensor in pair)
    if rank >= a.shape[0]:
        more = rank - a.shape[0]
        return (pad(a, (0, 0, 0, more)), pad(b, (0, more))), 1.0
    # B·A = Q (R Sᵀ) Pᵀ has the singular values of the small matrix R Sᵀ, as Q and P are orthonormal.
    q, r = torch.linalg.qr(b.double())
    p, s = torch.linalg.qr(a.double().T)
    u, values, vh = torch.linalg.svd(r @ s.T, full_matrices=False)
    root = values[:rank].sqrt()
    nearest = (root[:, None] * (vh[:rank] @ p.T)).float(), ((q @ u[:, :rank]) * root).float()
    rows = nearest[0].shape[0]  # fewer than asked for where the weight has fewer rows or columns
    total = float(values.square().sum())
    kept = float(values[:rank].square().sum()) / total if total else 1.0
    return resize(nearest, rank)[0] if rows < rank else nearest, kept


def resize_all(pairs: Mapping[str, Pair], rank: int) -> tuple[dict[str, Pair], float]:
    """Return every pair in the rank `rank`, and the share of the sum of all ‖B·A‖² that is kept; see `resize`."""
    resized, kept, total = {}, 0.0, 0.0
    for name, pair in pairs.items():
        resized[name], share = resize(pair, rank)
        whole = energy(pair)
        kept, total = kept + share * whole, total + whole
    return resized, kept / total if total else 1.0


def load_into_adapter(adapter: Adapter, lora: Lora) -> list[str]:
    """Let a fresh adapter begin with the update of a LoRA of any rank. Return sentences about what was lost.

    A smaller rank keeps the adapter's own A in the rows it leaves free, and zeros in B there, so that B·A is the
    LoRA's and the rest can still learn. A larger rank is resized. Modules that the LoRA doesn't have stay fresh. A LoKr
    begins with one of its own shapes.

    Raises InputError when nothing fits: another base, another form, or none of the adapter's modules.
    """
    updates = lora.updates
    shared = [name for name in updates if name in adapter.layers]
    if not shared:
        raise InputError(
            f"{lora.path} changes none of the modules that are trained ({', '.join(list(adapter.layers)[:3])}, …); "
            "begin with a LoRA of the same base and targets."
        )
    for name in shared:
        frozen = adapter.layers[name].frozen
        check_shapes(name, updates[name], (frozen.out_features, frozen.in_features))

    kept, total, larger, rank = 0.0, 0.0, 0, 0
    for name in shared:
        layer, update = adapter.layers[name], updates[name]
        if isinstance(layer, LoKrLinear):
            _take_lokr(layer, update, lora)
            continue
        assert isinstance(layer, LoRALinear)
        assert isinstance(update, tuple)
        pair, rank, whole, share = update, layer.lora_A.shape[0], energy(update), 1.0
        if pair[0].shape[0] > rank:
            larger = max(larger, pair[0].shape[0])
            pair, share = resize(pair, rank)
        kept, total = kept + share * whole, total + whole
        _fill(layer.lora_A, layer.lora_B, pair, layer.scale)

    notes = []
    if larger:
        share = kept / total if total else 1.0
        notes.append(
            f"{lora.path} of rank {larger} was cut to rank {rank}, which keeps {percent(share)} of its energy."
        )
    left_out = [name for name in updates if name not in adapter.layers]
    if left_out:
        notes.append(
            f"{lora.path} also changes {len(left_out)} modules that are not trained here ({left_out[0]}, …); training "
            "begins without those."
        )
    return notes


@contextmanager
def begun_with(adapter: Adapter, lora: Lora) -> Iterator[None]:
    """Let the adapter be as `load_into_adapter` made it within the block."""
    now = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    try:
        with torch.no_grad():
            for layer in adapter.trainable.values():
                layer.clear()
        load_into_adapter(adapter, lora)
        yield
    finally:
        adapter.load_state_dict(now)


def percent(share: float) -> str:
    """Return a share as text, such as '99.97 %', which is never '100 %' for less than all."""
    return f"{math.floor(share * 1e4) / 1e2:g} %"


@torch.no_grad()
def _take_lokr(layer: LoKrLinear, update: Pair | Matrices, lora: Lora) -> None:
    """Take over a LoKr's matrices. Raises InputError for those of another form or of other shapes."""
    wanted = {name: tuple(parameter.shape) for name, parameter in layer.trained.items()}
    found = {} if isinstance(update, tuple) else {name: tuple(tensor.shape) for name, tensor in update.items()}
    if found != wanted:
        raise InputError(
            f"{lora.path} has no LoKr of these shapes ({_shapes(found)} instead of {_shapes(wanted)}), and no other "
            f"can become one; begin with one of the same {setting('rank')}, or without."
        )
    for name, parameter in layer.trained.items():
        given = update[name].to(parameter)  # type: ignore[call-overload]
        parameter.copy_(given / layer.scale if name == "lokr_w1" else given)


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    named = [f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items()]
    return ", ".join(named) or "a plain LoRA"


@torch.no_grad()
def _fill(lora_a: Tensor, lora_b: Tensor, pair: Pair, scale: float) -> None:
    a, b = pair
    lora_a[: a.shape[0]] = a.to(lora_a.dtype).to(lora_a.device)
    lora_b.zero_()
    lora_b[:, : a.shape[0]] = b.to(lora_b.dtype).to(lora_b.device) / scale
