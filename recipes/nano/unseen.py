"""This recipe makes eight sounds that pretraining never heard, with ten clips of 5 s each, to see what a LoRA learns.

    apt-get download sonic-pi-samples sound-theme-freedesktop
    for package in *.deb; do dpkg -x $package recordings; done

Four are synthesised here. Four are real recordings from those two Debian packages, strung together at random.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]

RATE, SECONDS, CLIPS = 48_000, 5.3, 10


@dataclass(frozen=True)
class Unseen:
    """A sound and its caption. A function makes a clip (2, samples) of it from a generator of random numbers."""

    name: str
    caption: str
    real: bool
    make: Callable[[np.random.Generator], Audio]


def synthesised() -> list[Unseen]:
    return [
        Unseen("zaps", "laser zaps", False, _zaps),
        Unseen("boings", "bouncing springs", False, _boings),
        Unseen("chatter", "robot chatter", False, _chatter),
        Unseen("gongs", "gong swells", False, _gongs),
    ]


def recorded(recordings: Path) -> list[Unseen]:
    """Return the sounds of real recordings. Raises FileNotFoundError when `recordings` lacks the unpacked packages."""

    def strung(pattern: str, gap: tuple[float, float]) -> Callable[[np.random.Generator], Audio]:
        takes = [read(path) for path in sorted(recordings.rglob(pattern))]
        if not takes:
            raise FileNotFoundError(f"no {pattern} in {recordings}: unpack the two packages there")
        return lambda rng: string_together(rng, takes, gap)

    return [
        Unseen("tabla", "tabla strokes", True, strung("tabla_*.flac", (0.1, 0.5))),
        Unseen("blips", "electronic blips", True, strung("elec_*.flac", (0.05, 0.4))),
        Unseen("talk box", "talk box riffs", True, strung("mehackit_robot*.flac", (0.0, 0.2))),
        Unseen("announcements", "spoken channel names", True, strung("audio-channel-*.oga", (0.0, 0.3))),
    ]


def write(sound: Unseen, folder: Path) -> None:
    """Write ten clips and their captions, the same ones every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(CLIPS):
        audio = sound.make(np.random.default_rng((77, number)))
        path = folder / f"{sound.name.replace(' ', '_')}_{number:02d}.wav"
        samples = np.round(0.9 * 32767 * audio / np.abs(audio).max()).astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples.T.tobytes())
        path.with_suffix(".txt").write_text(sound.caption + "\n")


def read(path: Path) -> Audio:
    """Return a recording as (2, samples) at 48 kHz."""
    with av.open(str(path)) as container:
        converter = av.AudioResampler("fltp", "stereo", RATE)
        frames = [out for frame in container.decode(audio=0) for out in converter.resample(frame)]
        frames += converter.resample(None)
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1).astype(np.float32)


def string_together(rng: np.random.Generator, takes: list[Audio], gap: tuple[float, float]) -> Audio:
    out, at = silence(), 0
    while at < out.shape[1]:
        take = takes[int(rng.integers(len(takes)))] * np.float32(rng.uniform(0.6, 1.0))
        # Takes follow one after the other. A long one is cut, as a player would damp it.
        take = take[:, : int(1.5 * RATE)]
        take = take * np.minimum(1, (take.shape[1] - np.arange(take.shape[1])) / 2000).astype(np.float32)
        put(out, at, take)
        at += min(take.shape[1], int(0.6 * RATE) if gap[0] else take.shape[1]) + int(rng.uniform(*gap) * RATE)
    return out


def silence() -> Audio:
    return np.zeros((2, int(SECONDS * RATE)), np.float32)


def put(out: Audio, at: int, sound: Audio) -> None:
    count = min(sound.shape[-1], out.shape[1] - at)
    if count > 0:
        out[:, at : at + count] += sound[..., :count]


def _time(seconds: float) -> NDArray[np.float64]:
    return np.arange(int(seconds * RATE)) / RATE


def _zaps(rng: np.random.Generator) -> Audio:
    """Return shots: harmonic tones that fall by three octaves."""
    out = silence()
    for start in np.arange(0.03, SECONDS, rng.uniform(0.35, 0.8)):
        t = _time(rng.uniform(0.2, 0.45))
        fall = (1 - t / t[-1]) ** 2
        phase = 2 * np.pi * np.cumsum(200 * (rng.uniform(14, 22)) ** fall) / RATE
        tone = sum(np.sin(k * phase) / k**1.2 for k in range(1, 5)) * np.exp(-3 * t / t[-1]) * np.minimum(1, t / 0.002)
        put(out, int(start * RATE), np.asarray(tone, np.float32))
    return out


def _boings(rng: np.random.Generator) -> Audio:
    """Return springs: a plucked buzz whose pitch and brightness wobble, slower and slower."""
    out, start = silence(), 0.05
    while start < SECONDS - 0.2:
        t = _time(rng.uniform(0.7, 1.1))
        wobble = np.sin(2 * np.pi * np.cumsum(14 - 8 * t / t[-1]) / RATE)
        phase = 2 * np.pi * np.cumsum(rng.uniform(120, 190) * 2 ** (0.5 * wobble * np.exp(-2 * t))) / RATE
        tone = sum(np.sin(k * phase) * np.exp(-0.5 * ((k - 5 - 4 * wobble) / 1.5) ** 2) for k in range(1, 14))
        put(out, int(start * RATE), np.asarray(tone * np.exp(-3.5 * t) * np.minimum(1, t / 0.003), np.float32))
        start += rng.uniform(0.8, 1.3)
    return out


def _chatter(rng: np.random.Generator) -> Audio:
    """Return a robot: a buzz through two resonances that jump about a dozen times a second."""
    t = _time(SECONDS)
    steps = np.repeat(rng.uniform(0, 1, (3, 90)), int(rng.uniform(0.07, 0.09) * RATE), axis=1)[:, : len(t)]
    phase = 2 * np.pi * np.cumsum(90 * 2 ** np.round(steps[0] * 3)) / RATE / 2
    first, second = 300 * 3 ** steps[1], 1200 * 2.2 ** steps[2]
    pitch = 45 * 2 ** np.round(steps[0] * 3)
    tone = np.zeros_like(t)
    for k in range(1, 60):
        level = np.exp(-0.5 * ((k * pitch - first) / 120) ** 2) + 0.7 * np.exp(-0.5 * ((k * pitch - second) / 200) ** 2)
        tone += level * np.sin(k * phase) * (k * pitch < 8000)
    out = silence()
    put(out, 0, (tone * (steps[1] > 0.15)).astype(np.float32))
    return out


def _gongs(rng: np.random.Generator) -> Audio:
    """Return large gongs: many unrelated partials that swell after the stroke and beat."""
    out, start = silence(), 0.05
    while start < SECONDS - 0.5:
        t = _time(3.5)
        tone = np.zeros_like(t)
        for frequency in np.exp(rng.uniform(np.log(90), np.log(2500), 40)):
            rise, fall = 0.05 + 0.5 * (frequency / 2500) ** 0.5, rng.uniform(0.8, 2.5)
            shape = (1 - np.exp(-t / rise)) * np.exp(-t / fall)
            tone += shape * np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6.28)) * (200 / (frequency + 200)) ** 0.5
        put(out, int(start * RATE), tone.astype(np.float32))
        start += rng.uniform(1.8, 2.6)
    return out
