"""Make the sounds and the picture of docs/modes.md: a gap that is mended, a continuation, a sound through a telephone.

    .venv/bin/python scripts/plot_modes.py LORAS [--out docs]

LORAS is the folder that `benchmarks/nano_modes.py --keep` has filled: its LoRAs, and renderings that none of them has
heard. The script needs matplotlib, which `scripts/setup plots` installs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from soundlora import Generator, Source
from soundlora.audio.spectrogram import FLOOR_DB, levels
from soundlora.audio.wav import read_wav, write_wav
from soundlora.model.mel import resample

RATE = 24_000  # Hz, of the files in the docs
CUT = 2.5  # seconds of a clip that go on, and the middle of the gap
GAP = (2.0, 3.0)


@dataclass(frozen=True)
class Sound:
    """A sound (channels, samples) of the docs. marks: seconds at which something begins or ends."""

    name: str
    title: str
    waveform: Tensor
    rate: int
    marks: tuple[float, ...] = ()


def generated(loras: Path, mode: str, prompt: str, source: Source, seed: int) -> tuple[Tensor, int]:
    sound = Generator(loras=[(loras / mode / "run" / "lora.safetensors", 1.0)])(prompt, source=source, seed=seed)
    return sound.waveform, sound.sample_rate


def mended(loras: Path, family: str, seed: int) -> list[Sound]:
    path = loras / "held" / f"{family}_0.wav"
    waveform, rate = read_wav(path)
    gap = waveform.clone()
    gap[:, int(GAP[0] * rate) : int(GAP[1] * rate)] = 0
    prompt = path.with_suffix(".txt").read_text()
    whole, new_rate = generated(loras, "inpaint", prompt, Source("inpaint", path, spans=(GAP,)), seed)
    return [
        Sound("modes_gap", f"{prompt}: a second is missing", gap, rate, GAP),
        Sound("modes_mended", "mended", whole, new_rate, GAP),
    ]


def continued(loras: Path, family: str, seed: int, folder: Path) -> list[Sound]:
    path = loras / "held" / f"{family}_0.wav"
    waveform, rate = read_wav(path)
    start, cut = waveform[:, : int(CUT * rate)], folder / "modes_start.wav"
    write_wav(cut, start, rate)
    prompt = path.with_suffix(".txt").read_text()
    source = Source("extend-prefix", cut, conditioning_seconds=1.5)
    longer, new_rate = generated(loras, "extend-prefix", prompt, source, seed)
    return [
        Sound("modes_start", f"{prompt}: the start", start, rate, (CUT,)),
        Sound("modes_continued", "gone on with", longer, new_rate, (CUT,)),
    ]


def telephoned(loras: Path, family: str, seed: int) -> list[Sound]:
    path = loras / "held" / f"{family}_0.wav"
    waveform, rate = read_wav(path)
    prompt = path.with_suffix(".txt").read_text()
    call, new_rate = generated(loras, "a2a", "through a telephone", Source("a2a", path), seed)
    return [Sound("modes_direct", prompt, waveform, rate), Sound("modes_call", "through a telephone", call, new_rate)]


def draw(sounds: list[Sound], target: Path) -> None:
    """Draw the sounds in two columns: what is given, and what became of it."""
    seconds = max(sound.waveform.shape[1] / sound.rate for sound in sounds)
    figure, axes = plt.subplots(len(sounds) // 2, 2, figsize=(9, 5), sharex=True, sharey=True)
    for place, sound in zip(axes.flat, sounds, strict=True):
        place.imshow(levels(sound.waveform.numpy(), sound.rate, seconds), aspect="auto", extent=(0, seconds, 0, 1))
        place.images[0].set_cmap("inferno")
        place.set_title(sound.title, fontsize=9)
        place.set_yticks([])
        for mark in sound.marks:
            place.axvline(mark, color="white", linewidth=0.8, linestyle="--")
    for place in axes[-1]:
        place.set_xlabel(f"seconds; the floor is {FLOOR_DB:g} dB")
    figure.tight_layout(pad=0.4)
    figure.savefig(target, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--families", nargs=3, default=["crickets", "clock_ticking", "trumpet"])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    loras, folder, seed = arguments.loras, arguments.out / "sounds", arguments.seed
    gap, start, direct = arguments.families
    sounds = mended(loras, gap, seed) + continued(loras, start, seed, folder) + telephoned(loras, direct, seed)
    for sound in sounds:
        mono = resample(sound.waveform.mean(dim=0, keepdim=True), sound.rate, RATE)
        write_wav(folder / f"{sound.name}.wav", torch.clamp(mono, -1, 1), RATE)
        print(f"{sound.name}: {sound.title}, {mono.shape[1] / RATE:.2f} s, peak {mono.abs().max():.2f}")
    draw(sounds, arguments.out / "images" / "modes.png")


if __name__ == "__main__":
    main()
