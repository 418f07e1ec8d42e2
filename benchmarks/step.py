"""This benchmark measures a training step on any device: its work, its share of the matrix rate, and its memory.

    .venv/bin/python benchmarks/step.py [--sizes nano mid full] [--steps 20] [--batch-size 1] [--record]

Several ways of running the same transformer with random weights take turns in one process:

ours        what `soundlora train` does: the context is read from the cache.
ours, bf16  the same with `--quantize bf16`, on CPUs that multiply in bf16; int8 and fp8 likewise, in `gpu_step.py`.
usual       as LTX's own trainer does: the audio connector inside every step with gradients for all its weights, every
            block computed a second time for the backward pass, modulation for every token.
usual, both the same with the video stream's connector, twice as wide, whose result a sound has no use for.

The matrix rate is the best one of square products of the same type that this process saw.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from history import Figure
from table import MB, add_record, peak_resident, report, resident
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from soundlora.lora.adapter import Adapter
from soundlora.model.config import ModelConfig
from soundlora.model.connector import AudioConnector
from soundlora.model.latents import positions, training_latents
from soundlora.model.quantize import multiplies_in_bf16, quantize
from soundlora.model.transformer import AudioTransformer
from soundlora.system.devices import compute_dtype, pick_device
from soundlora.training.flow import loss_per_sample, noisy
from soundlora.training.optimizer import Optimizer
from soundlora.training.trainer import Example, Trainer
from soundlora.weights.base import open_base
from soundlora.weights.full_size import LTX_2_3

SECONDS, RANK = 5.0, 32
STEPS = 2000  # of the run whose steps are measured: on a GPU a run is compiled if it is long enough
GOAL_RATIO, GOAL_PERCENT = 6, 45
NARROW = ("ours, bf16",) if pick_device().type == "cpu" and multiplies_in_bf16() else ()
WAYS = ("ours", *NARROW, "usual", "usual, both")

Step = Callable[[int], None]


def config_of(size: str) -> ModelConfig:
    if size == "nano":
        return open_base("nano").config
    if size == "full":
        return LTX_2_3
    transformer = replace(LTX_2_3.transformer, layers=8, heads=8, context_dim=512)
    return replace(LTX_2_3, transformer=transformer, text=replace(LTX_2_3.text, heads=8))


def build_adapter(config: ModelConfig, device: torch.device, quantization: str | None = None) -> Adapter:
    with device:
        model = AudioTransformer(config.transformer).to(compute_dtype(device)).requires_grad_(False)
    if quantization is not None:
        quantize(model, quantization)
    return Adapter.create(model, RANK)


def our_step(config: ModelConfig, batch: int, quantization: str | None, steps: int) -> Step:
    device = pick_device()
    adapter = build_adapter(config, device, quantization)
    c, tokens = config.transformer, training_latents(SECONDS, config.audio)
    examples = [
        Example(
            str(number),
            torch.randn(tokens, c.in_channels),
            torch.randn(config.text.context_length, c.context_dim).to(compute_dtype(device)),
        )
        for number in range(batch)
    ]
    at_once = batch if device.type == "cuda" else 1
    trainer = Trainer(
        adapter, examples, config.audio, steps=steps, learning_rate=1e-4, seed=0,
        batch_size=batch, at_once=at_once, average=True,
    )  # fmt: skip
    return lambda number: void(trainer.step(number))


def usual_step(config: ModelConfig, batch: int, both: bool) -> Step:
    device = pick_device()
    adapter = build_adapter(config, device)
    adapter.model.checkpointing = True
    dtype = compute_dtype(device)
    widths = [config.text] + ([replace(config.text, heads=2 * config.text.heads)] if both else [])
    with device:
        connectors = [AudioConnector(text).to(dtype) for text in widths]
    optimizer = Optimizer(adapter.parameters(), 1e-4, 1000)
    tokens = training_latents(SECONDS, config.audio)
    rope = adapter.model.rope(positions(tokens, config.audio).to(device))
    length = config.text.context_length
    latents = torch.randn(batch, tokens, config.transformer.in_channels)
    features = [torch.randn(batch, length, text.width).to(dtype) for text in widths]

    def step(number: int) -> None:
        sigma = torch.rand(batch).to(device)
        noise = torch.randn(latents.shape).to(device)
        clean = latents.to(device)
        contexts = [connector.run(f.to(device)) for connector, f in zip(connectors, features, strict=True)]
        context: Tensor = contexts[0]
        timesteps = sigma[:, None].expand(-1, tokens)
        velocity = adapter.model(noisy(clean, noise, sigma), timesteps, sigma, context, rope)
        loss_per_sample(velocity, clean, noise).mean().backward()
        for connector in connectors:
            connector.zero_grad()
        optimizer.step()

    return step


def void(_: object) -> None:
    return None


def build(way: str, size: str, batch: int, steps: int = STEPS) -> Step:
    torch.manual_seed(0)
    config = config_of(size)
    if way.startswith("ours"):
        return our_step(config, batch, way.partition(", ")[2] or None, steps)
    return usual_step(config, batch, way == "usual, both")


def count(step: Step) -> int:
    """Return the number of floating-point operations in a step's matrix products."""

    def product(_: Any, a: tuple[int, ...], b: tuple[int, ...], /, *__: Any, **___: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    # torch does not count sums of products that are in place, or of another type than their factors.
    sums = dict.fromkeys((torch.ops.aten.addmm, torch.ops.aten.addmm_), product)
    with FlopCounterMode(display=False, custom_mapping=sums) as counter:
        step(0)
    return int(counter.get_total_flops())


def seconds_of(action: Callable[[], object]) -> float:
    synchronize()
    began = time.perf_counter()
    action()
    synchronize()
    return time.perf_counter() - began


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class MatrixRate:
    """Measures operations a second of square products, and keeps the best rate."""

    def __init__(self, dtype: torch.dtype) -> None:
        device = pick_device()
        self.n = 8192 if device.type == "cuda" else 1024
        self.a, self.b = (torch.randn(self.n, self.n, device=device).to(dtype) for _ in range(2))
        self.best = 0.0

    def measure(self) -> None:
        self.best = max(self.best, 2 * self.n**3 / seconds_of(lambda: self.a @ self.b))


def measure_times(size: str, steps: int, batch: int) -> dict[str, Any]:
    flop = {way: count(build(way, size, batch, steps=1)) for way in WAYS}  # Compiled calls would not be counted.
    built = {way: build(way, size, batch) for way in WAYS}
    wide = compute_dtype(pick_device())
    rates = {dtype: MatrixRate(dtype) for dtype in (wide, *(torch.bfloat16 for _ in NARROW))}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(steps + 3):
        for way, step in built.items():
            taken = seconds_of(partial(step, number))
            if number >= 3:
                times[way].append(taken)
        for rate in rates.values():
            rate.measure()
    best = {way: rates[torch.bfloat16 if way in NARROW else wide].best for way in WAYS}
    return {"flop": flop, "rates": best, "seconds": times}


def measure_memory(way: str, size: str, batch: int) -> dict[str, Any]:
    """Return the peak of a process that does nothing else, without the memory of imported libraries."""
    if torch.cuda.is_available():
        step = build(way, size, batch)
        for number in range(3):
            step(number)
        return {"bytes": torch.cuda.max_memory_allocated()}
    imports = resident()
    step = build(way, size, batch)
    for number in range(3):
        step(number)
    return {"bytes": peak_resident() - imports}


def in_fresh_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def figures_of(size: str, batch: int, times: dict[str, Any], memory: dict[str, Any]) -> list[Figure]:
    # At full size a table has a column a batch.
    column = f" | batch {batch}" if size == "full" or batch > 1 else ""
    medians = {way: statistics.median(times["seconds"][way]) for way in WAYS}
    figures = []

    def add(name: str, value: float, unit: str, goal: float | None = None) -> None:
        figures.append(Figure(name + column, value, unit, goal if size == "mid" and batch == 1 else None))

    for way in WAYS:
        flop, rate = times["flop"][way], times["rates"][way]
        add(way, medians[way] * 1000, "ms")
        add(f"{way}, best", min(times["seconds"][way]) * 1000, "ms")
        add(f"{way}, work", flop / 1e12, "TFLOP")
        goal = GOAL_PERCENT if way == "ours" else None
        add(f"{way}, share of the matrix rate", 100 * flop / medians[way] / rate, "% of the matrix rate", goal)
        add(f"{way}, memory", memory[way]["bytes"] / MB, "MB")
    for way in ("ours", *NARROW):
        add(f"usual / {way}", medians["usual"] / medians[way], "times", GOAL_RATIO)
        add(f"usual, both / {way}", medians["usual, both"] / medians[way], "times")
        add(f"matrix rate, {way}", times["rates"][way] / 1e12, "TFLOP/s")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=("nano", "mid", "full"), help="full needs a GPU")
    parser.add_argument("--steps", type=int, default=20, help="that are measured, after three that are not")
    parser.add_argument("--batch-size", type=int, default=1)
    add_record(parser)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    batch = arguments.batch_size
    if arguments.part:
        what, size = arguments.part
        timed = what == "times"
        print(json.dumps(measure_times(size, arguments.steps, batch) if timed else measure_memory(what, size, batch)))
        return
    sizes = arguments.sizes or ["nano", "mid", *(["full"] if torch.cuda.is_available() else [])]
    flags = ["--batch-size", str(batch), "--steps", str(arguments.steps)]
    dtype = str(compute_dtype(pick_device())).removeprefix("torch.")
    for size in sizes:
        times = in_fresh_process(*flags, "--part", "times", size)
        memory = {way: in_fresh_process(*flags, "--part", way, size) for way in WAYS}
        title = f"A step, {size}: batch {batch}, clips of {SECONDS:g} s, rank {RANK}, {dtype}, {arguments.steps} each"
        details = {"batch_size": batch, "dtype": dtype, "times": times, "memory": memory}
        report(f"step_{size}", title, figures_of(size, batch, times, memory), details, arguments.record)


if __name__ == "__main__":
    main()
