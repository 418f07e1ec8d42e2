"""This benchmark measures which part of nano's codec loses what of a sound: its silence, attack, pitch, width, change.

    .venv/bin/python benchmarks/nano_ear.py --recordings FOLDER [--base nano] [--loras] [--record]

FOLDER is that of benchmarks/nano_quality.py. Each sound goes through one part or several, which makes a row of the
table. What comes out is measured as a sound. So mels that no vocoder plays are made audible by Griffin and Lim's
method. --loras adds a row of LoRAs of dry hits and of wide noise, of 1,000 steps each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ear_figures as ear
import numpy as np
import torch
from ear_figures import Array
from history import Figure
from table import add_record, report
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import mel_of, rendered, statistics
from sounds import FAMILIES
from unseen import RATE, Unseen, recorded

from soundlora import Generator, train
from soundlora.audio.wav import write_wav
from soundlora.model.mel import _mel_filters, log_mel, resample
from soundlora.weights.base import open_base

CPU = torch.device("cpu")
Way = Callable[[Array], Array]
CODEC, LORAS = "all of the codec", "LoRAs"
REAL_CLIPS, REAL_SECONDS, TAKES = 4, 3.0, 4
SCALE = 6  # renderings of each family
STEPS, SEEDS = 1000, 3
GOALS = {"floor": 70.0, "attack": 12.0, "pitch": 10.0, "buzz": 6.0, "width": 0.15, "real": 0.1, "real, worst": 0.2}
LORA_GOALS = {"floor": 70.0, "attack": 20.0, "width": 0.15}
COLUMNS = {
    "floor": ("silence between hits", "dB below them"),
    "attack": ("attack", "ms"),
    "pitch": (f"pitch above {ear.PITCHED:.0f} Hz, off by", "cents"),
    "buzz": ("tone above all else, less by", "dB"),
    "width": ("width, off by", "of correlation"),
    "mono": ("mono, off by", "of correlation"),
    "changes": ("changes below 1 kHz, too small by", "%"),
    "real": ("four real sounds", "of the base's"),
    "real, worst": ("the worst of them", "of the base's"),
}


def ways(base_name: str) -> dict[str, Way]:
    """Return what a sound goes through, by name: functions of a sound (2, n) at 48 kHz, to as long a sound."""
    base = open_base(base_name)
    audio, codec = base.config.audio, base.codec(CPU, encoder=True, decoder=True)
    vocoder = codec.vocoder
    assert vocoder is not None
    voc = vocoder

    def low(sound: Array) -> Tensor:
        return resample(torch.from_numpy(sound), RATE, audio.sample_rate)[None]

    def mel(sound: Array) -> Tensor:
        whole = log_mel(low(sound), audio)
        return whole[:, :, : (whole.shape[2] - 1) // 4 * 4 + 1]

    def through_vae(sound: Array) -> Tensor:
        return codec.vae.decode(codec.vae.encode(mel(sound)))

    def up(sound: Tensor) -> Tensor:
        return resample(sound, audio.sample_rate, RATE)

    def way(steps: Callable[[Array], Tensor]) -> Way:
        def run(sound: Array) -> Array:
            with torch.inference_mode():
                made = steps(sound)[0, :, : sound.shape[1]].numpy()
            return np.ascontiguousarray(np.pad(made, ((0, 0), (0, sound.shape[1] - made.shape[1]))))

        return run

    read = GriffinLim(audio.n_fft, audio.hop, audio.mel_bins, audio.sample_rate)
    return {
        "16 kHz": way(lambda sound: up(low(sound))),
        "the mel, by Griffin-Lim": way(lambda sound: up(read(mel(sound)))),
        "the mel after the VAE, by Griffin-Lim": way(lambda sound: up(read(through_vae(sound)))),
        "16 kHz, bandwidth extension": way(lambda sound: voc.extend(low(sound))),
        "the mel, stage 1": way(lambda sound: up(voc.vocoder(mel(sound)))),
        "the mel, stage 1, extension": way(lambda sound: voc(mel(sound))),
        "the mel after the VAE, stage 1": way(lambda sound: up(voc.vocoder(through_vae(sound)))),
        CODEC: way(lambda sound: voc(through_vae(sound))),
    }


class GriffinLim:
    """Sound whose mel is nearest to a given one, as far as 60 rounds find it. Both channels begin with one phase."""

    def __init__(self, size: int, hop: int, bands: int, rate: int) -> None:
        self.size, self.hop = size, hop
        self.filters = _mel_filters(size // 2 + 1, bands, rate)
        self.inverse = torch.linalg.pinv(self.filters)

    def magnitudes(self, mel: Tensor) -> Tensor:
        """Log-mel (..., bands) → magnitudes (..., bins), the nearest that are not negative."""
        wanted = mel.exp()
        found: Tensor = (wanted @ self.inverse).clamp_min(0)
        ratio = self.filters.sum(dim=1) + 1e-12
        for _ in range(30):  # of multiplicative updates, after Lee and Seung
            found = found * ((wanted / (found @ self.filters + 1e-12)) @ self.filters.T / ratio)
        return found

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel (1, 2, frames, bands) → sound (1, 2, samples)."""
        magnitude = self.magnitudes(mel[0]).transpose(1, 2)
        window, length = torch.hann_window(self.size), (mel.shape[2] - 1) * self.hop
        phase = torch.rand(magnitude.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
        spectrum = torch.polar(magnitude, phase.expand_as(magnitude))
        sound = torch.zeros(2, length)
        for _ in range(60):
            sound = torch.istft(spectrum, self.size, self.hop, window=window, length=length)
            again = torch.stft(sound, self.size, self.hop, window=window, return_complex=True)
            spectrum = torch.polar(magnitude, again.angle())
        return sound[None]


class Real:
    """Clips of the four real sounds that nano_quality.py trains on, and how far the base's sounds are from them."""

    def __init__(self, recordings: Path, base: str) -> None:
        rows = [statistics(rendered(f, (33, n, m))) for n, f in enumerate(FAMILIES) for m in range(SCALE)]
        self.scale = np.stack(rows).std(axis=0) + 0.05
        generator = Generator(base)
        self.sounds = {sound.name: self._clips(sound) for sound in recorded(recordings)}
        self.base: dict[str, float] = {}
        for sound in recorded(recordings):
            takes = generator.takes(sound.caption, range(TAKES), duration=REAL_SECONDS)
            made = [take.waveform.expand(2, -1).numpy() for take in takes]
            self.base[sound.name] = self._distance(made, self.sounds[sound.name])

    @staticmethod
    def _clips(sound: Unseen) -> list[Array]:
        made = (sound.make(np.random.default_rng((77, number))) for number in range(REAL_CLIPS))
        return [0.9 * clip[:, : round(REAL_SECONDS * RATE)] / np.abs(clip).max() for clip in made]

    def _distance(self, made: list[Array], clips: list[Array]) -> float:
        a, b = (np.mean([statistics(mel_of(np.ascontiguousarray(x))) for x in both], axis=0) for both in (made, clips))
        return float(np.sqrt(np.square((a - b) / self.scale).mean()))

    def measure(self, way: Way) -> dict[str, float]:
        scores, changes = {}, []
        for name, clips in self.sounds.items():
            made = [way(clip) for clip in clips]
            scores[name] = self._distance(made, clips) / self.base[name]
            kept = np.sum([ear.low_changes(x) for x in made]) / np.sum([ear.low_changes(x) for x in clips])
            changes.append(100 * (1 - float(kept)))
        print({name: round(score, 3) for name, score in scores.items()}, flush=True)
        found = {"changes": float(np.mean(changes)), "real": float(np.mean(list(scores.values())))}
        return found | {"real, worst": max(scores.values())}


def of_synthesised(way: Way) -> dict[str, float]:
    """Return the figures of sounds whose silence, attack, pitch and width are known."""
    clips = [ear.hits(kind, number) for number, kind in enumerate(ear.KINDS)]
    made = [way(clip.sound) for clip in clips]
    tones = {hertz: (ear.tone(hertz), way(ear.tone(hertz))) for hertz in ear.TONES}
    return {
        "floor": float(np.mean([ear.floor(x, clip) for x, clip in zip(made, clips, strict=True)])),
        "attack": float(np.mean([ear.attack(x, clip) for x, clip in zip(made, clips, strict=True)])),
        "pitch": float(np.median([ear.cents(x, hertz) for hertz, (_, x) in tones.items() if hertz > ear.PITCHED])),
        "buzz": float(np.median([ear.buzz(x, true, hertz) for hertz, (true, x) in tones.items()])),
        "width": float(np.mean([_narrower(way(x), x) for x in ear.wide_sounds()])),
        "mono": float(np.mean([_narrower(way(x), x) for x in ear.mono_sounds()])),
    }


def _narrower(made: Array, original: Array) -> float:
    return abs(ear.correlation(made) - ear.correlation(original))


def of_loras(base: str, folder: Path) -> dict[str, float]:
    """Train a LoRA of dry hits, and one of wide noise. Return the figures of their sounds."""
    clips = [ear.hits("wood", 20 + number, 5.2) for number in range(10)]
    noise = [ear.wide(40 + number, 0.2, 5.2) for number in range(10)]
    generators = {}
    for name, sounds in (("wood block", [clip.sound for clip in clips]), ("wide noise", noise)):
        data = folder / name / "clips"
        data.mkdir(parents=True)
        for number, sound in enumerate(sounds):
            write_wav(data / f"{number}.wav", torch.from_numpy(sound), RATE)
            (data / f"{number}.txt").write_text(name)
        run = train(data, folder / name / "run", base=base, steps=STEPS, validation_prompts=[], hold_out=0)
        generators[name] = Generator(base, [(run.lora, 1.0)])
    floors, attacks, widths = [], [], []
    wanted = float(np.mean([ear.correlation(sound) for sound in noise]))
    for seed in range(SEEDS):
        made = generators["wood block"]("wood block", seed=seed, duration=5.0).waveform.expand(2, -1).numpy()
        found = ear.found_hits(made)
        floors.append(ear.floor(made, found))
        attacks.append(ear.attack(made, found))
        stereo = generators["wide noise"]("wide noise", seed=seed, duration=5.0).waveform.expand(2, -1).numpy()
        widths.append(abs(ear.correlation(stereo) - wanted))
    return {name: float(np.mean(of)) for name, of in (("floor", floors), ("attack", attacks), ("width", widths))}


def figures_of(rows: dict[str, dict[str, float]]) -> list[Figure]:
    figures = []
    for row, found in rows.items():
        goals = {CODEC: GOALS, LORAS: LORA_GOALS}.get(row, {})
        for key, value in found.items():
            name, unit = COLUMNS[key]
            figures.append(Figure(f"{row} | {name}", value, unit, goals.get(key)))
    return figures


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return the rows as a Markdown table of parts and figures."""
    header = ["a sound through", *(f"{name}, {unit}" for name, unit in COLUMNS.values())]
    lines = [header, ["---", *("---:" for _ in COLUMNS)]]
    for row, found in rows.items():
        cells = [_shown(found[key], key) if key in found else "" for key in COLUMNS]
        lines.append([row, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: float, key: str) -> str:
    return f"{value:.2f}" if COLUMNS[key][1] in ("of correlation", "of the base's") else f"{value:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--loras", action="store_true", help="train two LoRAs and measure them, too")
    add_record(parser)
    arguments = parser.parse_args()
    os.environ["SOUNDLORA_CACHE"] = tempfile.mkdtemp()
    real = Real(arguments.recordings, arguments.base)
    rows: dict[str, dict[str, float]] = {}
    for name, way in ways(arguments.base).items():
        rows[name] = of_synthesised(way) | real.measure(way)
        print(name, {key: round(value, 3) for key, value in rows[name].items()}, flush=True)
    if arguments.loras:
        with tempfile.TemporaryDirectory() as temporary:
            rows[LORAS] = of_loras(arguments.base, Path(temporary))
    print(table(rows), "\n")
    details: dict[str, Any] = {"rows": rows, "base's distances": real.base}
    title = "What nano's codec loses, part by part."
    # A sound is the same on any machine.
    report("nano_ear", title, figures_of(rows), details, arguments.record, on=arguments.base)


if __name__ == "__main__":
    main()
