"""This benchmark times sounds of 5 s on a server with nano: the first, later ones, and some during a training.

    .venv/bin/python benchmarks/warm.py [--repeats 5] [--record]

It asks as the page does, and stops the clock when the result is there. Server, worker and this program share the
machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from history import Figure
from service_load import ADDRESS, Server, ask
from table import add_record, report

ENDPOINT = "fal-ai/ltx-2.3-quality"
TRAINER = "fal-ai/ltx23-trainer-v2/t2a"
CLIPS = Path(__file__).parents[1] / "examples" / "clips"
GOAL, SLOWER = 1.5, 2.0  # seconds, and times as long beside a training
STEPS = 20_000  # of the training, which is cancelled


def generated(seed: int, prompt: str = "rain on a tin roof") -> float:
    """Return the seconds from the request to its result."""
    sound = {"prompt": prompt, "num_frames": 125, "frames_per_second": 25, "seed": seed}
    began = time.perf_counter()
    request = ask(f"{ENDPOINT}/text-to-audio", sound)["request_id"]
    # The stream ends when the request does. To ask again and again would take the processor from the generation.
    with urllib.request.urlopen(f"{ADDRESS}/{ENDPOINT}/requests/{request}/status/stream", timeout=300) as stream:
        stream.read()
    if "audio" not in ask(f"{ENDPOINT}/requests/{request}"):
        raise RuntimeError("there is no sound")
    return time.perf_counter() - began


def begun_training() -> str:
    """Start a training on the example clips, and return its id once it takes steps."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(CLIPS.iterdir()):
            archive.write(path, path.name)
    data = "data:application/zip;base64," + base64.b64encode(content.getvalue()).decode()
    asked = {"training_data_url": data, "number_of_steps": STEPS, "audio_duration_seconds": 3, "validation": []}
    request: str = ask(TRAINER, asked)["request_id"]
    while speed(request) is None:
        time.sleep(0.2)
    return request


def speed(run: str) -> float | None:
    """Return a training's steps a second, or None before its first."""
    progress: dict[str, Any] = ask(f"v1/runs/{run}")["progress"] or {}
    return progress.get("steps_per_second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    add_record(parser)
    arguments = parser.parse_args()
    server = Server()
    try:
        first = generated(0)
        warm = [generated(seed) for seed in range(1, arguments.repeats + 1)]
        new = [generated(1, f"rain on {what}") for what in ("a tent", "a car", "leaves")]
        run = begun_training()
        time.sleep(10)
        alone = speed(run)
        beside = []
        for seed in range(arguments.repeats):
            beside.append(generated(seed))
            time.sleep(2)
        ask(f"fal-ai/ltx23-trainer-v2/requests/{run}/cancel", method="PUT")
    finally:
        server.stop()
    ratio = statistics.median(beside) / statistics.median(warm)
    figures = [
        Figure("the first sound, with the base's loading", first, "s"),
        Figure("a later sound, median", statistics.median(warm), "s", GOAL),
        Figure("a later sound with a new prompt, median", statistics.median(new), "s"),
        Figure("a sound beside a training, median", statistics.median(beside), "s"),
        Figure("a sound beside a training, against a later sound", ratio, "times as long", SLOWER),
    ]
    raw = {"first": first, "later": warm, "new_prompt": new, "beside": beside, "steps_per_second": alone}
    report("warm", "Sounds of 5 s with nano from a server", figures, raw, arguments.record)


if __name__ == "__main__":
    main()
