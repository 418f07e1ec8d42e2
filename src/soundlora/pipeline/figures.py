"""Figures that say how near sets of sounds are to some clips, so that settings can be compared by more than the ear."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from soundlora.audio import features
from soundlora.dataset import MEDIA_EXTENSIONS, DecodeError, decode, read_caption
from soundlora.dataset.measure import loudness
from soundlora.dataset.names import suffix
from soundlora.errors import InputError, about
from soundlora.pipeline.arguments import checked_arguments
from soundlora.pipeline.outside_judge import OutsideJudge
from soundlora.progress import OnProgress, Progress
from soundlora.system.devices import device_of
from soundlora.training.distances import FEWEST, Estimate, frechet_distance, kernel_distance, mean, moved
from soundlora.training.verdict import LIVELINESS, SPECTRUM
from soundlora.weights.base import Codec, open_base
from soundlora.wording import setting

Array = np.ndarray


@dataclass(frozen=True)
class Figure:
    """A line of the table: what it is, of the clips and of each set by its name. None is what can't be said of a set.

    A distance is that from the clips; that of the clips themselves is between every other one of them and the rest,
    which is the least that a distance can be expected to be.
    """

    name: str
    unit: str
    clips: Estimate | None
    sets: Mapping[str, Estimate | None]


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound that is compared."""

    samples: Array  # (channels, n), float, full scale ±1
    rate: int
    caption: str
    latents: Array  # (T, C)
    words: tuple[Array, Array | None] | None = None  # what an outside judge hears (D,), and reads in the caption (D,)

    @cached_property
    def mel(self) -> Array:
        return features.log_mel(self.samples, self.rate)

    @cached_property
    def pitches(self) -> tuple[Array, float]:
        return features.pitches(self.samples, self.rate)

    @property
    def seconds(self) -> float:
        return float(self.samples.shape[1]) / self.rate


@checked_arguments
def figures(
    clips: str | os.PathLike[str],
    sounds: Mapping[str, str | os.PathLike[str]],
    *,
    base: str = "nano",
    judge: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
) -> list[Figure]:
    """Compare sets of sounds with clips: each is a folder of sound files, at least two of them.

    base: its encoder makes the latents that two of the distances are measured on. Best is the base of the sounds.
    judge: a folder with a CLAP model in the layout of transformers, which then hears all sounds, too, and reads the
        captions in the .txt files beside them.
    Raises InputError for folders and models that can't be used; it names the file.
    """
    place = device_of(device)
    # A wrong name is told at once, and not after minutes with the folders before it.
    with about("clips"):
        real_paths = _paths(Path(clips))
    with about("sounds"):
        paths = {name: _paths(Path(folder)) for name, folder in sounds.items()}
        if not paths:
            raise InputError(f"{setting('sounds')} names no folder; give one or several.")
    outside = None if judge is None else OutsideJudge(Path(judge), place)
    with about("base"):
        codec = open_base(base).codec(place, encoder=True)
    tell = on_progress or (lambda _: None)
    real = _read(real_paths, codec, outside, tell)
    sets = {name: _read(each, codec, outside, tell) for name, each in paths.items()}
    rows = compared(real, sets)
    if outside is not None:
        rows += [
            _described("CLAP score", "% of 1", _clap_score, real, sets),
            _compared("CLAP, kernel distance", "× 1000", _on_words(kernel_distance), real, sets),
            _compared("CLAP, Fréchet distance (FAD)", "", _on_words(frechet_distance), real, sets),
        ]
    return rows


def compared(real: Sequence[Sound], sets: Mapping[str, Sequence[Sound]]) -> list[Figure]:
    """Return what is compared without an outside judge. Of a set with fewer than `FEWEST` sounds some is None."""
    return [
        _described("loudness", "LUFS", _loudness, real, sets),
        _described(LIVELINESS, "dB", lambda sound: features.liveliness(sound.mel), real, sets),
        _described("onsets", "a second", _onset_rate, real, sets),
        _described("left and right", "correlation", _width, real, sets),
        _described("with a pitch", "% of the time", lambda sound: 100 * sound.pitches[1], real, sets),
        _compared("pitch", "semitones", _pitch_distance, real, sets),
        _compared(SPECTRUM, "nats", _spectrum_distance, real, sets),
        _compared("latents, kernel distance", "× 1000", _on_latents(kernel_distance), real, sets),
        _compared("latents, Fréchet distance", "", _on_latents(frechet_distance), real, sets),
    ]


def _paths(folder: Path) -> list[Path]:
    """Return the sound files of a folder, in the order of their names. Raises InputError when they are no set."""
    if not folder.is_dir():
        what = "is a file; give the folder that it lies in, or unpack it" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}.")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and suffix(path.name) in MEDIA_EXTENSIONS)
    if len(paths) < FEWEST:
        raise InputError(f"{folder} has {len(paths)} sound files, but a set takes at least {FEWEST}.")
    return paths


def _read(paths: list[Path], codec: Codec, outside: OutsideJudge | None, tell: OnProgress) -> list[Sound]:
    """Return the sounds of a set."""
    found = []
    for number, path in enumerate(paths):
        try:
            audio = decode(path)
        except DecodeError as error:
            raise InputError(f"{path} can't be read: {error}") from error
        tell(Progress("clips", number + 1, len(paths), message=path.name))
        beside = path.with_suffix(".txt")
        caption = read_caption(beside.read_bytes()) if beside.exists() else ""
        samples = torch.from_numpy(audio.samples)
        try:
            latents = codec.encode(samples, audio.sample_rate).numpy()
        except (InputError, ValueError) as error:
            raise InputError(f"{path} can't be compared: {str(error).rstrip('.')}.") from error
        words = None
        if outside is not None:
            words = outside.hear(samples, audio.sample_rate), outside.read(caption) if caption else None
        found.append(Sound(audio.samples, audio.sample_rate, caption, latents, words))
    return found


def _described(
    name: str,
    unit: str,
    measure: Callable[[Sound], float | None],
    real: Sequence[Sound],
    sets: Mapping[str, Sequence[Sound]],
) -> Figure:
    def estimate(sounds: Sequence[Sound]) -> Estimate | None:
        values = [value for value in map(measure, sounds) if value is not None]
        return mean(values) if values else None

    return Figure(name, unit, estimate(real), {label: estimate(sounds) for label, sounds in sets.items()})


def _compared(
    name: str,
    unit: str,
    distance: Callable[[Sequence[Sound], Sequence[Sound]], Estimate | None],
    real: Sequence[Sound],
    sets: Mapping[str, Sequence[Sound]],
) -> Figure:
    halves = real[::2], real[1::2]
    floor = distance(*halves) if min(map(len, halves)) >= FEWEST else None
    return Figure(name, unit, floor, {label: distance(sounds, real) for label, sounds in sets.items()})


def _loudness(sound: Sound) -> float | None:
    return loudness(sound.samples, sound.rate)


def _onset_rate(sound: Sound) -> float:
    return len(features.onsets(sound.mel)) / sound.seconds


def _width(sound: Sound) -> float | None:
    return features.width(sound.samples)


def _pitch_distance(sounds: Sequence[Sound], real: Sequence[Sound]) -> Estimate | None:
    one, other = (np.concatenate([sound.pitches[0] for sound in each]) for each in (sounds, real))
    return Estimate(moved(one, other)) if len(one) and len(other) else None


def _spectrum_distance(sounds: Sequence[Sound], real: Sequence[Sound]) -> Estimate:
    centre = np.mean([features.spectrum(sound.mel) for sound in real], axis=0)
    return mean([float(np.abs(features.spectrum(sound.mel) - centre).mean()) for sound in sounds])


def _on_latents(
    distance: Callable[[Sequence[Array], Sequence[Array]], Estimate],
) -> Callable[[Sequence[Sound], Sequence[Sound]], Estimate | None]:
    def measured(sounds: Sequence[Sound], real: Sequence[Sound]) -> Estimate | None:
        if min(len(sounds), len(real)) < FEWEST:
            return None
        return distance([each.latents for each in sounds], [each.latents for each in real])

    return measured


def _on_words(
    distance: Callable[[Sequence[Array], Sequence[Array]], Estimate],
) -> Callable[[Sequence[Sound], Sequence[Sound]], Estimate]:
    def heard(sounds: Sequence[Sound]) -> list[Array]:
        return [each.words[0][None] for each in sounds if each.words is not None]

    return lambda sounds, real: distance(heard(sounds), heard(real))


def _clap_score(sound: Sound) -> float | None:
    """Return a hundred times the cosine of what is heard and what the caption says, None without a caption."""
    heard, read = sound.words or (None, None)
    if heard is None or read is None:
        return None
    return 100 * float(heard @ read / (np.linalg.norm(heard) * np.linalg.norm(read)))
