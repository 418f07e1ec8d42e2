"""How good nano is: does a prompt give its family, and which sampling gives it best?

    python recipes/nano/evaluate.py families [--seeds 4] [--cfg 3 --stg 0 --rescale 0.7]
    python recipes/nano/evaluate.py sampling
    python recipes/nano/evaluate.py picture --out docs/images/nano_families.png

The judge is a linear discriminant, fitted on real renderings: of every mel band the mean, the deviation, the mean slope
and the share of the slow changes, and the spectrum of the loudness, which tells rhythms apart. A sound counts as the
family whose mean is nearest, in the measure in which families differ most and sounds of one family least.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from captioned import HELD_OUT
from sizes import WORK
from sounds import FAMILIES

from soundlora.model.audio_vae import AudioVAE
from soundlora.model.base import open_base
from soundlora.sampling.generate import sample_latents
from soundlora.sampling.guidance import Guidance

CPU = torch.device("cpu")
PICTURED = (
    "rain",
    "thunder",
    "siren",
    "church bell",
    "clock ticking",
    "car engine",
    "birds chirping",
    "kick drum",
    "piano",
    "sine tone",
)


def features(mel: np.ndarray) -> np.ndarray:
    """(2, frames, 64) → (280,), both channels as one."""
    mono = np.maximum(mel.astype(np.float32).mean(axis=0), -9.0)  # below −9 nobody hears a difference
    slope = np.abs(np.diff(mono, axis=0)).mean(0)
    deviation = mono.std(0)
    loudness = mono.max(axis=1) - mono.max(axis=1).mean()
    rhythm = np.log(np.abs(np.fft.rfft(loudness * np.hanning(len(loudness)), 1024))[1:193].reshape(24, 8).max(1) + 1)
    return np.concatenate((mono.mean(0), deviation, slope, slope / (deviation + 0.1), rhythm))


class Judge:
    """Linear discriminant on real renderings."""

    def __init__(self) -> None:
        items = json.loads((WORK / "captioned.json").read_text())
        self.mels = mels = np.load(WORK / "captioned_mel.npy", mmap_mode="r")
        table = np.stack([features(np.asarray(mels[i])) for i in range(len(items))])
        self.labels = np.array([FAMILIES.index(item["family"]) for item in items])
        held = np.arange(len(items)) >= len(items) - HELD_OUT * len(FAMILIES)
        means = np.stack([table[~held & (self.labels == f)].mean(0) for f in range(len(FAMILIES))])
        within = np.cov((table - means[self.labels])[~held].T)
        # A little of the diagonal is added, so that no direction without variance counts infinitely much.
        within += 0.05 * np.diag(np.diag(within)) + 1e-4 * np.eye(len(within))
        self.whiten = np.linalg.inv(np.linalg.cholesky(within)).T
        self.centroids = means @ self.whiten
        hits = [self.nearest(row) == label for row, label in zip(table[held], self.labels[held], strict=True)]
        self.own_accuracy = float(np.mean(hits))

    def example(self, family: str) -> np.ndarray:
        """Log-mel (2, frames, 64) of a held-out rendering."""
        number = int(np.flatnonzero(self.labels == FAMILIES.index(family))[-1])
        return np.asarray(self.mels[number], np.float32)

    def distances(self, row: np.ndarray) -> np.ndarray:
        """Of one row of features to every family, in deviations within a family."""
        return np.sqrt(((row @ self.whiten - self.centroids) ** 2).mean(axis=1))

    def nearest(self, row: np.ndarray) -> int:
        return int(self.distances(row).argmin())


class Model:
    def __init__(self, name: str = "nano") -> None:
        self.base = open_base(name)
        self.model = self.base.transformer(CPU)
        self.vae: AudioVAE = self.base.checkpoint.load_vae(CPU, encoder=False, decoder=True)
        texts = [*FAMILIES, ""]
        self.contexts = dict(zip(texts, self.base.contexts(texts, CPU), strict=True))

    def mel(self, prompt: str, seed: int, guidance: Guidance, steps: int = 30, seconds: float = 5.0) -> np.ndarray:
        latents = sample_latents(
            self.model,
            self.base.config.audio,
            self.contexts[prompt],
            self.contexts[""],
            seconds=seconds,
            seed=seed,
            steps=steps,
            guidance=guidance,
        )
        with torch.inference_mode():
            mel: np.ndarray = self.vae.decode(latents[None])[0].numpy()
        return mel


def judge_families(
    judge: Judge, model: Model, guidance: Guidance, seeds: Sequence[int], families: Sequence[str] = FAMILIES
) -> tuple[float, float, dict[str, list[str]]]:
    """Share of sounds judged as their family, mean distance to its mean, and what each family was taken for."""
    hits, distances, taken = [], [], {}
    for family in families:
        rows = [features(model.mel(family, seed, guidance)) for seed in seeds]
        names = [FAMILIES[judge.nearest(row)] for row in rows]
        hits += [name == family for name in names]
        distances += [judge.distances(row)[FAMILIES.index(family)] for row in rows]
        taken[family] = names
    return float(np.mean(hits)), float(np.mean(distances)), taken


def draw(judge: Judge, model: Model, guidance: Guidance, path: Path, families: Sequence[str]) -> None:
    """Log-mel spectrograms of a held-out real rendering and of generated sound, a family a column."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(families), figsize=(1.6 * len(families), 3.6), squeeze=False)
    for column, family in enumerate(families):
        real = judge.example(family).mean(axis=0)
        generated = model.mel(family, 0, guidance).mean(axis=0)
        for row, (mel, title) in enumerate(((real, family), (generated, ""))):
            axis = axes[row, column]
            axis.imshow(mel.T, origin="lower", aspect="auto", vmin=-10, vmax=2, extent=(0, 5, 0, 64), cmap="magma")
            axis.set_title(title, fontsize=8)
            axis.set_xticks([0, 5])
            axis.set_yticks([])
            axis.tick_params(labelsize=6)
    axes[0, 0].set_ylabel("rendered", fontsize=8)
    axes[1, 0].set_ylabel("generated", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["families", "sampling", "picture"])
    parser.add_argument("--base", default="nano")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--cfg", type=float)
    parser.add_argument("--stg", type=float)
    parser.add_argument("--rescale", type=float)
    parser.add_argument("--out", type=Path, default=Path("nano_families.png"))
    arguments = parser.parse_args()
    judge, model = Judge(), Model(arguments.base)
    print(f"judge on held-out renderings: {judge.own_accuracy:.1%} of {len(FAMILIES)} families")
    own = model.base.config.sampling
    if arguments.what == "sampling":
        for cfg, stg, rescale in product((1.0, 2.0, 3.0, 5.0), (0.0, 1.0), (0.0, 0.7)):
            if cfg == 1 and stg == 0 and rescale:
                continue
            guidance = Guidance(cfg, stg, own.stg_blocks, rescale)
            share, distance, _ = judge_families(judge, model, guidance, [0], FAMILIES[::2])
            figures = f"{share:.0%} right, distance {distance:.2f}"
            print(f"cfg {cfg:g}  stg {stg:g}  rescale {rescale:g}:  {figures}", flush=True)
        return
    guidance = Guidance(
        own.cfg if arguments.cfg is None else arguments.cfg,
        own.stg if arguments.stg is None else arguments.stg,
        own.stg_blocks,
        own.rescale if arguments.rescale is None else arguments.rescale,
    )
    if arguments.what == "picture":
        draw(judge, model, guidance, arguments.out, PICTURED)
        return
    share, distance, taken = judge_families(judge, model, guidance, range(arguments.seeds))
    for family, names in taken.items():
        wrong = sorted({name for name in names if name != family})
        print(f"{family:18} {names.count(family)}/{len(names)}" + (f"  taken for {', '.join(wrong)}" if wrong else ""))
    print(f"all: {share:.1%} right, mean distance {distance:.2f}")


if __name__ == "__main__":
    main()
