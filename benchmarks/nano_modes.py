"""This benchmark measures what nano learns in the modes in which a part of a clip is given. It takes an hour.

    .venv/bin/python benchmarks/nano_modes.py [--keep FOLDER] [--record]

Each mode has one LoRA, trained on four renderings of each of the recipe's families. The measures are taken on one more
rendering of each, which nothing has heard. They compare log-mels at 16 kHz, in nats:
- inpaint: a quarter of a second, half a second and a second are made anew, and held against what was there. So are the
  base's text to audio for the same caption, silence, and the codec's own copy, which nothing can be much nearer than.
  They are compared frame by frame, and with the power of a tenth of a second averaged: the frames of two noises of one
  kind differ by chance, as the first measure counts and no ear does.
- extend-prefix: the jump of level and of spectrum at the seam is held against those within the clips.
- a2a: the sound as through a telephone is learnt from pairs, and held against the real effect. So is the codec's own
  copy of that effect.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from history import Figure
from table import add_record, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import Array, mel_of
from sounds import FAMILIES, render
from unseen import RATE, read

from soundlora import Generator, Source, train
from soundlora.audio.wav import write_wav
from soundlora.contract.modes import ModeName

TRAINED = 4  # renderings of each family
STEPS: dict[ModeName, int] = {"inpaint": 6000, "extend-prefix": 1500, "a2a": 6000}
RANK = 64
SECONDS = 5.2
SPANS = {"0.25 s": (1.9, 2.15), "0.5 s": (1.8, 2.3), "1 s": (1.5, 2.5)}
MARGIN = 0.03  # half of a mel frame's window, within which what was kept is heard, too
HEARD = 1.5  # seconds
SMOOTH = 10  # frames that are averaged, a tenth of a second
MENDED, TEXT = "mended", "text to audio"
FRAMES = 100  # of the mel in a second
BAND = (300.0, 3400.0)  # Hz that a telephone lets through


def telephone(clip: Array) -> Array:
    """Return a sound (2, samples) as through a telephone: a band of it, and quieter peaks."""
    spectrum = np.fft.rfft(clip)
    frequency = np.fft.rfftfreq(clip.shape[1], 1 / RATE)
    inside = 1 / (1 + (BAND[0] / np.maximum(frequency, 1)) ** 8) / (1 + (frequency / BAND[1]) ** 8)
    band = np.fft.irfft(spectrum * inside, clip.shape[1])
    out: Array = np.tanh(3 * band / np.abs(band).max()).astype(np.float32)
    return out


def rendered(folder: Path, count: int, seed: int) -> list[Path]:
    """Write `count` renderings of each family with their captions, the same ones every time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, family in enumerate(FAMILIES):
        for copy in range(count):
            sound = render(family, np.random.default_rng((seed, number, copy)), SECONDS)
            path = folder / f"{family.replace(' ', '_')}_{copy}.wav"
            write_wav(path, torch.from_numpy(sound.audio), RATE)
            path.with_suffix(".txt").write_text(sound.caption)
            paths.append(path)
    return paths


def dataset(paths: list[Path], folder: Path, mode: str) -> Path:
    """Lay clips out as the mode wants them. Masks are of random seconds, the same ones every time."""
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        caption = path.with_suffix(".txt").read_text()
        if mode == "a2a":
            shutil.copy(path, folder / f"{path.stem}_start.wav")
            write_wav(folder / f"{path.stem}_end.wav", torch.from_numpy(telephone(read(path))), RATE)
            (folder / f"{path.stem}.txt").write_text("through a telephone")
            continue
        shutil.copy(path, folder)
        (folder / f"{path.stem}.txt").write_text(caption)
        if mode == "inpaint":
            start = np.random.default_rng(number).uniform(0.5, 3.5)
            (folder / f"{path.stem}_mask.json").write_text(f"[[{start:.2f}, {start + 1:.2f}]]")
    return folder


def lora_of(paths: list[Path], folder: Path, mode: ModeName, steps: int) -> Path:
    more: dict[str, Any] = {"conditioning_seconds": HEARD} if mode == "extend-prefix" else {}
    kept = folder / "run" / "lora.safetensors"
    if not kept.exists():  # of an earlier time, in the folder of --keep
        data = dataset(paths, folder / "data", mode)
        train(data, folder / "run", mode=mode, steps=steps, rank=RANK, validation_prompts=[], hold_out=0, **more)
    return kept


def distance(one: Array, other: Array) -> float:
    """Return the mean difference of two log-mels (2, frames, 64), in nats."""
    count = min(one.shape[1], other.shape[1])
    return float(np.abs(one[:, :count] - other[:, :count]).mean())


def smoothed(mel: Array) -> Array:
    """Return a log-mel (2, frames, 64) whose power is averaged over `SMOOTH` frames around each."""
    sums = np.cumsum(np.pad(np.exp(mel), ((0, 0), (SMOOTH // 2, SMOOTH - SMOOTH // 2), (0, 0)), mode="edge"), axis=1)
    out: Array = np.log((sums[:, SMOOTH:] - sums[:, :-SMOOTH]) / SMOOTH).astype(np.float32)
    return out


def made(generator: Generator, caption: str, source: Source | None, seconds: float | None = 5.0) -> Array:
    sound = generator(caption, seed=1, duration=seconds, source=source)
    both = sound.waveform.expand(2, -1).numpy()
    if sound.sample_rate != RATE:
        raise ValueError(f"the sound has {sound.sample_rate} Hz")
    return np.ascontiguousarray(both)


def copied(base: Generator, path: Path) -> Array:
    """Return what the codec makes of a sound: the base makes nothing of it anew but a moment at the end."""
    return made(base, "", Source("inpaint", path, spans=((SECONDS - 0.1, SECONDS),), decoded=True), None)


def inpainting(generator: Generator, base: Generator, path: Path) -> dict[str, float]:
    """Return how far spans that are made anew, and what may stand in their place, are from what was there."""
    caption, whole = path.with_suffix(".txt").read_text(), mel_of(read(path))
    others = {
        TEXT: made(base, caption, None),
        "silence": np.zeros((2, 6 * RATE), np.float32),
        "the codec's copy": copied(base, path),
    }
    found = {}
    for name, span in SPANS.items():
        frames = slice(round((span[0] + MARGIN) * FRAMES), round((span[1] - MARGIN) * FRAMES))
        sounds = {MENDED: made(generator, caption, Source("inpaint", path, spans=(span,)), None)} | others
        for what, sound in sounds.items():
            mel, true = mel_of(sound)[:, frames], whole[:, frames]
            found[f"{name}, {what}"] = distance(mel, true)
            # What lies beside the span is left out of its averages, as it was kept in one of them.
            found[f"{name}, {what}, over 0.1 s"] = distance(smoothed(mel), smoothed(true))
    return found


def jumps(sound: Array, at: Array) -> tuple[Array, Array]:
    """Return the jumps of level in dB and of the log-mel in nats at places in seconds, over 50 ms on either side."""
    mel, width = mel_of(sound), int(0.05 * FRAMES)
    power = np.convolve(np.square(sound).mean(axis=0), np.ones(int(0.05 * RATE)) / int(0.05 * RATE), "valid")
    places = (at * RATE).astype(int)
    before, after = (power[np.clip(place, 0, len(power) - 1)] for place in (places - int(0.05 * RATE), places))
    level = np.abs(10 * np.log10((after + 1e-9) / (before + 1e-9)))
    spectrum = [
        np.abs(mel[:, f : f + width].mean(axis=1) - mel[:, f - width : f].mean(axis=1)).mean()
        for f in (at * FRAMES).astype(int)
    ]
    return level, np.asarray(spectrum)


def seam(generator: Generator, path: Path, folder: Path) -> tuple[float, float]:
    """Return in what share of the places within a clip level and spectrum jump less than where it is continued."""
    clip, cut = read(path), folder / "cut.wav"
    write_wav(cut, torch.from_numpy(clip[:, : int(2.5 * RATE)]), RATE)
    source = Source("extend-prefix", cut, conditioning_seconds=HEARD)
    longer = made(generator, path.with_suffix(".txt").read_text(), source)
    inside = jumps(clip, np.arange(0.2, 5.0, 0.05).astype(np.float32))
    here = jumps(longer, np.asarray([2.5], np.float32))
    level, spectrum = (float((each < jump[0]).mean()) for each, jump in zip(inside, here, strict=True))
    return level, spectrum


def through_telephone(generator: Generator, base: Generator, path: Path, folder: Path) -> tuple[float, float, float]:
    """Return how far from the real effect a sound is, what is made of it, and the codec's copy of the effect."""
    effect = telephone(read(path))
    write_wav(folder / "effect.wav", torch.from_numpy(effect), RATE)
    wet = made(generator, "through a telephone", Source("a2a", path), None)
    dry, made_, copy = (
        distance(mel_of(sound), mel_of(effect)) for sound in (read(path), wet, copied(base, folder / "effect.wav"))
    )
    return dry, made_, copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a folder for the clips and LoRAs")
    add_record(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.keep or Path(temporary)
        trained, held = rendered(root / "trained", TRAINED, 2001), rendered(root / "held", 1, 2002)
        loras = {mode: lora_of(trained, root / mode, mode, steps) for mode, steps in STEPS.items()}
        generators = {mode: Generator(loras=[(lora, 1.0)]) for mode, lora in loras.items()}
        base, raw = Generator(), dict[str, Any]()
        for path in held:
            found: dict[str, Any] = inpainting(generators["inpaint"], base, path)
            found["seam"] = seam(generators["extend-prefix"], path, root)
            found["telephone"] = through_telephone(generators["a2a"], base, path, root)
            raw[path.stem] = found
            print(path.stem, found, flush=True)
    report("nano_modes", "Modes on nano", figures_of(raw), raw, arguments.record)


def figures_of(raw: dict[str, Any]) -> list[Figure]:
    names = [name for name in next(iter(raw.values())) if name not in ("seam", "telephone")]
    mean = {name: float(np.mean([found[name] for found in raw.values()])) for name in names}
    figures = [Figure(f"{name}, from what was there", value, "nats") for name, value in mean.items()]
    for span in SPANS:
        mended, text = f"{span}, {MENDED}", f"{span}, {TEXT}"
        share = 100 * float(np.mean([found[mended] > found[text] for found in raw.values()]))
        figures.append(Figure(f"{span}, families whose mended span is farther than text to audio", share, "%"))
    level, spectrum = np.mean([found["seam"] for found in raw.values()], axis=0)
    figures.append(Figure("places within a clip whose level jumps less than at its seam", 100 * level, "%"))
    figures.append(Figure("places within a clip whose spectrum jumps less than at its seam", 100 * spectrum, "%"))
    dry, wet, copy = np.mean([found["telephone"] for found in raw.values()], axis=0)
    figures.append(Figure("telephone: the sound that is given, from the effect", float(dry), "nats"))
    figures.append(Figure("telephone: what is made of it, from the effect", float(wet), "nats"))
    figures.append(Figure("telephone: the codec's copy of the effect, from it", float(copy), "nats"))
    return figures


if __name__ == "__main__":
    main()
