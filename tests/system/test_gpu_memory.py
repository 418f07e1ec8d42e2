from __future__ import annotations

import pytest
import torch
from support import Gpu, needs_gpu

from soundlora.errors import MachineError
from soundlora.system.gpu_memory import CUDA_RUNTIME, GIB, available, is_measured, one_shortage, shortage_told


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


def test_the_cpu_is_named_as_the_way_out(gpu: Gpu) -> None:
    gpu(8)
    with (
        pytest.raises(MachineError, match=r"With device='cpu' the CPU computes\. Lower something\."),
        shortage_told("Lower something."),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_apples_shortage_is_a_shortage_and_other_errors_are_not() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="MPS backend out of memory"), one_shortage():
        raise RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, max allowed: 6.80 GB).")
    with pytest.raises(RuntimeError, match="another") as raised, one_shortage():
        raise RuntimeError("another")
    assert type(raised.value) is RuntimeError


def test_each_device_is_asked_in_its_own_way(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    card = gpu(8, held=3)
    assert available(card) == (round(5 * GIB) + CUDA_RUNTIME, 8 * GIB)
    monkeypatch.setattr(torch.xpu, "mem_get_info", lambda device: (3 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.xpu, "memory_reserved", lambda device: GIB)
    assert available(torch.device("xpu")) == (4 * GIB, 8 * GIB)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 11 * GIB)
    assert available(torch.device("mps")) == (11 * GIB, 11 * GIB)
    assert [is_measured(torch.device(kind)) for kind in ("cuda", "xpu", "mps", "cpu")] == [True, True, True, False]


@needs_gpu
def test_a_gpu_that_is_full_says_so() -> None:
    @shortage_told("")
    def fill() -> None:
        torch.empty(torch.cuda.mem_get_info()[1] * 2, dtype=torch.uint8, device="cuda")

    with pytest.raises(MachineError, match=r"This GPU's memory, .* is too little"):
        fill()
