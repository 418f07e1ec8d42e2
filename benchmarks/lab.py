"""This benchmark is the laboratory: what each setting does to what a LoRA of nano learns, one factor at a time.

    .venv/bin/python benchmarks/lab.py --recordings FOLDER [--minutes 120] [--factors rank …] [--seeds 3] [--record]

FOLDER is that of benchmarks/nano_quality.py. Every level of a factor is trained on the eight unseen sounds of
recipes/nano/unseen.py with each seed, and differs from the defaults in that level alone. A process a core does one run
after the other. What is done stands in benchmarks/lab.jsonl, so that a later call goes on; the one that finds
everything done only prints.

The score of a run is how far the statistics of its sounds lie from those of the clips, as a share of the base's; 0 is
their centre. Levels are held against the defaults sound by sound and seed by seed: a difference whose interval of 1.96
standard errors has 0 in it is called noise. "kept" is the share of other families' prompts that are still judged
theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from history import Figure
from nano_quality import TRIGGER, Sounds
from table import add_record, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import mel_of, statistics
from sounds import FAMILIES
from unseen import RATE, Unseen, read, recorded, synthesised, write

from soundlora import Generator, LoraUse, train

STEPS, SECONDS = 400, 2.5
TAKES, OTHERS = 4, 6
STRENGTHS = (1.0, 0.6)
DONE = Path(__file__).with_name("lab.jsonl")
DEFAULTS = "defaults"

FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    DEFAULTS: {DEFAULTS: {}},
    "targets": {"attention": {"targets": "attention"}, "self-ff": {"targets": "self-ff"}},
    "rank": {"4": {"rank": 4}, "8": {"rank": 8}, "128": {"rank": 128}},
    "rate": {"5e-5": {"learning_rate": 5e-5}, "1e-3": {"learning_rate": 1e-3}},
    "steps": {"100": {"steps": 100}, "1600": {"steps": 1600}},
    "batch": {"4, as many clips": {"batch_size": 4, "steps": STEPS // 4}, "4": {"batch_size": 4}},
    "averaging": {"none": {"average": False}},
    "noise levels": {"uniform": {"noise_levels": "uniform"}, "low": {"noise_levels": "0:0.5"},
                     "high": {"noise_levels": "0.5:1"}},
    "schedule": {"constant": {"schedule": "constant"}, "cosine": {"schedule": "cosine"}, "warm-up": {"warmup": 50}},
    "scale": {"rsLoRA": {"rslora": True}, "B at 16 times the rate": {"b_rate": 16.0}},
    "optimizer": {"adafactor": {"optimizer": "adafactor"}, "prodigy": {"optimizer": "prodigy", "learning_rate": 1.0},
                  "schedulefree": {"optimizer": "schedulefree"}},
    "guarding": {"preserve 0.2": {"preserve": 0.2}},
    "dropout": {"caption 0.1": {"caption_dropout": 0.1}},
    "bucket": {"1 s": {"duration": 1.0}, "5 s": {"duration": 5.0}},
    "clips": {"3": {"_clips": 3}, "5": {"_clips": 5}},
    "captions": {"one each": {"_captions": "each"}, "no trigger": {"trigger_phrase": ""}},
}  # fmt: skip
"""Factor → level → what it changes. Names with a line in front are changes of the clips."""


def runs(factors: list[str], seeds: int) -> Iterator[tuple[str, str, str, int]]:
    """Yield (factor, level, sound, seed) in an order in which an early end leaves whole levels."""
    names = [sound.name for sound in synthesised()] + ["tabla", "blips", "talk box", "announcements"]
    for factor in dict.fromkeys((DEFAULTS, *factors)):
        for level in FACTORS[factor]:
            for seed in range(seeds):
                yield from ((factor, level, name, seed) for name in names)


def found() -> dict[tuple[str, str, str, int], dict[str, float]]:
    if not DONE.exists():
        return {}
    lines = [json.loads(line) for line in DONE.read_text().splitlines()]
    return {tuple(line["run"]): line["figures"] for line in lines}


def one(factor: str, level: str, name: str, seed: int, recordings: Path, judge: Path) -> dict[str, float]:
    """Train and hear one run. judge: a file with the scale and the means of the families' statistics."""
    torch.set_num_threads(1)
    target = next(sound for sound in synthesised() + recorded(recordings) if sound.name == name)
    change = dict(FACTORS[factor][level])
    known = np.load(judge)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        clips = clips_of(target, root / "clips", change.pop("_clips", None), change.pop("_captions", None))
        settings: dict[str, Any] = {
            "steps": STEPS,
            "duration": SECONDS,
            "seed": seed,
            "trigger_phrase": TRIGGER,
        } | change
        began = time.time()
        train(clips, root / "run", validation_prompts=[], hold_out=0, cache=root / "cache", **settings)
        seconds = time.time() - began
        real = [statistics(mel_of(read(path)[:, : round(SECONDS * RATE)])) for path in sorted(clips.glob("*.wav"))]
        prompt = f"{settings['trigger_phrase']} {target.caption}".strip()
        figures = {"seconds": seconds}
        base = distance(heard(Generator(), prompt), real, known["scale"])
        for strength in STRENGTHS:
            generator = Generator(loras=[LoraUse(str(root / "run" / "lora.safetensors"), strength)])
            figures[f"score at {strength:g}"] = distance(heard(generator, prompt), real, known["scale"]) / base
            if strength == 1:
                figures["kept"] = kept(generator, known["means"], known["scale"])
    return figures


def clips_of(target: Unseen, folder: Path, count: int | None, captions: str | None) -> Path:
    """Write the clips of a sound, the first `count` of them, with one caption for all or one for each."""
    write(target, folder)
    for number, path in enumerate(sorted(folder.glob("*.wav"))):
        text = path.with_suffix(".txt")
        if count is not None and number >= count:
            path.unlink()
            text.unlink()
        elif captions == "each":
            text.write_text(f"{target.caption}, take {number + 1}")
    return folder


def heard(generator: Generator, prompt: str) -> list[Any]:
    takes = generator.takes(prompt, range(TAKES), duration=SECONDS)
    return [statistics(mel_of(take.waveform.numpy())) for take in takes]


def distance(rows: list[Any], real: list[Any], scale: Any) -> float:
    """Return how far the mean statistics of sounds lie from those of the clips, in deviations over all families."""
    return float(np.sqrt(np.square((np.mean(rows, axis=0) - np.mean(real, axis=0)) / scale).mean()))


def kept(generator: Generator, means: Any, scale: Any) -> float:
    """Return the share of other families whose sound still lies nearest to its own family's mean."""
    chosen = range(0, len(FAMILIES), len(FAMILIES) // OTHERS)
    right = 0
    for number in chosen:
        row = statistics(mel_of(generator(FAMILIES[number], seed=7, duration=SECONDS).waveform.numpy()))
        right += int(np.sqrt(np.square((means - row) / scale).mean(axis=1)).argmin()) == number
    return right / len(chosen)


def work(key: tuple[str, str, str, int], recordings: Path, judge: Path, until: float) -> None:
    """Do a run in a process of its own, and write it down."""
    if time.time() > until:
        return
    arguments = [sys.executable, __file__, "--recordings", str(recordings), "--one", json.dumps([*key, str(judge)])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{key}: failed", flush=True)
        return
    figures = json.loads(done.stdout.splitlines()[-1])
    with DONE.open("a") as file:
        file.write(json.dumps({"run": key, "figures": figures}) + "\n")
    print(*key, {name: round(value, 2) for name, value in figures.items()}, flush=True)


def compared(
    results: dict[tuple[str, str, str, int], dict[str, float]], name: str
) -> dict[str, tuple[float, float, int]]:
    """Return for each level the mean of a figure less that of the defaults, its interval, and the number of pairs."""
    table: dict[str, tuple[float, float, int]] = {}
    for factor, levels in FACTORS.items():
        for level in levels:
            pairs = [
                figures[name] - results[DEFAULTS, DEFAULTS, sound, seed][name]
                for (a, b, sound, seed), figures in results.items()
                if (a, b) == (factor, level) and (DEFAULTS, DEFAULTS, sound, seed) in results
            ]
            if factor != DEFAULTS and len(pairs) > 1:
                interval = 1.96 * float(np.std(pairs, ddof=1)) / len(pairs) ** 0.5
                table[f"{factor}: {level}"] = float(np.mean(pairs)), interval, len(pairs)
    return table


def figures_of(results: dict[tuple[str, str, str, int], dict[str, float]]) -> list[Figure]:
    plain = [figures for key, figures in results.items() if key[0] == DEFAULTS]
    names = ("score at 1", "score at 0.6", "kept")
    figures = [Figure(f"defaults, {name}", float(np.mean([each[name] for each in plain])), "") for name in names]
    for name in names:
        for level, (mean, interval, count) in compared(results, name).items():
            sure = "" if abs(mean) > interval else ", noise"
            figures.append(Figure(f"{level}, {name}, {count} pairs, ± {interval:.2f}{sure}", mean, "more"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--factors", nargs="+", choices=list(FACTORS), default=list(FACTORS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    add_record(parser)
    arguments = parser.parse_args()
    if arguments.one:
        factor, level, name, seed, judge = json.loads(arguments.one)
        print(json.dumps(one(factor, level, name, seed, arguments.recordings, Path(judge))))
        return
    until = time.time() + 60 * arguments.minutes
    left = [key for key in runs(arguments.factors, arguments.seeds) if key not in found()]
    if left:
        judge = DONE.parent / "results" / "lab_judge.npz"
        if not judge.exists():
            judge.parent.mkdir(exist_ok=True)
            sounds = Sounds()
            np.savez(judge, scale=sounds.scale, means=sounds.means)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda key: work(key, arguments.recordings, judge, until), left))
    results = found()
    raw = {" · ".join(map(str, key)): figures for key, figures in results.items()}
    report("lab", "What settings do to LoRAs of nano.", figures_of(results), raw, arguments.record)


if __name__ == "__main__":
    main()
