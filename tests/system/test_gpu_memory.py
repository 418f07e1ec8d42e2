from __future__ import annotations

import pytest
import torch
from support import Gpu, needs_gpu

from soundlora.errors import MachineError
from soundlora.system.gpu_memory import shortage_told


def test_too_little_memory_is_told_in_a_sentence(gpu: Gpu) -> None:
    gpu(8, held=3)

    @shortage_told("A shorter sound takes less.")
    def generate() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with pytest.raises(MachineError) as raised:
        generate()
    assert str(raised.value).startswith(
        "This GPU's memory, 8.0 GiB, of which other programs hold 2.4 GiB, is too little"
    )
    assert str(raised.value).endswith("A shorter sound takes less.")


@needs_gpu
def test_a_gpu_that_is_full_says_so() -> None:
    @shortage_told("")
    def fill() -> None:
        torch.empty(torch.cuda.mem_get_info()[1] * 2, dtype=torch.uint8, device="cuda")

    with pytest.raises(MachineError, match=r"This GPU's memory, .* is too little"):
        fill()
