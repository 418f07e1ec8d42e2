"""This benchmark measures how fast a LoRA trains, and in how much memory: batch 1, clips of 5 s, rank 32.

    .venv/bin/python benchmarks/training_step.py [--base nano] [--steps 300] [--record]

Fresh processes measure the steps alone, and a whole run on examples/clips with encoding and previews.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from history import Figure
from table import MB, add_record, peak_resident, report, resident

SECONDS, RANK, RUN_STEPS = 5.0, 32, 2000
GOAL_MS, GOAL_MB, GOAL_RUN = 50, 300, 120
CLIPS = Path(__file__).resolve().parents[1] / "examples" / "clips"


def import_everything() -> int:
    """Load every library that training uses, also those that it loads late. Return the bytes that they take."""
    import av  # noqa: F401

    import soundlora.pipeline.train  # noqa: F401

    return resident()


def measure_steps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time training steps on latents and contexts that are noise. Their values don't change the work."""
    imports = import_everything()
    import torch

    from soundlora.lora.adapter import Adapter
    from soundlora.model.latents import training_latents
    from soundlora.system.devices import pick_device
    from soundlora.training.trainer import Example, Trainer
    from soundlora.weights.base import open_base

    base = open_base(arguments.base, arguments.text_encoder)
    config, device = base.config, pick_device()
    adapter = Adapter.create(base.transformer(device), RANK)
    generator = torch.Generator().manual_seed(0)
    examples = [
        Example(
            str(number),
            torch.randn(training_latents(SECONDS, config.audio), config.transformer.in_channels, generator=generator),
            torch.randn(config.text.context_length, config.transformer.context_dim, generator=generator),
        )
        for number in range(10)
    ]
    total = arguments.warmup + arguments.steps
    trainer = Trainer(adapter, examples, config.audio, steps=total, learning_rate=2e-4, seed=0, average=True)
    times = []
    for step in range(total):
        began = time.perf_counter()
        trainer.step(step)
        times.append((time.perf_counter() - began) * 1000)
    times = times[arguments.warmup :]
    return {
        "median_ms": statistics.median(times),
        "p90_ms": statistics.quantiles(times, n=10)[-1],
        "mean_ms": statistics.fmean(times),
        "memory_bytes": peak_resident() - imports,
        "imports_bytes": imports,
    }


def measure_run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure memory and time of a whole run with an empty cache."""
    imports = import_everything()
    from soundlora import train

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train(
            CLIPS,
            Path(folder) / "run",
            base=arguments.base,
            text_encoder=arguments.text_encoder,
            rank=RANK,
            steps=arguments.steps,
            duration=SECONDS,
            cache=Path(folder) / "cache",
        )
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory_bytes": peak_resident() - imports}


def in_fresh_process(part: str) -> dict[str, Any]:
    """Run this script again for one part, so that its memory is its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--text-encoder", type=Path)
    parser.add_argument("--steps", type=int, default=300, help="that are measured")
    parser.add_argument("--warmup", type=int, default=30, help="steps before them that are not")
    add_record(parser)
    parser.add_argument("--part", choices=("steps", "run"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measure_steps(arguments) if arguments.part == "steps" else measure_run(arguments)))
        return
    steps, run = in_fresh_process("steps"), in_fresh_process("run")
    whole = steps["mean_ms"] * RUN_STEPS / 1000
    report(
        "training_step",
        f"Training {arguments.base}: batch 1, clips of {SECONDS:g} s, rank {RANK}, {arguments.steps} steps",
        [
            Figure("a step, median", steps["median_ms"], "ms", GOAL_MS),
            Figure("a step, 90th percentile", steps["p90_ms"], "ms"),
            Figure("speed", 1000 / steps["mean_ms"], "steps/s"),
            Figure(f"{RUN_STEPS:,} steps, from the mean", whole, "s", GOAL_RUN),
            Figure("memory of the steps above the imports", steps["memory_bytes"] / MB, "MB", GOAL_MB),
            Figure("memory of a whole run above the imports", run["memory_bytes"] / MB, "MB"),
            Figure(f"a whole run of {arguments.steps} steps with previews", run["seconds"], "s"),
        ],
        {"base": arguments.base, "steps_measured": arguments.steps, "steps": steps, "run": run},
        arguments.record,
    )


if __name__ == "__main__":
    main()
