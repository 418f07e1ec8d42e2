from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from soundlora.errors import InputError, MachineError
from soundlora.system import devices
from soundlora.system.devices import compute_dtype, described, device_of, pick_device
from soundlora.wording import command_line_words, wording

CPU = torch.device("cpu")
Have = Callable[..., None]


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Have:
    """Lets torch find so many devices of a kind, and no others."""

    def pretend(*, cuda: int = 0, xpu: int = 0, mps: bool = False) -> None:
        for module, count in ((torch.cuda, cuda), (torch.xpu, xpu)):
            monkeypatch.setattr(module, "is_available", lambda count=count: count > 0)
            monkeypatch.setattr(module, "device_count", lambda count=count: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name="A Card"))

    return pretend


@pytest.fixture
def off_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[torch.dtype, float]], None]:
    """Lets products of every device but the CPU's have these errors."""
    true = devices._product_error

    def pretend(errors: dict[torch.dtype, float]) -> None:
        monkeypatch.setattr(
            devices, "_product_error", lambda d, dtype: true(d, dtype) if d.type == "cpu" else errors[dtype]
        )

    return pretend


@pytest.mark.parametrize(
    ("there", "kind"),
    [
        ({"cuda": 2, "xpu": 1, "mps": True}, "cuda"),
        ({"xpu": 1, "mps": True}, "xpu"),
        ({"mps": True}, "mps"),
        ({}, "cpu"),
    ],
)
def test_the_fastest_kind_that_is_there_is_picked(have: Have, there: dict[str, int], kind: str) -> None:
    have(**there)
    assert pick_device().type == kind


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device().type == kind


def test_every_device_is_found_the_cpu_last(have: Have) -> None:
    have(cuda=2, mps=True)
    assert [str(device) for device in devices.found()] == ["cuda:0", "cuda:1", "mps", "cpu"]


def test_cpus_compute_in_fp32_and_gpus_in_bf16(off_by: Callable[[dict[torch.dtype, float]], None]) -> None:
    off_by({torch.bfloat16: 0.0012})
    assert compute_dtype(torch.device("cpu")) == torch.float32
    assert compute_dtype(torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize("error", [0.02, float("inf")])
def test_a_device_without_sound_bf16_computes_in_fp32_and_says_so(
    off_by: Callable[[dict[torch.dtype, float]], None], monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    off_by({torch.bfloat16: error, torch.float32: 1e-7})
    monkeypatch.setattr(devices, "has_type", lambda device, dtype: error < 1)
    mps = torch.device("mps")
    assert compute_dtype(mps) == torch.float32
    reason = "its bf16 products are not exact" if error < 1 else "it has no bf16"
    assert described(mps) == f"Apple's GPU (mps), fp32, as {reason}"


def test_a_device_that_says_fp32_and_computes_in_less_is_refused(
    have: Have, off_by: Callable[[dict[torch.dtype, float]], None]
) -> None:
    have(cuda=1)
    off_by({torch.float32: 4e-4, torch.bfloat16: 0.001})  # as TF32
    with pytest.raises(MachineError) as raised:
        device_of("cuda")
    assert raised.value.lack == "device"
    assert str(raised.value) == (
        "A Card (cuda) does not compute as it is told to: its fp32 products are off by 0.0004, so a LoRA would be "
        "trained in a lower precision than is said; switch TF32 off, and its like, or use --device cpu."
    )


def rounded(bits: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Numbers cut to so many bits of mantissa."""

    def cut(x: torch.Tensor) -> torch.Tensor:
        mantissa, exponent = torch.frexp(x.double())
        return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)

    return cut


@pytest.mark.parametrize(
    ("dtype", "bits", "is_sound"),
    [
        (torch.float32, 24, True),
        (torch.float32, 11, False),  # TF32, fp16
        (torch.float32, 8, False),  # bf16
        (torch.bfloat16, 8, True),
        (torch.bfloat16, 4, False),  # fp8
    ],
)
def test_the_check_tells_precisions_apart(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, bits: int, is_sound: bool
) -> None:
    cut = rounded(bits)
    exact = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: exact(a, b) if a.dtype == torch.float64 else exact(cut(a), cut(b)).to(dtype),
    )
    assert (devices._product_error.__wrapped__(CPU, dtype) <= devices._BOUNDS[dtype]) is is_sound


def test_fp16_in_the_place_of_bf16_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: exact(a, b) if a.dtype == torch.float64 else exact(a.half().float(), b.half().float()),
    )
    assert devices._product_error.__wrapped__(CPU, torch.bfloat16) == float("inf")


def test_memory_that_is_short_is_no_missing_type(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.Tensor.__matmul__

    def full(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dtype == torch.float64:
            return exact(a, b)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.Tensor, "__matmul__", full)
    with pytest.raises(torch.OutOfMemoryError):
        devices._product_error.__wrapped__(CPU, torch.bfloat16)


@pytest.mark.parametrize("name", ["gpu", "cuda:one", "meta", "CUDA", ""])
def test_a_made_up_name_is_refused_with_what_there_is(have: Have, name: str) -> None:
    have(cuda=1)
    with pytest.raises(InputError) as raised:
        device_of(name)
    assert raised.value.field == "device"
    assert str(raised.value) == (
        f"--device is {name!r}, but it must be one of cuda, xpu, mps, cpu, with a number where there are several, such "
        "as cuda:1; this machine has cuda:0 and cpu."
    )


def test_a_device_that_is_not_here_is_refused_with_what_there_is(have: Have, monkeypatch: pytest.MonkeyPatch) -> None:
    have(cuda=1)
    with pytest.raises(InputError, match=r"^--device is 'xpu', but this machine has cuda:0 and cpu only \(torch "):
        device_of("xpu")
    have()
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    with pytest.raises(InputError, match=r"^--device is 'mps', but this machine has cpu only \(torch .* is built with"):
        device_of("mps")


def test_a_number_that_is_too_large_is_refused_with_what_there_is(have: Have) -> None:
    have(cuda=2)
    with pytest.raises(InputError) as raised:
        device_of("cuda:7")
    said = "--device is 'cuda:7', but this machine has cuda:0, cuda:1 and cpu; the first one is number 0."
    assert str(raised.value) == said
    with pytest.raises(InputError, match="--device is 'cpu:3', but"):
        device_of("cpu:3")


def test_what_is_here_is_taken(have: Have, off_by: Callable[[dict[torch.dtype, float]], None]) -> None:
    have(cuda=2)
    off_by({torch.float32: 1e-7})
    assert device_of("cuda:1") == torch.device("cuda", 1)
    assert device_of(torch.device("cpu")) == CPU
    assert device_of(None) == torch.device("cuda")


def test_the_cpu_can_do_all_that_is_asked_about() -> None:
    assert devices.convolves_long(CPU)
    assert devices.has_type(CPU, torch.bfloat16)
    assert devices.has_type(CPU, torch.float64)
    assert devices.has_fp64(CPU)
    assert devices.shares_memory(CPU)
    assert not devices.pins(CPU)
    assert described(CPU) == "the processor (cpu), fp32"


def test_long_convolutions_are_compared_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor)
    there = torch.device("mps")
    assert devices.convolves_long.__wrapped__(there)
    exact = torch.nn.functional.conv1d
    calls: list[int] = []

    def wrong_at_first(sound: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return exact(sound, kernel) * (1 if len(calls) > 1 else 0)

    monkeypatch.setattr(torch.nn.functional, "conv1d", wrong_at_first)
    assert not devices.convolves_long.__wrapped__(there)
