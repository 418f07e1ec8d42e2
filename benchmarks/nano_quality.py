"""This benchmark measures how good nano is, and what a LoRA learns on it. It takes an hour and a half.

    .venv/bin/python benchmarks/nano_quality.py --recordings FOLDER [--base nano] [--parts codec families …] [--record]

FOLDER holds the unpacked Debian packages sonic-pi-samples and sound-theme-freedesktop, which no training has heard.
recipes/nano/unseen.py says how to get them. The judge hears finished sound, as a user does, by its log-mel at 16 kHz.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from history import Figure
from table import add_record, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import MEASURES, Array, Judge, mel_of, rendered, statistics
from sizes import AUDIBLE
from sounds import FAMILIES, caption, draw_attributes
from sounds.registry import REGISTRY
from unseen import RATE, Unseen, read, recorded, synthesised, write

from soundlora import Generator, train
from soundlora.weights.base import open_base

CPU = torch.device("cpu")
FIT, HELD = 144, 12  # renderings of each family that the judge learns from, and those that it is tested on
LOUD = 1e-3  # recordings below this peak are silence
TRIGGER, STEPS, SEEDS = "sndx", 1000, 5
OTHER_FAMILIES = 10  # prompts without the trigger for each LoRA


class Sounds:
    """Real renderings of every family, and the judge that knows them."""

    def __init__(self) -> None:
        began = time.time()
        mels = [[rendered(family, (31, f, n)) for n in range(FIT + HELD)] for f, family in enumerate(FAMILIES)]
        fitted = (mel for family in mels for mel in family[:FIT])
        self.judge = Judge(fitted, np.repeat(np.arange(len(FAMILIES)), FIT), FAMILIES)
        held = [(family, mel) for family, m in zip(FAMILIES, mels, strict=True) for mel in m[FIT:]]
        self.accuracy = float(np.mean([self.judge.nearest(mel) == family for family, mel in held]))
        table = np.stack([[statistics(mel) for mel in family] for family in mels])
        self.scale = table.reshape(-1, table.shape[-1]).std(axis=0) + 0.05
        self.means = table.mean(axis=1)
        print(
            f"{len(FAMILIES)} families rendered in {time.time() - began:.0f} s; judge {self.accuracy:.1%}", flush=True
        )

    def distance(self, a: Array, b: Array) -> float:
        """Return the distance of two rows of statistics, in deviations over all families."""
        return float(np.sqrt(np.square((a - b) / self.scale).mean()))


def sound(generator: Generator, prompt: str, seed: int) -> Array:
    """Return the log-mel of generated sound, at the base's own sampling."""
    return mel_of(generator(prompt, seed=seed).waveform.numpy())


def measure_codec(base_name: str, recordings: Path) -> dict[str, Any]:
    """Return the mean log-mel L1 on audible bins. It covers the first 10 s of recordings of half a second and more."""
    base = open_base(base_name)
    codec = base.codec(CPU, encoder=True, decoder=True)
    paths = sorted(path for path in recordings.rglob("*") if path.suffix in (".flac", ".oga"))
    whole, vae_only = [], []
    for path in paths:
        waveform = read(path)[:, : 10 * RATE]
        if waveform.shape[1] < RATE // 2 or np.abs(waveform).max() < LOUD:
            continue
        mel = mel_of(waveform)
        mel = mel[:, : (mel.shape[1] - 1) // 4 * 4 + 1]
        with torch.inference_mode():
            decoded = codec.vae.decoder(codec.vae.encoder(torch.from_numpy(mel)[None]))
            assert codec.vocoder is not None
            out = mel_of(codec.vocoder(decoded)[0].numpy())[:, : mel.shape[1]]
        mask = mel > AUDIBLE
        whole.append(float(np.abs(out - mel)[mask].mean()))
        vae_only.append(float(np.abs(decoded[0].numpy() - mel)[mask].mean()))
    return {"recordings": len(whole), "codec": float(np.mean(whole)), "vae": float(np.mean(vae_only))}


def measure_families(generator: Generator, sounds: Sounds, prompts: int) -> dict[str, Any]:
    """Return the share of captions whose sound the judge takes for their family. Captions are new for every family."""
    taken: dict[str, list[str]] = {}
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng((41, number))
        texts = [caption(family, draw_attributes(family, rng), rng) for _ in range(prompts)]
        taken[family] = [sounds.judge.nearest(sound(generator, text, seed)) for seed, text in enumerate(texts)]
        print(f"{family:20} {taken[family].count(family)}/{prompts}  {', '.join(taken[family])}", flush=True)
    share = float(np.mean([name == family for family, names in taken.items() for name in names]))
    return {"right": share, "taken_for": taken}


def measure_attributes(generator: Generator, pairs: int) -> dict[str, Any]:
    """Return the share of pairs with the same seed whose order is as prompted.

    Only attributes count whose measure orders real renderings surely.
    """
    results: dict[str, list[float]] = {name: [] for name in MEASURES}
    for number, family in enumerate(FAMILIES):
        for name, measure in MEASURES.items():
            if name not in REGISTRY[family].choices:
                continue
            less, more = REGISTRY[family].choices[name]
            real = [
                measure(rendered(family, (51, number, n), attributes={name: more}))
                > measure(rendered(family, (51, number, n), attributes={name: less}))
                for n in range(6)
            ]
            if sum(real) < len(real):
                print(f"{name:10} {family:20} left out: real renderings in order {sum(real)} of {len(real)}")
                continue
            right = [
                measure(sound(generator, f"{more} {family}", seed))
                > measure(sound(generator, f"{less} {family}", seed))
                for seed in range(pairs)
            ]
            results[name].append(float(np.mean(right)))
            print(f"{name:10} {family:20} {np.mean(right):.0%}", flush=True)
    shares = {name: float(np.mean(values)) for name, values in results.items()}
    every = [value for values in results.values() for value in values]
    return {"right": float(np.mean(every)), "families": {n: len(v) for n, v in results.items()}, **shares}


def measure_learning(base: str, sounds: Sounds, targets: list[Unseen], keep: Path | None) -> dict[str, Any]:
    """Train a LoRA on every unseen sound with the defaults, and compare its sounds with those of the base."""
    plain = Generator(base)
    runs: dict[str, dict[str, float]] = {}
    for target in targets:
        with tempfile.TemporaryDirectory() as temporary:
            folder = keep / target.name.replace(" ", "_") if keep else Path(temporary)
            write(target, folder / "clips")
            lora, timing = folder / "run" / "lora.safetensors", {}
            if not lora.exists():
                began = time.time()
                train(
                    folder / "clips",
                    folder / "run",
                    base=base,
                    steps=STEPS,
                    trigger_phrase=TRIGGER,
                    cache=Path(temporary) / "cache",
                )
                timing = {"seconds": time.time() - began}
            real = np.stack(
                [statistics(mel_of(read(path)[:, : 5 * RATE])) for path in (folder / "clips").glob("*.wav")]
            )
            with_lora = Generator(base, [(lora, 1.0)])
            prompt = f"{TRIGGER} {target.caption}"
            after = [sound(with_lora, prompt, seed) for seed in range(SEEDS)]
            before = [sound(plain, prompt, seed) for seed in range(SEEDS)]
            others = FAMILIES[:: max(1, len(FAMILIES) // OTHER_FAMILIES)]
            kept = [sounds.judge.nearest(sound(with_lora, family, 7)) == family for family in others]
        centre = real.mean(axis=0)
        tables = [np.stack([statistics(mel) for mel in mels]) for mels in (after, before)]
        generated, original = (sounds.distance(table.mean(axis=0), centre) for table in tables)
        nearest = [
            sounds.distance(row, centre) < min(sounds.distance(row, mean) for mean in sounds.means) for row in tables[0]
        ]
        runs[target.name] = {
            "ratio": generated / original,
            "distance": generated,
            "base_distance": original,
            "among_clips": float(np.mean([sounds.distance(row, centre) for row in real])),
            "nearest": float(np.mean(nearest)),
            "others_kept": float(np.mean(kept)),
            **timing,
        }
        print(target.name, {key: round(value, 3) for key, value in runs[target.name].items()}, flush=True)
    summary = {key: float(np.mean([run[key] for run in runs.values()])) for key in ("ratio", "nearest", "others_kept")}
    slowest = max((run["seconds"] for run in runs.values() if "seconds" in run), default=None)
    return summary | {"slowest_seconds": slowest, "runs": runs}


def load_time(base: str) -> float:
    """Return the seconds that opening the base and loading every part takes, in a fresh process after the imports."""
    code = (
        "import time, torch, soundlora.pipeline.generate as g; "
        "from soundlora.weights.base import open_base; b = time.time();"
        f"base = open_base({base!r}); d = torch.device('cpu'); base.transformer(d);"
        "base.codec(d, encoder=True, decoder=True); base.contexts(['rain'], d); print(time.time() - b)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--base", default="nano")
    parts = ("codec", "families", "attributes", "learning")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--prompts", type=int, default=4, help="of each family")
    parser.add_argument("--sounds", nargs="+", help="names of the unseen sounds to learn; all by default")
    add_record(parser)
    parser.add_argument("--keep", type=Path, help="folder for the LoRA runs; finished ones in it are used again")
    arguments = parser.parse_args()
    # Contexts of prompts are cached. A benchmark must not leave its own in the user's cache.
    os.environ["SOUNDLORA_CACHE"] = tempfile.mkdtemp()
    details: dict[str, Any] = {"load_seconds": load_time(arguments.base)}
    figures = [Figure("all parts loaded", details["load_seconds"], "s", 2)]

    def add(name: str, value: float, unit: str, goal: float) -> None:
        figures.append(Figure(name, 100 * value if unit == "% right" else value, unit, goal))

    if "codec" in arguments.parts:
        codec = details["codec"] = measure_codec(arguments.base, arguments.recordings)
        add(f"codec, log-mel L1, {codec['recordings']} unseen recordings", codec["codec"], "nats", 0.8)
        add("VAE alone", codec["vae"], "nats", 0.25)
    if set(arguments.parts) - {"codec"}:
        sounds = Sounds()
        details["judge"] = sounds.accuracy
        add("judge on held-out real renderings", sounds.accuracy, "% right", 97)
    if "families" in arguments.parts:
        families = details["families"] = measure_families(Generator(arguments.base), sounds, arguments.prompts)
        of = f"{len(FAMILIES)} families × {arguments.prompts}"
        add(f"prompts judged their family, {of}", families["right"], "% right", 85)
    if "attributes" in arguments.parts:
        attributes = details["attributes"] = measure_attributes(Generator(arguments.base), 4)
        add("attribute obeyed, in pairs", attributes["right"], "% right", 80)
    if "learning" in arguments.parts:
        every = synthesised() + recorded(arguments.recordings)
        targets = [target for target in every if not arguments.sounds or target.name in arguments.sounds]
        learning = details["learning"] = measure_learning(arguments.base, sounds, targets, arguments.keep)
        of = f"LoRA, {STEPS} steps, mean of {len(targets)}"
        add(f"{of}: distance to the sound", learning["ratio"], "of the base's", 0.35)
        add("LoRA: nearer to its sound than to any family, share of seeds", learning["nearest"], "% right", 80)
        add("LoRA: prompts of other families still judged theirs", learning["others_kept"], "% right", 70)
        if learning["slowest_seconds"] is not None:
            add("LoRA: slowest whole run", learning["slowest_seconds"], "s", 180)
    report("nano_quality", "The quality of nano, judged on finished sound.", figures, details, arguments.record)


if __name__ == "__main__":
    main()
