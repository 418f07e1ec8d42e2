"""This benchmark asks how near LoRAs of nano come to four real sounds, at the bucket in which the takes are heard.

    .venv/bin/python benchmarks/nano_apart.py --recordings FOLDER [--ears EARS] [--seeds 2] [--base nano] [--record]

FOLDER is that of benchmarks/nano_quality.py, EARS that of benchmarks/ears.py. Each of the four real sounds of
recipes/nano/unseen.py is learnt from ten clips for 800 steps in a bucket of 2.5 s, once with each seed, and each LoRA
gives eight takes. The score is that of benchmarks/lab.py: 0 is the clips' own centre, 1 is no nearer than the base. A
take is told when it lies nearer to the clips of its sound than to those of any other of the eight unseen sounds, and
than to the base's takes; a clip, when it lies nearer to the other clips of its sound. The spread is how far takes lie
from their mean, as a share of how far clips lie from theirs.
With EARS, musicnn says the score, too. Takes are kept in benchmarks/results/nano_apart, so that a later call goes on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ears
import lab
import numpy as np
import torch
from ear_networks import EARS, Ear
from ears import apart, clips_of
from history import Figure
from nano_quality import TRIGGER
from numpy.typing import NDArray
from table import add_record, report
from unseen import Unseen, recorded, synthesised, write

from soundlora import Generator, LoraUse, train
from soundlora.weights.base import open_base

STEPS, TAKES = 800, 8
KEPT = lab.RESULTS / "nano_apart"
BASE = "base"

Heard = tuple[NDArray[np.float32], NDArray[np.int16]]
"""Statistics of some sounds, in deviations over all families, and the sounds themselves as an ear takes them."""


def takes(target: Unseen, base: str, loras: list[LoraUse], kept_as: Path) -> Heard:
    """Return eight takes of a sound. Those that are kept already are not made again."""
    if not kept_as.exists():
        lab.heard(Generator(base, loras), f"{TRIGGER} {target.caption}", kept_as, TAKES)
    kept = np.load(kept_as)
    return kept["statistics"] / np.load(lab.SCALE), kept["takes"]


def learnt(target: Unseen, base: str, seeds: int) -> Iterator[tuple[str, Heard]]:
    """Yield what a LoRA makes of the sound, by seed and strength, training those that are not kept."""
    place = KEPT / open_base(base).hash[:8]
    yield BASE, takes(target, base, [], place / f"{target.name} base.npz")
    for seed in range(seeds):
        names = {strength: place / f"{target.name} {seed} {strength:g}.npz" for strength in lab.STRENGTHS}
        with tempfile.TemporaryDirectory() as temporary:
            lora = Path(temporary) / "run" / "lora.safetensors"
            if not all(name.exists() for name in names.values()):
                write(target, Path(temporary) / "clips")
                train(
                    Path(temporary) / "clips", Path(temporary) / "run", base=base, steps=STEPS, duration=lab.SECONDS,
                    seed=seed, trigger_phrase=TRIGGER, validation_prompts=[], hold_out=0, check=False,
                )  # fmt: skip
            for strength, name in names.items():
                yield f"{strength:g}", takes(target, base, [LoraUse(str(lora), strength)], name)


def told(rows: NDArray[np.float32], own: NDArray[np.float32], others: list[NDArray[np.float32]]) -> float:
    """Return the share of rows that lie nearer to the mean of their own sound than to any other mean."""
    far = [np.linalg.norm(rows - other.mean(axis=0), axis=1) for other in others]
    return float(np.mean(np.linalg.norm(rows - own.mean(axis=0), axis=1) < np.min(far, axis=0)))


def spread(rows: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean())


def hear(ear: Ear, sounds: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.stack([ear(torch.from_numpy(sound.astype(np.float32) / 32767)) for sound in sounds])


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return by sound the means over seeds of what is measured, by name."""
    ear = EARS["timbre"](arguments.ears) if arguments.ears else None
    every = synthesised() + recorded(arguments.recordings)
    heard = {sound.name: clips_of(sound.name, arguments.recordings) for sound in every}
    centres = {name: rows / np.load(lab.SCALE) for name, (_, rows) in heard.items()}
    found: dict[str, dict[str, float]] = {}
    for target in every:
        if not target.real:
            continue
        clips = centres[target.name]
        by_ear = None if ear is None else hear(ear, heard[target.name][0])
        figures: dict[str, list[float]] = {}
        base: Heard | None = None
        for name, made in learnt(target, arguments.base, arguments.seeds):
            base = made if base is None else base
            if name == BASE:
                continue
            others = [rows for other, rows in centres.items() if other != target.name] + [base[0]]
            each = {
                "score": apart(made[0], clips) / apart(base[0], clips),
                "told": told(made[0], clips, others),
                "spread": spread(made[0]) / spread(clips),
            }
            if ear is not None and by_ear is not None:
                each["timbre"] = apart(hear(ear, made[1]), by_ear) / apart(hear(ear, base[1]), by_ear)
            for figure, value in each.items():
                figures.setdefault(f"{figure} at {name}", []).append(value)
        found[target.name] = {name: float(np.mean(values)) for name, values in figures.items()}
        found[target.name]["clips told"] = ears.told(
            clips, [rows.mean(axis=0) for name, rows in centres.items() if name != target.name]
        )
        print(target.name, {name: round(value, 2) for name, value in found[target.name].items()}, flush=True)
    return found


def figures_of(found: dict[str, dict[str, float]]) -> list[Figure]:
    figures = []
    for name in next(iter(found.values())):
        values = [each[name] for each in found.values()]
        share = "told" in name
        unit, scale = ("% right", 100.0) if share else (lab.UNIT if "spread" not in name else "of the clips'", 1.0)
        goal: Any = {"score at 1": 0.25, "told at 1": 75}.get(name)
        figures.append(Figure(f"{name}, mean of four", scale * float(np.mean(values)), unit, goal))
        if not share:
            worst = max(values) if "spread" not in name else min(values)
            word = "largest" if "spread" not in name else "smallest"
            figures.append(Figure(f"{name}, {word}", worst, unit, 0.5 if name == "score at 1" else None))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--ears", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--base", default="nano")
    add_record(parser)
    arguments = parser.parse_args()
    found = measure(arguments)
    title = f"What LoRAs learn of four real sounds, {arguments.seeds} seeds"
    report("nano apart", title, figures_of(found), found, arguments.record)


if __name__ == "__main__":
    main()
