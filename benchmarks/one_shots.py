"""This benchmark measures what padding is worth for one-shots: a kit is learnt with --short skip, and with --short pad.

    apt-get download hydrogen-drumkits && dpkg -x hydrogen-drumkits_*.deb kits
    .venv/bin/python benchmarks/one_shots.py "kits/usr/share/hydrogen/data/drumkits/Gimme A Hand 1.0" [--record]

The names of the hits are their captions. One hit in six is kept out, of those that are shorter than the bucket. For
their captions each LoRA makes three sounds, which are compared with the hit over its length, as log-mels in nats. It
takes five minutes.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from history import Figure
from table import add_record, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import Array, mel_of
from nano_modes import distance
from unseen import read

from soundlora import Generator, train

BUCKET = 1.0  # seconds
SEEDS = (1, 2, 3)
KEPT_OUT = 6
EXTENSIONS = (".wav", ".flac")
WAYS: dict[str, dict[str, Any]] = {
    "skipped below 1 s": {"duration": BUCKET},
    "skipped below 0.5 s": {"duration": 0.5},
    "padded to 1 s": {"duration": BUCKET, "short": "pad"},
}


def caption_of(path: Path) -> str:
    """Return the words of a file's name: "bongo hi hard" for BongoHi-Hard.wav."""
    words = re.findall(r"[A-Z]?[a-z]+", path.stem)
    return " ".join(words).lower()


def split(kit: Path) -> tuple[list[Path], list[Path]]:
    """Return the hits to train on, and the short ones that are kept out."""
    hits = sorted(path for path in kit.iterdir() if path.suffix in EXTENSIONS)
    short = [path for path in hits if 0.1 <= soundfile.info(path).duration < 0.5]
    out = short[KEPT_OUT // 2 :: KEPT_OUT]
    return [path for path in hits if path not in out], out


def dataset(hits: list[Path], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in hits:
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / path.name).with_suffix(".txt").write_text(caption_of(path))
    return folder


def distances(generator: Generator, hits: list[Path]) -> list[float]:
    """Return how far the sounds made for each hit's caption are from it, over its length, peaks at one level."""
    found = []
    for path in hits:
        hit = read(path)
        truth = mel_of(_level(hit))
        for seed in SEEDS:
            sound = generator(caption_of(path), seed=seed, duration=BUCKET)
            made = mel_of(_level(np.ascontiguousarray(sound.waveform.expand(2, -1).numpy()[:, : hit.shape[1]])))
            found.append(distance(made, truth))
    return found


def _level(sound: Array) -> Array:
    scaled: Array = sound / max(float(np.abs(sound).max()), 1e-6)
    return scaled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    add_record(parser)
    arguments = parser.parse_args()
    trained, kept_out = split(arguments.kit)
    raw: dict[str, Any] = {"the base": distances(Generator(), kept_out)}
    figures = [Figure("the base alone, from the hits", float(np.mean(raw["the base"])), "nats")]
    with tempfile.TemporaryDirectory() as temporary:
        data = dataset(trained, Path(temporary, "data"))
        for name, settings in WAYS.items():
            out = Path(temporary, name)
            result = train(data, out, steps=arguments.steps, validation_prompts=[], hold_out=0, **settings)
            raw[name] = distances(Generator(loras=[(result.lora, 1.0)]), kept_out)
            print(name, len(result.report.kept), np.mean(raw[name]), flush=True)
            figures.append(Figure(f"{name}: hits trained on", len(result.report.kept), "clips"))
            figures.append(Figure(f"{name}: from the hits", float(np.mean(raw[name])), "nats"))
    report("one_shots", f"One-shots on nano, {arguments.steps} steps", figures, raw, arguments.record)


if __name__ == "__main__":
    main()
