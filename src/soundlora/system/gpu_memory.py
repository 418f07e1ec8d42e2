"""How much memory a GPU has for this process, and a sentence where that is too little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from soundlora.errors import MachineError

GIB = 1 << 30
# What a CUDA process takes before its first tensor: context, kernels, the matrix library's own workspace.
CUDA_RUNTIME = 600 << 20
_WORTH_SAYING = GIB // 2


def available(device: torch.device) -> tuple[int, int]:
    """Bytes of a GPU that no other program holds, and all it has."""
    free, total = torch.cuda.mem_get_info(device)
    return min(total, free + torch.cuda.memory_reserved(device) + CUDA_RUNTIME), total


def held_by_others(memory: int, total: int) -> str:
    """Of what `available` returns: a clause, or nothing where it is not worth one."""
    held = total - memory
    return f", of which other programs hold {gib(held)}" if held > _WORTH_SAYING else ""


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


@contextmanager
def shortage_told(advice: str) -> Iterator[None]:
    """That a GPU has too little memory for what is done within becomes a sentence, and after it the advice."""
    try:
        yield
    except torch.OutOfMemoryError:
        memory, total = available(torch.device("cuda", torch.cuda.current_device()))
        raise MachineError(
            f"This GPU's memory, {gib(total)}{held_by_others(memory, total)}, is too little. With an empty "
            f"CUDA_VISIBLE_DEVICES the CPU computes. {advice}",
            "memory",
        ) from None
