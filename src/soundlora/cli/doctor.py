"""The doctor says what this machine has and what would run on it."""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from soundlora.errors import InputError, MachineError
from soundlora.system.cache_root import default_root
from soundlora.system.devices import TRIED, compute_dtype, computes_in, device_of, found, name_of
from soundlora.system.gpu_memory import GIB, available, is_measured
from soundlora.system.operating_system import cpu_flags, memory_bytes
from soundlora.training.memory_plan import SHARE, Settings, fitting
from soundlora.version import __version__
from soundlora.weights.base import NANO, open_base
from soundlora.weights.components import located
from soundlora.weights.generations import SUPPORTED, Generation

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def examine(asked: str | None = None) -> dict[str, Any]:
    """Return all findings of `soundlora doctor` as plain values. Memory and disk are in bytes.

    asked: the device whose speed is measured; None takes the best one that computes as it should. Raises as `device_of`
    does.
    """
    try:
        device = device_of(asked)
    except MachineError:
        if asked is not None:
            raise
        device = device_of("cpu")  # the line of the other one says what is wrong with it
    return {
        "soundlora": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "cpu": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "features": _cpu_features()},
        "memory": memory_bytes(),
        "gpus": [_gpu(one) for one in found() if one.type != "cpu"],
        "disk_free": shutil.disk_usage(Path.cwd()).free,
        "cache": _cache(),
        "device": str(device),
        "dtype": str(compute_dtype(device)).removeprefix("torch."),
        "bases": [_nano(device)],
        "generations": [_generation(generation) for generation in SUPPORTED],
    }


def print_findings(findings: dict[str, Any]) -> None:
    """Print the findings of `examine` as lines for people."""
    f, cpu = findings, findings["cpu"]
    memory = f" · {f['memory'] / GIB:.0f} GiB memory" if f["memory"] else ""
    print(f"soundlora {f['soundlora']} · Python {f['python']} · torch {f['torch']} · {f['platform']}")
    features = ", ".join(cpu["features"]) or "no AVX2"
    print(f"CPU   {cpu['cores']} cores, {cpu['threads']} threads used · {features}{memory}")
    for gpu in f["gpus"]:
        size = f", {gpu['memory'] / GIB:.0f} GiB" if gpu["memory"] else ""
        print(f"GPU   {gpu['name']}{size} · {gpu['device']}: {gpu['expect']}")
    if not f["gpus"]:
        print("GPU   none")
    print(f"disk  {f['disk_free'] / GIB:.0f} GiB free here · cache in {f['cache']}")
    for base in f["bases"]:
        if "error" in base:
            print(f"base  {base['name']}: {base['error']}")
        else:
            print(
                f"base  {base['name']}: {base['parameters'] / 1e6:.1f} M parameters on {f['device']} in {f['dtype']}; "
                f"about {base['milliseconds_per_step']:.0f} ms a training step, "
                f"2,000 steps in {base['milliseconds_per_step'] * 2:.0f} s, "
                f"a preview of 5 s in {base['milliseconds_per_preview'] / 1000:.1f} s"
            )
    for present in f["generations"]:
        here = sum(path is not None for path in present["files"].values())
        print(f"base  {present['repository']}: {here} of {len(present['files'])} files on this machine")
    for generation in reversed(SUPPORTED):
        print(f"full  {generation.title} would {_full_size(generation, f['gpus'])}")


def _generation(generation: Generation) -> dict[str, Any]:
    """Return where the published files of a base lie on this machine; None for one that does not."""
    files = {file.path: None if path is None else str(path) for file, path in located(generation).items()}
    return {"name": generation.name, "repository": generation.repository, "files": files}


def _gpu(device: torch.device) -> dict[str, Any]:
    """Return what there is to know of a GPU, and in words what to expect of it."""
    memory = available(device)[1] if is_measured(device) else None
    return {"name": name_of(device), "memory": memory, "device": str(device), "expect": _expected(device)}


def _expected(device: torch.device) -> str:
    try:
        words = computes_in(device_of(device))
    except MachineError as error:
        return str(error)
    if device.type in TRIED and torch.version.hip is None:
        return f"{words}; the step is recorded and replayed"
    if device.type == "cuda":
        return f"{words}; AMD's GPUs were not tried by this project"
    return f"{words}; not tried by this project, and slower than it could be, as no step is recorded"


def _full_size(generation: Generation, gpus: list[dict[str, Any]]) -> str:
    """Return a clause that says whether the largest of these GPUs can train at rank 32 with clips of 5 s."""
    none: dict[str, Any] = {"memory": 0, "device": "cuda"}
    largest = max(gpus, key=lambda gpu: gpu["memory"] or 0, default=none)
    memory, cuda = largest["memory"] or 0, largest["device"].startswith("cuda")
    needed = []
    for quantization, flag in ((None, ""), ("int8", " with --quantize int8")):
        settings = Settings(quantize=quantization, fused_attention=cuda)
        plan, fits = fitting(generation.config, settings, memory, generation.encoder_config, cuda=cuda)
        if fits:
            kept = "computed again" if plan.settings.checkpointing else "kept"
            return f"run on this GPU{flag}: about {plan.peak / GIB:.1f} GiB at the peak, activations {kept}."
        needed.append(f"{math.ceil(plan.peak / SHARE / GIB)} GiB{flag}")
    return f"need a GPU with about {', or '.join(needed)}; none is here."


def _nano(device: torch.device) -> dict[str, Any]:
    try:
        base = open_base("nano")
    except InputError as error:
        return {"name": "nano", "error": str(error)}
    size = sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file())
    model = base.transformer(device)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "name": "nano",
        "path": str(NANO),
        "hash": base.hash,
        "bytes": size,
        "parameters": parameters,
        "milliseconds_per_step": _step_milliseconds(base, device),
        "milliseconds_per_preview": _preview_milliseconds(base, device),
    }


def _step_milliseconds(base: Any, device: torch.device, tries: int = 12) -> float:
    """Return the least time in milliseconds of a few training steps on 5 s of noise at rank 32."""
    from soundlora.lora.adapter import Adapter
    from soundlora.model.latents import training_latents
    from soundlora.training.trainer import Example, Trainer

    config = base.config
    latents = torch.randn(training_latents(5.0, config.audio), config.transformer.in_channels)
    context = torch.randn(config.text.context_length, config.transformer.context_dim)
    adapter = Adapter.create(base.transformer(device), 32)
    trainer = Trainer(
        adapter, [Example("noise", latents, context)], config.audio, steps=100, learning_rate=1e-4, seed=0
    )
    clock, times = _clock(device), []
    for step in range(tries):
        began = clock()
        trainer.step(step)
        times.append(clock() - began)
    return min(times[tries // 2 :]) * 1000  # A GPU has recorded the step by then.


def _preview_milliseconds(base: Any, device: torch.device) -> float:
    """Return the time in milliseconds of one preview of 5 s, sampled and decoded as a training does it."""
    from soundlora.training.preview import PreviewSettings, sample

    config = base.config
    context = torch.randn(config.text.context_length, config.transformer.context_dim)
    settings = PreviewSettings(("noise",), (context,), context, 5.0, 0)
    model, codec = base.transformer(device), base.codec(device, decoder=True)
    clock = _clock(device)
    began = clock()
    codec.decode(sample(base, model, context, settings))
    return (clock() - began) * 1000


def _clock(device: torch.device) -> Callable[[], float]:
    """Return what tells seconds of work. On a processor other programs' turns don't count: they may soon be over."""
    return time.thread_time if device.type == "cpu" else time.perf_counter


def _cpu_features() -> list[str]:
    flags = cpu_flags()
    return [flag for flag in _FLAGS if flag in flags]


def _cache() -> str:
    try:
        return str(default_root())
    except MachineError as error:
        return f"no folder: {error}"
