"""Trains and generates on the device of `other_device.py` and on the CPU, and prints what came of it as JSON.

on_other_device.py DATA BASE ENCODER FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from other_device import DEVICE, LACKS, Reads, Writes, other_device  # before what it changes is imported

# isort: split
import torch
from parity.cases import checkpoint as checkpoint_of_tests
from support import examples
from torch import Tensor

from soundlora import Generator, Progress, train
from soundlora.errors import Interrupted
from soundlora.lora.adapter import Adapter
from soundlora.model.transformer import AudioTransformer
from soundlora.pipeline import placement
from soundlora.system import devices
from soundlora.training.gradient import Gradient
from soundlora.training.memory_choice import choose
from soundlora.training.memory_plan import Plan, Settings, plan
from soundlora.training.offload import offload
from soundlora.training.optimizer import Optimizer
from soundlora.training.trainer import StepFigures, Trainer

data, checkpoint, encoder, folder = sys.argv[1:]
FOLDER = Path(folder)
BASE: dict[str, Any] = {"base": checkpoint, "text_encoder": encoder}
OPTIONS: dict[str, Any] = {
    "steps": 6,
    "rank": 4,
    "duration": 0.5,
    "hold_out": 1,
    "batch_size": 2,
    "seed": 3,
    "checkpoint_every": 3,
    "preview_every": 6,
    "debug_dataset": True,
}
reads_of_steps: list[int] = []
reads_where_it_updates: list[int] = []  # of steps whose update the device does by itself


OTHERS: dict[str, Any] = {
    "init_lora": FOLDER / "cpu" / "lora.safetensors",
    "rank": 8,
    "quantize": "int8",
    "optimizer": "adamw8bit",
    "average": False,
}


def run_on(device: str, name: str, **options: Any) -> None:
    train(data, FOLDER / name, device=device, cache=FOLDER / f"cache-{device}", **BASE, **OPTIONS | options)


def stop_in_the_middle(name: str) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 4:
            raise KeyboardInterrupt

    try:
        run_on(DEVICE, name, on_progress=stop)
    except Interrupted:
        return
    raise AssertionError("the run was not stopped")


def count_reads(step: Callable[[Trainer, int], StepFigures]) -> Callable[[Trainer, int], StepFigures]:
    def counting(trainer: Trainer, number: int) -> StepFigures:
        before = Reads.count
        figures = step(trainer, number)
        if trainer.device.type == "other":
            read = reads_where_it_updates if trainer.optimizer.advances else reads_of_steps
            read.append(Reads.count - before)
        return figures

    return counting


def joined(build: Callable[..., None]) -> Callable[..., None]:
    def building(gradient: Gradient, adapter: Adapter, *rest: Any) -> None:
        adapter.join()
        build(gradient, adapter, *rest)

    return building


def two_at_once(choose: Callable[..., tuple[Plan, str]]) -> Callable[..., tuple[Plan, str]]:
    def choosing(*arguments: Any) -> tuple[Plan, str]:
        chosen, why = choose(*arguments)
        return replace(chosen, settings=replace(chosen.settings, clips=2)), why

    return choosing


def with_more(*had: str) -> None:
    """Let the device have what it lacked, and be asked again for what it has."""
    LACKS.difference_update(had)
    for known in (devices._product_error, devices.has_type, devices.adds_in_fp32, devices.convolves_long):
        known.cache_clear()


def mixing_is_refused() -> bool:
    try:
        torch.ones(2, device=DEVICE) + torch.ones(2)
    except RuntimeError:
        return True
    return False


def refused_on_the_device() -> list[str]:
    """What is refused, each tried out."""
    there = torch.device(DEVICE)
    tries: dict[str, Callable[[], object]] = {
        "fp64": lambda: torch.ones(2, device=there).double(),
        "a copy of fp64": lambda: torch.ones(2, dtype=torch.float64).to(there, torch.float32),
        "complex": lambda: torch.fft.rfft(torch.ones(8, device=there)),
        "bf16": lambda: torch.ones(2, device=there).bfloat16(),
        "pinned memory": lambda: torch.ones(2).pin_memory(),
        "autocast": lambda: check(torch.autocast("other", torch.bfloat16)._enabled),
    }
    refused = [] if devices.adds_in_fp32(there, torch.float32) else ["wide sums"]
    refused += [] if devices.convolves_long(there) else ["long convolutions"]
    for name, attempt in tries.items():
        try:
            attempt()
        except (TypeError, NotImplementedError, AssertionError):
            refused.append(name)
    return refused


def check(can: bool) -> None:
    if not can:
        raise NotImplementedError


def steps_of_five_blocks(count: int) -> tuple[list[float], list[int], list[Tensor]]:
    """The losses of steps with `count` of five blocks offloaded, the bytes copied in each, and the LoRA's numbers."""
    there, config = torch.device(DEVICE), checkpoint_of_tests().config
    torch.manual_seed(7)
    model = AudioTransformer(replace(config.transformer, layers=5)).requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    if count:
        offload(model, count, there)
    else:
        model = model.to(there)
    adapter = Adapter.create(model, 4, seed=1)
    trainer = Trainer(adapter, examples(3), config.audio, steps=20, learning_rate=1e-2, seed=1)
    losses, copied = [], []
    for step in range(4):
        before = Writes.bytes
        losses.append(trainer.step(step).loss)
        copied.append(Writes.bytes - before)
    return losses, copied, [parameter.detach().cpu() for parameter in adapter.parameters()]


def offloading() -> dict[str, Any]:
    """What becomes of steps whose blocks lie in the host's memory, beside those of a model on the device."""
    losses, copied, numbers = steps_of_five_blocks(0)
    away_losses, away_copied, away_numbers = steps_of_five_blocks(5)
    config = checkpoint_of_tests().config
    config = replace(config, transformer=replace(config.transformer, layers=5))
    planned = plan(config, Settings(dtype=torch.float32, checkpointing=True, offload=5), cuda=False)
    return {
        "the same": away_losses == losses and all(map(torch.equal, away_numbers, numbers)),
        "copied": [there - here for there, here in zip(away_copied, copied, strict=True)],
        "planned": planned.copied,
    }


def sound(device: str) -> Tensor:
    generator = Generator(loras=[(FOLDER / "cpu" / "lora.safetensors", 1.0)], device=device, **BASE)
    return generator("rain", duration=0.5, seed=1, steps=3).waveform


torch.set_num_threads(1)
patch.object(Trainer, "step", count_reads(Trainer.step)).start()
run_on("cpu", "cpu")
run_on("cpu", "cpu, other options", **OTHERS)
heard = sound("cpu")
with other_device():
    lacking = refused_on_the_device()
    run_on(DEVICE, "other")
    run_on(DEVICE, "other, other options", **OTHERS)
    stop_in_the_middle("resumed")
    run_on(DEVICE, "resumed", resume=True)
    apart = (sound(DEVICE) - heard).abs().max().item()
    run_on(DEVICE, "offloaded", offload=2)
    run_on(DEVICE, "offloaded, other options", offload=2, **OTHERS)
    offloaded = offloading()
    with_more("bf16")
    run_on(DEVICE, "in bf16")
    patch.object(Gradient, "__init__", joined(Gradient.__init__)).start()
    run_on(DEVICE, "joined")
    patch.object(Optimizer, "advances", True).start()
    run_on(DEVICE, "joined, updated there")
    patch.object(placement, "choose", two_at_once(choose)).start()
    with_more("wide sums", "long convolutions")
    run_on(DEVICE, "as on a GPU")
    refused = mixing_is_refused()
facts = {
    "reads": reads_of_steps,
    "reads where it updates": reads_where_it_updates,
    "apart": apart,
    "mixing is refused": refused,
    "lacking": lacking,
    "offloaded": offloaded,
}
print(json.dumps(facts), flush=True)
os._exit(0)  # the device's own thread of autograd has no end
