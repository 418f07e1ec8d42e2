"""This benchmark times a sound of 5 s with 30 steps, classifier-free and spatio-temporal guidance.

    .venv/bin/python benchmarks/generation.py [--base nano] [--repeats 3] [--record]

It measures the wall clock of `soundlora generate` as a command, imports included: for a new prompt, and for one whose
context is in the cache. It also measures the parts of that time within one process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from history import Figure
from table import add_record, report

SECONDS, STEPS, CFG, STG = 5.0, 30, 3.0, 1.0
GOAL = 10
PROMPT, NEGATIVE = "rain on a tin roof", "silence"


def measure_command(arguments: argparse.Namespace, cache: str) -> float:
    """Return the seconds from the start of the command to its end. `cache` may already hold the prompt's context."""
    with tempfile.TemporaryDirectory() as folder:
        # This is what the console script does, wherever it is installed.
        command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "generate"]
        command += ["--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--base", arguments.base]
        command += ["--duration", str(SECONDS), "--steps", str(STEPS), "--cfg", str(CFG), "--stg", str(STG)]
        command += ["--out", str(Path(folder) / "sound.wav")]
        if arguments.text_encoder:
            command += ["--text-encoder", str(arguments.text_encoder)]
        began = time.perf_counter()
        environment = os.environ | {"SOUNDLORA_CACHE": cache}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - began


def measure_parts(arguments: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of each part, in the order in which `soundlora generate` comes to them."""
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    import soundlora.pipeline.generate  # noqa: F401
    from soundlora.sampling.generate import SamplingSettings, sample_latents
    from soundlora.system.devices import pick_device
    from soundlora.weights.base import open_base

    mark()
    device = pick_device()
    base = open_base(arguments.base, arguments.text_encoder)
    model, codec = base.transformer(device), base.codec(device, decoder=True)
    mark()
    context, negative = base.contexts([PROMPT, NEGATIVE], device)
    mark()
    steps, guidance = SamplingSettings(STEPS, CFG, STG).resolve(base.config.sampling)
    latents = sample_latents(
        model, codec.config.audio, context, negative, seconds=SECONDS, seed=42, steps=steps, guidance=guidance
    )
    mark()
    codec.decode(latents)
    mark()
    names = ("imports of torch and soundlora", "loading", "contexts", "sampling", "decoding")
    return {name: end - start for name, (start, end) in zip(names, pairwise(marks), strict=True)}


def parts_in_fresh_process() -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--parts"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    parts: dict[str, float] = json.loads(output.splitlines()[-1])
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--text-encoder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    add_record(parser)
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parts:
        print(json.dumps(measure_parts(arguments)))
        return
    times = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as empty:
            times.append(measure_command(arguments, empty))
    with tempfile.TemporaryDirectory() as cache:
        again = [measure_command(arguments, cache) for _ in range(arguments.repeats + 1)][1:]
    parts = parts_in_fresh_process()
    figures = [
        Figure("a new prompt, median", statistics.median(times), "s", GOAL),
        Figure("a new prompt, best", min(times), "s"),
        Figure("the same prompt again, median", statistics.median(again), "s", GOAL),
        *(Figure(f"of one run: {name}", seconds, "s") for name, seconds in parts.items()),
    ]
    details: dict[str, Any] = {
        "base": arguments.base,
        "new_prompt_seconds": times,
        "again_seconds": again,
        "parts_seconds": parts,
    }
    report(
        "generation",
        f"Generating {SECONDS:g} s with {arguments.base}: {STEPS} steps, CFG {CFG:g}, STG {STG:g}",
        figures,
        details,
        arguments.record,
    )


if __name__ == "__main__":
    main()
