"""Devices: those that this machine has, and what each of them can do.

What a device can't do is tried out rather than looked up in a list, as it differs from one version of macOS, of a
driver or of torch to the next. Nothing random is drawn on a device: every generator lies on the CPU, so that a seed
means the same everywhere. Autocast is used nowhere, since every tensor's type is chosen.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch

from soundlora.errors import InputError, MachineError
from soundlora.wording import setting, using

KINDS = ("cuda", "xpu", "mps", "cpu")
"""The names that a user may give, the fastest first. AMD's GPUs are `cuda` too, as torch calls them so under ROCm."""

TRIED = ("cuda", "cpu")
"""Those that whole runs of this project have been made on."""

# The largest error of a matrix product, as a share of its norm. Rounding the result of a sound bf16 product gives
# 0.0012, and a sound fp32 product is off by less than a millionth. TF32 in the place of fp32 gives 0.0004.
_BOUNDS = {torch.bfloat16: 5e-3, torch.float32: 3e-5}
_LONG = 70_000  # samples; some versions of macOS can't convolve more than 65,536


def pick_device() -> torch.device:
    """Return the first of `KINDS` that this machine has."""
    return torch.device(next(kind for kind in KINDS if _has(kind)))


def found() -> list[torch.device]:
    """Return every device that torch finds here, the CPU last."""
    devices: list[torch.device] = []
    for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu)):
        if _has(kind):
            devices += [torch.device(kind, number) for number in range(module.device_count())]
    if _has("mps"):
        devices.append(torch.device("mps"))
    other = torch.accelerator.current_accelerator()  # of makers whose package adds a device to torch
    if other is not None and other.type not in KINDS:
        devices += [torch.device(other.type, number) for number in range(torch.accelerator.device_count())]
    return [*devices, torch.device("cpu")]


def device_of(asked: torch.device | str | None) -> torch.device:
    """Return the device that was asked for, None being the best one, once it is known to compute as it should.

    Raises InputError for a name of nothing, and for a device that is not here; MachineError for one that is here and
    computes in a lower precision than it was told to.
    """
    device = pick_device() if asked is None else _named(asked)
    _check_product(device, torch.float32)
    return device


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the type that a base is computed in: fp32 on CPUs, most of which are slower in bf16, else bf16.

    bf16 is what the reference computes in. A device that has none, or whose bf16 products are wrong, computes in fp32.
    """
    if device.type == "cpu" or _product_error(device, torch.bfloat16) > _BOUNDS[torch.bfloat16]:
        return torch.float32
    return torch.bfloat16


def described(device: torch.device) -> str:
    """Return the device in words, with the type that it computes in: "NVIDIA H200 (cuda), bf16"."""
    return f"{name_of(device)} ({device}), {computes_in(device)}"


def computes_in(device: torch.device) -> str:
    """Return the type that a base is computed in on the device, with the reason where it is not the usual one."""
    if compute_dtype(device) == torch.bfloat16:
        return "bf16"
    if device.type == "cpu":
        return "fp32"
    lacks = "its bf16 products are not exact" if has_type(device, torch.bfloat16) else "it has no bf16"
    return f"fp32, as {lacks}"


def name_of(device: torch.device) -> str:
    """Return the maker's name of a device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).name)
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    return {"mps": "Apple's GPU", "cpu": "the processor"}.get(device.type, device.type)


def shares_memory(device: torch.device) -> bool:
    """Say whether the device computes in the host's own memory, so that nothing is won by moving weights there."""
    return device.type in ("cpu", "mps")


def pins(device: torch.device) -> bool:
    """Say whether the device copies from pinned memory while the host goes on."""
    return device.type in ("cuda", "xpu")


def has_fp64(device: torch.device) -> bool:
    """Say whether every device of this kind adds in fp64: Apple's GPUs don't, nor do most of Intel's."""
    return device.type in ("cuda", "cpu")


def has_channels_last(device: torch.device) -> bool:
    """Say whether convolutions over channels-last tensors are to be trusted. On MPS some versions of torch err."""
    return device.type in ("cuda", "cpu")


def empty_cache(device: torch.device) -> None:
    """Give memory that torch keeps for later back to the device."""
    modules: dict[str, Any] = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.mps}
    if device.type in modules:
        modules[device.type].empty_cache()


@cache
def has_type(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether the device holds numbers of this type, and turns them into fp32."""
    try:
        return float(torch.ones(1, dtype=dtype).to(device).to(torch.float32).cpu()) == 1
    except (RuntimeError, TypeError) as error:
        return _refused(error)


@cache
def adds_in_fp32(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether products of `dtype` can be added to sums in fp32 by one call of `addmm`, and of `baddbmm`."""
    try:
        total, factor = torch.zeros(16, 16, device=device), torch.ones(16, 16, device=device, dtype=dtype)
        torch.addmm(total, factor, factor, out_dtype=torch.float32, out=total)
        apart, factors = total.as_strided((2, 4, 16), (128, 16, 1)), factor.expand(2, 16, 16)
        torch.baddbmm(apart, factors[:, :4], factors, out_dtype=torch.float32, out=apart)
        sums = total.cpu().view(4, 4, 16)[:, 0, 0].tolist()
        return bool(sums == [32, 16, 32, 16])
    except (RuntimeError, TypeError) as error:
        return _refused(error)


@cache
def convolves_long(device: torch.device) -> bool:
    """Say whether the device convolves sound of any length, and rightly."""
    if device.type in ("cuda", "cpu"):
        return True
    sound = torch.linspace(-1, 1, _LONG)[None, None]  # (1, 1, samples)
    kernel = torch.tensor([0.25, 0.5, 0.125])[None, None]
    try:
        there = torch.nn.functional.conv1d(sound.to(device), kernel.to(device)).cpu()
    except (RuntimeError, TypeError) as error:
        return _refused(error)
    return torch.allclose(there, torch.nn.functional.conv1d(sound, kernel), atol=1e-4)


@cache
def _product_error(device: torch.device, dtype: torch.dtype) -> float:
    """Return how far a matrix product on the device is off, as a share of its norm; infinity where it has none."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, 64, generator=generator).to(dtype) for _ in range(2))
    a = a * 2.0**40  # fp16 in the place of bf16 has no such number
    exact = a.double() @ b.double()
    try:
        there = (a.to(device) @ b.to(device)).cpu().double()
    except (RuntimeError, TypeError) as error:
        _refused(error)
        return float("inf")
    share = float((there - exact).norm() / exact.norm())
    return float("inf") if math.isnan(share) else share


def _refused(error: Exception) -> bool:
    """Return False for a device that says it can't do something. Raises the error again if memory was short."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    return False


def _check_product(device: torch.device, dtype: torch.dtype) -> None:
    error = _product_error(device, dtype)
    if error <= _BOUNDS[dtype]:
        return
    how = "it can't multiply in fp32" if error == float("inf") else f"its fp32 products are off by {error:.1g}"
    advice = "switch TF32 off, and its like" if device.type == "cuda" else "update torch and the system"
    raise MachineError(
        f"{name_of(device)} ({device}) does not compute as it is told to: {how}, so a LoRA would be trained in a "
        f"lower precision than is said; {advice}, or use {using('device', 'cpu')}.",
        "device",
    )


def _named(asked: torch.device | str) -> torch.device:
    here = found()
    kinds = list(dict.fromkeys(device.type for device in here))
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError, ValueError):
        device = torch.device("meta")  # no place to compute
    if device.type not in (*KINDS, *kinds):
        raise InputError(
            f"{setting('device')} is {str(asked)!r}, but it must be one of {', '.join(KINDS)}, with a number where "
            f"there are several, such as cuda:1; this machine has {_listed(here)}.",
            field="device",
        )
    if device.type not in kinds:
        raise InputError(
            f"{setting('device')} is {str(asked)!r}, but this machine has {_listed(here)} only{_reason(device.type)}.",
            field="device",
        )
    count = sum(one.type == device.type for one in here)
    if device.index is not None and device.index >= count:
        raise InputError(
            f"{setting('device')} is {str(asked)!r}, but this machine has {_listed(here)}; the first one is number 0.",
            field="device",
        )
    return device


def _listed(devices: list[torch.device]) -> str:
    names = [device.type if device.type in ("mps", "cpu") else str(device) for device in devices]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _reason(kind: str) -> str:
    """Return why torch may find no device of a kind, as far as it says."""
    built = {"cuda": torch.backends.cuda.is_built(), "mps": torch.backends.mps.is_built()}
    if not built.get(kind, True):
        return f" (torch {torch.__version__} is built without {kind}; its site has others)"
    return f" (torch {torch.__version__} finds no {kind} device)"


def _has(kind: str) -> bool:
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu" or bool((torch.cuda if kind == "cuda" else torch.xpu).is_available())
