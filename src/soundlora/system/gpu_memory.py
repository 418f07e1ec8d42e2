"""This module measures the memory that a GPU has for this process, and says in a sentence when it is too little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from soundlora.errors import MachineError

GIB = 1 << 30
# A CUDA process takes about this many bytes before its first tensor: context, kernels, the matrix library's workspace.
CUDA_RUNTIME = 600 << 20
_WORTH_SAYING = GIB // 2


def available(device: torch.device) -> tuple[int, int]:
    """Return (the bytes of the GPU that no other program holds, all bytes that it has)."""
    free, total = torch.cuda.mem_get_info(device)
    return min(total, free + torch.cuda.memory_reserved(device) + CUDA_RUNTIME), total


def held_by_others(memory: int, total: int) -> str:
    """Return a clause about the bytes that other programs hold, or "" where they are few.

    `memory` and `total` are what `available` returns.
    """
    held = total - memory
    return f", of which other programs hold {gib(held)}" if held > _WORTH_SAYING else ""


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


@contextmanager
def shortage_told(advice: str) -> Iterator[None]:
    """Turn a GPU's shortage of memory within the block into a MachineError: a sentence, then `advice`."""
    try:
        yield
    except torch.OutOfMemoryError:
        memory, total = available(torch.device("cuda", torch.cuda.current_device()))
        raise MachineError(
            f"This GPU's memory, {gib(total)}{held_by_others(memory, total)}, is too little. With an empty "
            f"CUDA_VISIBLE_DEVICES the CPU computes. {advice}",
            "memory",
        ) from None
