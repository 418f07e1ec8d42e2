"""This benchmark measures what nano learns in the modes in which a part of a clip is given. It takes twenty minutes.

    .venv/bin/python benchmarks/nano_modes.py [--steps 1000] [--keep FOLDER] [--record]

Four sounds that pretraining never heard have ten clips each (recipes/nano/unseen.py). Eight of them are trained on, and
two are kept for the measures, which compare log-mels at 16 kHz, in nats:
- inpaint: a second is made anew. It is held against what was there, and so are silence and what a LoRA for text to
  audio makes for the same caption.
- extend-prefix: the jump of level and of spectrum at the seam is held against those within the clips.
- a2a: the sound as through a telephone is learnt from pairs, and held against the real effect.
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
from unseen import RATE, Unseen, read, synthesised, write

from soundlora import Generator, Source, train
from soundlora.audio.wav import write_wav
from soundlora.contract.modes import ModeName

HELD = 2  # clips of each sound that are not trained on
SPAN, HEARD = (1.5, 2.5), 1.5  # seconds
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


def clips_of(sound: Unseen, folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the clips, and return those to train on and those that are kept."""
    write(sound, folder)
    paths = sorted(folder.glob("*.wav"))
    return paths[:-HELD], paths[-HELD:]


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
    data = dataset(paths, folder / "data", mode)
    result = train(data, folder / "run", mode=mode, steps=steps, validation_prompts=[], hold_out=0, **more)
    return result.lora


def distance(one: Array, other: Array) -> float:
    """Return the mean difference of two log-mels (2, frames, 64), in nats."""
    count = min(one.shape[1], other.shape[1])
    return float(np.abs(one[:, :count] - other[:, :count]).mean())


def made(generator: Generator, caption: str, source: Source | None, seconds: float | None = 5.0) -> Array:
    sound = generator(caption, seed=1, duration=seconds, source=source)
    both = sound.waveform.expand(2, -1).numpy()
    if sound.sample_rate != RATE:
        raise ValueError(f"the sound has {sound.sample_rate} Hz")
    return np.ascontiguousarray(both)


def inpainting(generator: Generator, plain: Generator, held: list[Path], caption: str) -> dict[str, float]:
    frames = slice(int((SPAN[0] + 0.05) * FRAMES), int((SPAN[1] - 0.05) * FRAMES))
    found: dict[str, list[float]] = {"mended": [], "text to audio": [], "silence": []}
    for path in held:
        truth = mel_of(read(path))[:, frames]
        anew = made(generator, caption, Source("inpaint", path, spans=(SPAN,)), None)
        found["mended"].append(distance(mel_of(anew)[:, frames], truth))
        found["text to audio"].append(distance(mel_of(made(plain, caption, None))[:, frames], truth))
        found["silence"].append(distance(mel_of(np.zeros((2, 6 * RATE), np.float32))[:, frames], truth))
    return {name: float(np.mean(values)) for name, values in found.items()}


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


def seams(generator: Generator, held: list[Path], caption: str, folder: Path) -> list[tuple[float, float]]:
    """Return, for each clip, in what share of the places within it level and spectrum jump less than at the seam."""
    found: list[tuple[float, float]] = []
    for number, path in enumerate(held):
        clip = read(path)
        cut = folder / f"cut_{number}.wav"
        write_wav(cut, torch.from_numpy(clip[:, : int(2.5 * RATE)]), RATE)
        longer = made(generator, caption, Source("extend-prefix", cut, conditioning_seconds=HEARD))
        inside = jumps(clip, np.arange(0.2, 5.0, 0.05).astype(np.float32))
        seam = jumps(longer, np.asarray([2.5], np.float32))
        level, spectrum = (float((each < here[0]).mean()) for each, here in zip(inside, seam, strict=True))
        found.append((level, spectrum))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--sounds", nargs="+", default=["zaps", "boings", "chatter", "gongs"])
    parser.add_argument("--keep", type=Path, help="a folder for the clips and LoRAs")
    add_record(parser)
    arguments = parser.parse_args()
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.keep or Path(temporary)
        split = {
            s.name: (s, *clips_of(s, root / s.name / "clips")) for s in synthesised() if s.name in arguments.sounds
        }
        for name, (sound, trained, held) in split.items():
            modes: tuple[ModeName, ...] = ("t2a", "inpaint", "extend-prefix")
            loras = {mode: lora_of(trained, root / name / mode, mode, arguments.steps) for mode in modes}
            generators = {mode: Generator(loras=[(lora, 1.0)]) for mode, lora in loras.items()}
            mended = inpainting(generators["inpaint"], generators["t2a"], held, sound.caption)
            joints = seams(generators["extend-prefix"], held, sound.caption, root / name)
            raw[name] = {"inpaint": mended, "seams": joints}
            print(name, raw[name], flush=True)
            figures += [Figure(f"{name}: {what}, from what was there", value, "nats") for what, value in mended.items()]
            level, spectrum = np.mean(joints, axis=0)
            figures.append(Figure(f"{name}: places in the clip with a smaller jump of level", 100 * level, "%"))
            figures.append(Figure(f"{name}: places in the clip with a smaller jump of spectrum", 100 * spectrum, "%"))
        every = [path for _, trained, _ in split.values() for path in trained]
        generator = Generator(loras=[(lora_of(every, root / "a2a", "a2a", 2 * arguments.steps), 1.0)])
        dry, wet = [], []
        for _, _, held in split.values():
            for path in held:
                truth = mel_of(telephone(read(path)))
                dry.append(distance(mel_of(read(path)), truth))
                wet.append(distance(mel_of(made(generator, "through a telephone", Source("a2a", path), None)), truth))
        raw["telephone"] = {"dry": dry, "made": wet}
        figures.append(Figure("telephone: the sound that is given, from the effect", float(np.mean(dry)), "nats"))
        figures.append(Figure("telephone: what is made of it, from the effect", float(np.mean(wet)), "nats"))
    report("nano_modes", f"Modes on nano, {arguments.steps} steps", figures, raw, arguments.record)


if __name__ == "__main__":
    main()
