"""This recipe finds the sampling that suits nano best, and draws pictures of its sounds.

    python recipes/nano/evaluate.py sampling [--runs FOLDER]
    python recipes/nano/evaluate.py picture --out docs/images/nano_families.png
    python recipes/nano/evaluate.py learnt --runs FOLDER --out docs/images/nano_learnt.png --sounds docs/sounds

It judges log-mels as the VAE decodes them; benchmarks/nano_quality.py judges finished sound. --runs names the folder
that the benchmark kept with --keep, because the sampling has to suit LoRAs too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captioned import SETS
from judge import Array, Judge, mel_of, rendered, statistics
from sounds import FAMILIES
from unseen import RATE, read

from soundlora.audio.wav import write_wav
from soundlora.lora.adapter import load_lora
from soundlora.model.mel import resample
from soundlora.pipeline.generate import Generator
from soundlora.sampling.generate import sample_latents
from soundlora.sampling.guidance import Guidance
from soundlora.weights.base import open_base

CPU = torch.device("cpu")
FIT = 48  # captioned clips of each family that the judge learns from
LEARNT = ("zaps", "tabla", "announcements")
PICTURED = ("rain", "thunder", "siren", "church bell", "clock ticking", "car engine", "birds chirping", "cello")


class Model:
    def __init__(self, name: str, lora: Path | None = None) -> None:
        self.base = open_base(name)
        self.model = self.base.transformer(CPU)
        if lora is not None:
            load_lora(self.model, lora, 1.0)
        self.vae = self.base.checkpoint.load_vae(CPU, encoder=False, decoder=True)

    def mel(self, prompt: str, seed: int, guidance: Guidance) -> Array:
        """Return the log-mel (2, 501, 64) of 5 s of sound."""
        context, empty = self.base.contexts([prompt, ""], CPU)
        steps = self.base.config.sampling.steps
        latents = sample_latents(
            self.model, self.base.config.audio, context, empty, seconds=5.0, seed=seed, steps=steps, guidance=guidance
        )
        with torch.inference_mode():
            mel: Array = self.vae.decode(latents[None])[0].numpy()
        return mel


def fitted_judge() -> tuple[Judge, Array]:
    """Return a judge that knows the captioned clips, and the deviation of their statistics over all families."""
    mels = np.load(SETS[0].mel_path, mmap_mode="r")
    count = FIT * len(FAMILIES)
    clips = [np.asarray(mels[number], np.float32) for number in range(count)]
    labels = np.arange(count) % len(FAMILIES)
    table = np.stack([statistics(mel) for mel in clips])
    return Judge(clips, labels, FAMILIES), table.std(axis=0) + 0.05


def sweep(base: str, runs: Path | None) -> None:
    judge, scale = fitted_judge()
    plain = Model(base)
    own = plain.base.config.sampling
    learnt = []
    for folder in sorted(runs.iterdir()) if runs else ():
        clips = [read(path)[:, : 5 * RATE] for path in sorted((folder / "clips").glob("*.wav"))]
        centre = np.stack([statistics(mel_of(clip)) for clip in clips]).mean(axis=0)
        prompt = f"sndx {next((folder / 'clips').glob('*.txt')).read_text().strip()}"
        learnt.append((prompt, centre, Model(base, folder / "run" / "lora.safetensors")))
    for cfg, stg, rescale in product((1.0, 1.5, 2.0, 3.0), (0.0, 0.5), (0.0, 0.7)):
        if cfg == 1 and stg == 0 and rescale:
            continue
        guidance = Guidance(cfg, stg, own.stg_blocks, rescale)
        right = np.mean([judge.nearest(plain.mel(family, 0, guidance)) == family for family in FAMILIES[::2]])
        ratios = []
        for prompt, centre, model in learnt:
            distances = []
            for source in (model, plain):
                table = np.stack([statistics(source.mel(prompt, seed, guidance)) for seed in range(3)])
                distances.append(np.sqrt(np.square((table.mean(axis=0) - centre) / scale).mean()))
            ratios.append(distances[0] / distances[1])
        shown = f", LoRAs {np.mean(ratios):.2f} of the base's distance" if ratios else ""
        print(f"cfg {cfg:g}  stg {stg:g}  rescale {rescale:g}:  {right:.0%} of families{shown}", flush=True)


def show(axis: Any, mel: Array, seconds: int) -> None:
    extent = (0, seconds, 0, mel.shape[-1])
    axis.imshow(mel.mean(0).T, origin="lower", aspect="auto", vmin=-10, vmax=2, extent=extent, cmap="magma")
    axis.set_xticks([0, seconds])
    axis.set_yticks([])
    axis.tick_params(labelsize=6)


def draw(base: str, path: Path, families: Sequence[str]) -> None:
    """Draw log-mel spectrograms of a rendering and of generated sound, with a column for each family."""
    import matplotlib.pyplot as plt

    model = Model(base)
    own = model.base.config.sampling
    guidance = Guidance(own.cfg, own.stg, own.stg_blocks, own.rescale)
    figure, axes = plt.subplots(2, len(families), figsize=(1.6 * len(families), 3.6), squeeze=False)
    for column, family in enumerate(families):
        for row, mel in enumerate((rendered(family, (61, column)), model.mel(family, 0, guidance))):
            axis = axes[row, column]
            show(axis, mel, 5)
            axis.set_title("" if row else family, fontsize=8)
    axes[0, 0].set_ylabel("rendered", fontsize=8)
    axes[1, 0].set_ylabel("generated", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_learnt(base: str, runs: Path, path: Path, sounds: Path) -> None:
    """Draw a clip, the base's sound for its prompt, and the LoRA's. Write WAVs of 3 s of finished sound."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(LEARNT), figsize=(3.2 * len(LEARNT), 4.8), squeeze=False)
    plain = Generator(base)
    sounds.mkdir(parents=True, exist_ok=True)
    for column, name in enumerate(LEARNT):
        folder = runs / name
        clip = min((folder / "clips").glob("*.wav"))
        prompt = f"sndx {clip.with_suffix('.txt').read_text().strip()}"
        learnt = Generator(base, [(folder / "run" / "lora.safetensors", 1.0)])
        made = [source(prompt, seed=0).waveform.numpy() for source in (plain, learnt)]
        rows = zip(("clip", "base", "lora"), (read(clip), *made), strict=True)
        for row, (kind, waveform) in enumerate(rows):
            axis = axes[row, column]
            show(axis, mel_of(waveform[:, : 3 * RATE]), 3)
            if not row:
                axis.set_title(prompt, fontsize=8)
            if not column:
                axis.set_ylabel({"clip": "a clip", "base": "base", "lora": "LoRA"}[kind], fontsize=8)
            low = resample(torch.from_numpy(waveform[:, : 3 * RATE].mean(axis=0)), RATE, RATE // 2)
            write_wav(sounds / f"{name}_{kind}.wav", low[None], RATE // 2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["sampling", "picture", "learnt"])
    parser.add_argument("--base", default="nano")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("nano.png"))
    parser.add_argument("--sounds", type=Path, default=Path("sounds"))
    arguments = parser.parse_args()
    if arguments.what == "sampling":
        sweep(arguments.base, arguments.runs)
    elif arguments.what == "learnt":
        draw_learnt(arguments.base, arguments.runs, arguments.out, arguments.sounds)
    else:
        draw(arguments.base, arguments.out, PICTURED)


if __name__ == "__main__":
    main()
