"""This module measures the memory that a GPU has for this process, and says in a sentence when it is too little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from soundlora.errors import MachineError
from soundlora.wording import using

GIB = 1 << 30
# A CUDA process takes about this many bytes before its first tensor: context, kernels, the matrix library's workspace.
CUDA_RUNTIME = 600 << 20
_WORTH_SAYING = GIB // 2
_ON_MPS = "MPS backend out of memory"


def available(device: torch.device) -> tuple[int, int]:
    """Return (the bytes of the GPU that no other program holds, all bytes that it has)."""
    if device.type == "mps":
        # An Apple GPU computes in the host's memory. The system says how much of it a GPU may take, and not what other
        # programs hold of that.
        total = torch.mps.recommended_max_memory()
        return total, total
    module = torch.xpu if device.type == "xpu" else torch.cuda
    free, total = module.mem_get_info(device)
    runtime = CUDA_RUNTIME if device.type == "cuda" else 0
    return min(total, free + module.memory_reserved(device) + runtime), total


def is_measured(device: torch.device) -> bool:
    """Say whether `available` knows the device."""
    return device.type in ("cuda", "xpu", "mps")


def held_by_others(memory: int, total: int) -> str:
    """Return a clause about the bytes that other programs hold, or "" where they are few.

    `memory` and `total` are what `available` returns.
    """
    held = total - memory
    return f", of which other programs hold {gib(held)}" if held > _WORTH_SAYING else ""


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


@contextmanager
def one_shortage() -> Iterator[None]:
    """Let a device's shortage of memory within the block be a torch.OutOfMemoryError, whichever device it is."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or _ON_MPS not in str(error):
            raise
        raise torch.OutOfMemoryError(str(error)) from error


@contextmanager
def shortage_told(advice: str) -> Iterator[None]:
    """Turn a GPU's shortage of memory within the block into a MachineError: a sentence, then `advice`."""
    try:
        with one_shortage():
            yield
    except torch.OutOfMemoryError:
        used = torch.accelerator.current_accelerator() or torch.device("cuda")
        device = torch.device(used.type) if used.type == "mps" else _current(used)
        memory, total = available(device)
        raise MachineError(
            f"This GPU's memory, {gib(total)}{held_by_others(memory, total)}, is too little. With "
            f"{using('device', 'cpu')} the CPU computes. {advice}",
            "memory",
        ) from None


def _current(used: torch.device) -> torch.device:
    module = torch.xpu if used.type == "xpu" else torch.cuda
    return torch.device(used.type, module.current_device())
