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

from other_device import DEVICE, Reads, other_device  # before what it changes is imported

# isort: split
import torch
from torch import Tensor

from soundlora import Generator, Progress, train
from soundlora.errors import Interrupted
from soundlora.lora.adapter import Adapter
from soundlora.pipeline import cache
from soundlora.pipeline import train as run
from soundlora.training.gradient import Gradient
from soundlora.training.memory_choice import choose
from soundlora.training.memory_plan import Plan
from soundlora.training.trainer import StepFigures, Trainer
from soundlora.weights import base

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
            reads_of_steps.append(Reads.count - before)
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


def mixing_is_refused() -> bool:
    try:
        torch.ones(2, device=DEVICE) + torch.ones(2)
    except RuntimeError:
        return True
    return False


def sound(device: str) -> Tensor:
    generator = Generator(loras=[(FOLDER / "cpu" / "lora.safetensors", 1.0)], device=device, **BASE)
    return generator("rain", duration=0.5, seed=1, steps=3).waveform


torch.set_num_threads(1)
patch.object(Trainer, "step", count_reads(Trainer.step)).start()
run_on("cpu", "cpu")
run_on("cpu", "cpu, other options", **OTHERS)
heard = sound("cpu")
with other_device():
    run_on(DEVICE, "other")
    run_on(DEVICE, "other, other options", **OTHERS)
    stop_in_the_middle("resumed")
    run_on(DEVICE, "resumed", resume=True)
    apart = (sound(DEVICE) - heard).abs().max().item()
    patch.object(Gradient, "__init__", joined(Gradient.__init__)).start()
    patch.object(run, "choose", two_at_once(choose)).start()
    for module in (base, cache, run):
        patch.object(module, "compute_dtype", lambda _: torch.bfloat16).start()
    run_on(DEVICE, "as on a GPU")
    refused = mixing_is_refused()
print(json.dumps({"reads": reads_of_steps, "apart": apart, "mixing is refused": refused}), flush=True)
os._exit(0)  # the device's own thread of autograd has no end
