"""The doctor says what this machine has and what would run on it."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from soundlora.errors import InputError
from soundlora.system.cache_root import default_root
from soundlora.system.gpu_memory import GIB
from soundlora.training.memory_plan import SHARE, Settings, fitting
from soundlora.version import __version__
from soundlora.weights.base import NANO, compute_dtype, open_base, pick_device
from soundlora.weights.components import located
from soundlora.weights.generations import SUPPORTED, Generation

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def examine() -> dict[str, Any]:
    """Return all findings of `soundlora doctor` as plain values. Memory and disk are in bytes."""
    device = pick_device()
    return {
        "soundlora": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "cpu": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "features": _cpu_features()},
        "memory": _memory(),
        "gpus": [
            {"name": p.name, "memory": p.total_memory}
            for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ],
        "disk_free": shutil.disk_usage(Path.cwd()).free,
        "cache": str(default_root()),
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
        print(f"GPU   {gpu['name']}, {gpu['memory'] / GIB:.0f} GiB")
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
                f"2,000 steps in {base['milliseconds_per_step'] * 2:.0f} s"
            )
    largest = max((gpu["memory"] for gpu in f["gpus"]), default=0)
    for found in f["generations"]:
        here = sum(path is not None for path in found["files"].values())
        print(f"base  {found['repository']}: {here} of {len(found['files'])} files on this machine")
    for generation in reversed(SUPPORTED):
        print(f"full  {generation.title} would {_full_size(generation, largest)}")


def _generation(generation: Generation) -> dict[str, Any]:
    """Return where the published files of a base lie on this machine; None for one that does not."""
    files = {file.path: None if path is None else str(path) for file, path in located(generation).items()}
    return {"name": generation.name, "repository": generation.repository, "files": files}


def _full_size(generation: Generation, memory: int) -> str:
    """Return a clause that says whether a GPU with `memory` bytes can train at rank 32 with clips of 5 s."""
    needed = []
    for quantization, flag in ((None, ""), ("int8", " with --quantize int8")):
        found, fits = fitting(generation.config, Settings(quantize=quantization), memory, generation.encoder_config)
        if fits:
            kept = "computed again" if found.settings.checkpointing else "kept"
            return f"run on this GPU{flag}: about {found.peak / GIB:.1f} GiB at the peak, activations {kept}."
        needed.append(f"{math.ceil(found.peak / SHARE / GIB)} GiB{flag}")
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
    }


def _step_milliseconds(base: Any, device: torch.device, tries: int = 8) -> float:
    """Return the median time in milliseconds of a few training steps on 5 s of noise at rank 32."""
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
    times = []
    for step in range(tries):
        began = time.perf_counter()
        trainer.step(step)
        times.append(time.perf_counter() - began)
    settled = sorted(times[tries // 2 :])  # A GPU has recorded the step by then.
    return settled[len(settled) // 2] * 1000


def _cpu_features() -> list[str]:
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return []
    return [flag for flag in _FLAGS if flag in flags]


def _memory() -> int | None:
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
