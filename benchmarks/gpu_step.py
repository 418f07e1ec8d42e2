"""This measures training steps in one process, whatever of them fails: time, memory against the plan, and the calls.

    .venv/bin/python benchmarks/gpu_step.py [--size full] [--batch-size 1] [--ways "ours" "ours, int8"] [--profile]

The ways are those of `benchmarks/step.py`; they take turns, with square products between them, whose best rate is the
matrix rate. The last line is JSON. `benchmarks/gpu.py` calls it for each batch size.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from step import RANK, SECONDS, MatrixRate, Step, build, config_of, seconds_of, synchronize

from soundlora.system.devices import compute_dtype, name_of, pick_device
from soundlora.training.memory_plan import Settings, plan
from soundlora.training.step_time import card_of, least_seconds, work

WAYS = ("ours", "ours, int8", "ours, fp8", "usual")
WARM = 5  # steps of which the last is a recorded one
MOST_CALLS = 25


def settings_of(way: str, batch: int) -> Settings | None:
    """What a way is planned as; there is no plan of the usual one."""
    if not way.startswith("ours"):
        return None
    return Settings(RANK, seconds=SECONDS, clips=batch, dtype=compute_dtype(pick_device()), quantize=quantization(way))


def quantization(way: str) -> str | None:
    return way.partition(", ")[2] or None


def attempt(row: dict[str, Any], what: Callable[[], Any]) -> Any:
    """Return what comes of it, or enter the error into the row: the other ways are measured all the same."""
    try:
        return what()
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        return None


def prepared(row: dict[str, Any], way: str, size: str, batch: int) -> Step:
    """A way after its first steps, whose peak of memory goes to the row."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    step = build(way, size, batch)
    for number in range(WARM):
        step(number)
    synchronize()
    if cuda:
        row["bytes"] = torch.cuda.max_memory_allocated() - before
    if (settings := settings_of(way, batch)) is not None:
        found = plan(config_of(size), settings)
        # The trainer evaluates nothing here, and makes no previews.
        row["planned"] = max(found.step - found.runtime, found.preparation)
        row["flop"] = work(config_of(size), settings)
    return step


def measure(size: str, batch: int, ways: list[str], steps: int, profiled: bool) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {way: {} for way in ways}
    built = {way: attempt(row, partial(prepared, row, way, size, batch)) for way, row in rows.items()}
    rate = MatrixRate(compute_dtype(pick_device()))
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(WARM, WARM + steps):
        for way, step in built.items():
            if step is not None and "error" not in rows[way]:
                taken = attempt(rows[way], partial(seconds_of, partial(step, number)))
                times[way] += [] if taken is None else [taken]
        rate.measure()
    name = name_of(pick_device())
    card = card_of(name)
    for way, taken in times.items():
        row, settings = rows[way], settings_of(way, batch)
        row |= {"median": statistics.median(taken), "best": min(taken)}
        if settings is not None:
            row["share"] = row["flop"] / row["median"] / rate.best
            row["least"] = least_seconds(config_of(size), settings, card) if card else None
    result = {"size": size, "batch": batch, "device": name, "torch": torch.__version__, "rate": rate.best, "ways": rows}
    if profiled and built.get("ours") is not None:
        result["calls"] = attempt(rows["ours"], partial(calls, built["ours"]))
    return result


def calls(step: Step) -> dict[str, Any]:
    """How often each kernel is called in a step, and for how long: those that take longest, and all."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        step(WARM)
        synchronize()
    gpu = torch.cuda.is_available()
    found: dict[str, list[float]] = defaultdict(list)
    for event in profile.events():
        on_device = "CPU" not in str(event.device_type)
        if on_device == gpu:
            found[event.name].append(event.time_range.elapsed_us())
    longest = sorted(found.items(), key=lambda item: -sum(item[1]))[:MOST_CALLS]
    return {
        "count": sum(map(len, found.values())),
        "milliseconds": sum(map(sum, found.values())) / 1000,
        "longest": [{"name": name, "count": len(taken), "milliseconds": sum(taken) / 1000} for name, taken in longest],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("nano", "mid", "full"), default="full")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=10, help=f"that are measured, after {WARM} that are not")
    parser.add_argument("--profile", action="store_true", help="count the calls of a step of ours")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.size, arguments.batch_size, arguments.ways, arguments.steps, arguments.profile)))


if __name__ == "__main__":
    main()
