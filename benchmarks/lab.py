"""This benchmark is the laboratory: what each setting does to what a LoRA of nano learns, one factor at a time.

    .venv/bin/python benchmarks/lab.py --recordings FOLDER [--minutes 120] [--factors rank …] [--seeds 3]
        [--base nano] [--record]

FOLDER is that of benchmarks/nano_quality.py. Every level of a factor is trained on the eight unseen sounds of
recipes/nano/unseen.py with each seed, and differs from the defaults in that level alone. A process a core does one run
after the other. What is done stands in benchmarks/lab.jsonl, so that a later call goes on; the one that finds
everything done only prints. Runs of one table are of one base. The table that is there is that of nano before its
decoder learnt silence: `git show 1eb3ca5:src/soundlora/nano/base/nano.safetensors` has it, for --base.

The score of a run is how far the statistics of its sounds lie from those of the clips, as a share of the base's; 0 is
their centre. Levels are held against the defaults sound by sound and seed by seed: a difference whose interval of 1.96
standard errors has 0 in it is called noise. "moved" is how far the sounds of other families' names, without the
trigger, have come from the base's own of the same seed, as a share of how far two seeds of the base lie apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from history import Figure
from nano_quality import TRIGGER
from table import add_record, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import mel_of, rendered, statistics
from sounds import FAMILIES
from unseen import RATE, read, recorded, synthesised, write

from soundlora import Generator, LoraUse, train
from soundlora.model.mel import resample
from soundlora.system.whole_files import whole
from soundlora.weights.base import open_base

STEPS, SECONDS = 400, 2.5
TAKES, OTHERS = 3, 4
EAR_RATE = 16_000  # Hz
STRENGTHS = (1.0, 0.6)
UNIT = "of the base's"
HEARD = 24  # renderings of each family
DONE = Path(__file__).with_name("lab.jsonl")
SCALE = Path(__file__).with_name("lab_scale.npy")
RESULTS = Path(__file__).parent / "results"
TAKES_OF = RESULTS / "lab_takes"
DEFAULTS = "defaults"
BASE = "c3b27a9b088d9ec46ab97ccfc75b3c354b9d7e066787b1f5b5149ada51de42aa"
"""The hash of the base that the table is of. A new table begins with an empty lab.jsonl, and another hash here."""

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
    "adapter": {"DoRA": {"adapter": "dora"}, "LoKr": {"adapter": "lokr"}},
    "weighting": {"cosmap": {"weighting": "cosmap"}},
    "guarding": {"preserve 0.2": {"preserve": 0.2}},
    "dropout": {"caption 0.1": {"caption_dropout": 0.1}},
    "bucket": {"1 s": {"duration": 1.0}, "5 s": {"duration": 5.0}},
    "clips": {"3": {"_clips": 3}, "5": {"_clips": 5}},
    "captions": {"one each": {"_captions": "each"}, "no trigger": {"trigger_phrase": ""}},
    "together": {"the best three": {"rank": 128, "steps": 1600, "optimizer": "prodigy", "learning_rate": 1.0}},
}  # fmt: skip
"""Factor → level → what it changes. Names with a line in front are changes of the clips."""
TAKEN_OUT = {("weighting", "cosmap"), ("adapter", "DoRA"), ("schedule", "cosine"), ("schedule", "warm-up")}
"""Levels that did nothing, and are settings no more. Their runs stay in the table."""


def runs(factors: list[str], seeds: int) -> Iterator[tuple[str, str, str, int]]:
    """Yield (factor, level, sound, seed) in an order in which an early end leaves every level with whole seeds."""
    names = [sound.name for sound in synthesised()] + ["tabla", "blips", "talk box", "announcements"]
    for seed in range(seeds):
        for factor in dict.fromkeys((DEFAULTS, *factors)):
            for level in FACTORS[factor]:
                if (factor, level) not in TAKEN_OUT:
                    yield from ((factor, level, name, seed) for name in names)


def found() -> dict[tuple[str, str, str, int], dict[str, float]]:
    if not DONE.exists():
        return {}
    lines = [json.loads(line) for line in DONE.read_text().splitlines()]
    return {tuple(line["run"]): line["figures"] for line in lines}


def scale_of_families() -> Any:
    """Return (figures,): how much each of the statistics differs over renderings of all families."""
    rows = [statistics(rendered(name, (31, f, n))) for f, name in enumerate(FAMILIES) for n in range(HEARD)]
    return np.std(rows, axis=0) + 0.05


def one(
    factor: str, level: str, name: str, seed: int, recordings: Path, until: float, base_name: str
) -> dict[str, float] | None:
    """Train and hear one run. Returns None when it is too late to begin."""
    if time.time() > until:
        return None
    target = next(sound for sound in synthesised() + recorded(recordings) if sound.name == name)
    change = dict(FACTORS[factor][level])
    scale = np.load(SCALE)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write(target, root / "clips")
        clips = sorted((root / "clips").glob("*.wav"))
        real = [statistics(mel_of(read(path)[:, : round(SECONDS * RATE)])) for path in clips]
        change_clips(clips, change.pop("_clips", len(clips)), change.pop("_captions", "one"))
        settings: dict[str, Any] = {
            "steps": STEPS,
            "duration": SECONDS,
            "seed": seed,
            "trigger_phrase": TRIGGER,
            "base": base_name,
        } | change
        began = time.time()
        train(root / "clips", root / "run", validation_prompts=[], hold_out=0, cache=RESULTS / "lab_cache", **settings)
        seconds = time.time() - began
        prompt = f"{settings['trigger_phrase']} {target.caption}".strip()
        figures = {"seconds": seconds}
        base = distance(heard(Generator(base_name), prompt, TAKES_OF / f"base {prompt}.npz"), real, scale)
        for strength in STRENGTHS:
            generator = Generator(base_name, [LoraUse(str(root / "run" / "lora.safetensors"), strength)])
            takes = TAKES_OF / f"{factor} {level} {name} {seed} {strength:g}.npz"
            figures[f"score at {strength:g}"] = distance(heard(generator, prompt, takes), real, scale) / base
            if strength == 1:
                figures["moved"] = moved(generator, base_name, scale)
    return figures


def change_clips(clips: list[Path], count: int, captions: str) -> None:
    """Leave the first `count` clips, with one caption for all or one for each."""
    for number, path in enumerate(clips):
        text = path.with_suffix(".txt")
        if number >= count:
            path.unlink()
            text.unlink()
        elif captions == "each":
            text.write_text(f"{text.read_text().strip()}, take {number + 1}")


def heard(generator: Generator, prompt: str, kept_as: Path, count: int = TAKES) -> list[Any]:
    """Return the statistics of each take. The takes are kept for other ears as (takes, samples) of 16 bits at 16 kHz.

    Takes that are there already are not made again.
    """
    if not kept_as.exists():
        takes = [take.waveform for take in generator.takes(prompt, range(count), duration=SECONDS)]
        rows = np.stack([statistics(mel_of(take.numpy())) for take in takes])
        low = torch.stack([resample(take, RATE, EAR_RATE).mean(dim=0) for take in takes]).clamp(-1, 1)
        kept_as.parent.mkdir(parents=True, exist_ok=True)
        with whole(kept_as) as unfinished, unfinished.open("wb") as file:
            np.savez(file, statistics=rows, takes=(low * 32767).to(torch.int16).numpy())
    return list(np.load(kept_as)["statistics"])


def distance(rows: list[Any], real: list[Any], scale: Any) -> float:
    """Return how far the mean statistics of sounds lie from those of the clips, in deviations over all families."""
    return float(np.sqrt(np.square((np.mean(rows, axis=0) - np.mean(real, axis=0)) / scale).mean()))


def moved(generator: Generator, base_name: str, scale: Any) -> float:
    """Return how far the sounds of other prompts are from the base's own, as a share of how far its seeds are apart."""
    place = TAKES_OF / "base others.npz"
    if not place.exists():
        base = [others(Generator(base_name), seed) for seed in (7, 8)]
        with whole(place) as unfinished, unfinished.open("wb") as file:
            np.savez(file, base=base)
    base = np.load(place)["base"]
    apart = np.square((base[0] - base[1]) / scale).mean()
    return float(np.sqrt(np.square((others(generator, 7) - base[0]) / scale).mean() / apart))


def others(generator: Generator, seed: int) -> Any:
    prompts = FAMILIES[:: len(FAMILIES) // OTHERS][:OTHERS]
    sounds = [generator(prompt, seed=seed, duration=1.0) for prompt in prompts]
    return np.stack([statistics(mel_of(sound.waveform.numpy())) for sound in sounds])


def work(keys: list[tuple[str, str, str, int]], recordings: Path, processes: int, until: float, base_name: str) -> None:
    """Do runs, and write each down. A process does one after the other, with one thread."""
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        left = {pool.submit(one, *key, recordings, until, base_name): key for key in keys}
        for done in as_completed(left):
            key = left[done]
            if error := done.exception():
                print(*key, f"failed: {error}", flush=True)
                continue
            figures = done.result()
            if figures is None:
                continue
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
    names = ("score at 1", "score at 0.6", "moved")
    figures = [Figure(f"defaults, {name}", float(np.mean([each[name] for each in plain])), UNIT) for name in names]
    for name in names:
        for level, (mean, interval, count) in compared(results, name).items():
            sure = "" if abs(mean) > interval else ", noise"
            figures.append(Figure(f"{level}, {name}, {count} pairs, ± {interval:.2f}{sure}", mean, UNIT))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--factors", nargs="+", choices=list(FACTORS), default=list(FACTORS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    add_record(parser)
    arguments = parser.parse_args()
    until = time.time() + 60 * arguments.minutes
    left = [key for key in runs(arguments.factors, arguments.seeds) if key not in found()]
    if left:
        if open_base(arguments.base).hash != BASE:
            parser.error("lab.jsonl has runs of another base than this --base; the first lines of lab.py say of which.")
        if not SCALE.exists():
            found_scale = scale_of_families()
            with whole(SCALE) as unfinished, unfinished.open("wb") as file:
                np.save(file, found_scale)
        work(left, arguments.recordings, arguments.processes, until, arguments.base)
    results = found()
    raw = {" · ".join(map(str, key)): figures for key, figures in results.items()}
    report("lab", "What settings do to LoRAs of nano.", figures_of(results), raw, arguments.record)


if __name__ == "__main__":
    main()
