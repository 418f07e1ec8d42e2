"""Sounds that show what a codec loses, and the figures of what is left of them. `nano_ear.py` uses them.

Sounds are float32 (2, samples) at 48 kHz. Each is made from a number, so that it is the same every time, and no
training has heard it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "nano"))

from judge import mel_of

Array = NDArray[np.float32]
Wide = NDArray[np.float64]

RATE = 48_000
SPACE, LENGTH = 0.7, 0.12  # seconds between two hits, and of one
TONES = tuple(float(hertz) for hertz in np.geomspace(83, 3960, 12).round(1))  # none of them is a multiple of 100 Hz
PITCHED = 200.0  # Hz from which a tone's pitch counts
NOISE = 10 ** (-50 / 20)  # of the tone, so that the original has a finite distance to its noise
AUDIBLE = -9.0
LOW_BANDS = 15  # bands of the mel below 1 kHz


def sine(hertz: float, time: Wide) -> Wide:
    return np.sin(2 * np.pi * hertz * time)


def hit(kind: str, rng: np.random.Generator) -> Wide:
    """Return one hit. It starts within half a millisecond and is silent after `LENGTH`."""
    time = np.arange(round(LENGTH * RATE)) / RATE
    noise, pitch = rng.normal(size=len(time)), rng.uniform(0.9, 1.1)
    sound = {
        "click": noise * np.exp(-time / 0.008),
        "wood": (sine(930 * pitch, time + 2e-4) + 0.5 * sine(2170 * pitch, time)) * np.exp(-time / 0.018),
        "snare": (noise + sine(190 * pitch, time)) * np.exp(-time / 0.025),
        "tick": (np.diff(noise, prepend=0.0)) * np.exp(-time / 0.004),
    }[kind]
    ends = np.minimum(1, time / 5e-4) * np.minimum(1, (LENGTH - time) / 0.02)
    out: Wide = sound * ends / np.abs(sound).max()
    return out


KINDS = ("click", "wood", "snare", "tick")


@dataclass(frozen=True)
class Hits:
    """A dry clip: hits of one kind, and nothing at all between them."""

    sound: Array
    onsets: tuple[float, ...]
    """Seconds."""


def hits(kind: str, seed: int, seconds: float = 3.0) -> Hits:
    rng = np.random.default_rng((801, seed))
    out, onsets = np.zeros(round(seconds * RATE)), []
    at = rng.uniform(0.2, 0.3)
    while at < seconds - 0.5:
        start = round(at * RATE)
        one = hit(kind, rng) * rng.uniform(0.5, 0.9)
        out[start : start + len(one)] += one
        onsets.append(start / RATE)
        at += SPACE * rng.uniform(0.95, 1.15)
    return Hits(np.stack([out, out]).astype(np.float32), tuple(onsets))


def found_hits(sound: Array) -> Hits:
    """Return a sound with the onsets of its loud hits, at least 0.45 s apart."""
    level = np.sqrt(np.convolve(np.square(sound).mean(axis=0), np.ones(480) / 480, "same"))
    onsets: list[float] = []
    for place in np.flatnonzero(level > 0.3 * level.max()) / RATE:
        if not onsets or place - onsets[-1] > LENGTH + 0.33:
            onsets.append(float(place))
    return Hits(sound, tuple(onsets))


def tone(hertz: float, seconds: float = 1.5) -> Array:
    rng = np.random.default_rng((802, round(10 * hertz)))
    time = np.arange(round(seconds * RATE)) / RATE
    ends = np.minimum(1, np.minimum(time, seconds - time) / 0.02)
    out = 0.4 * (sine(hertz, time) + NOISE * rng.normal(size=len(time)) / 2**0.5) * ends
    return np.stack([out, out]).astype(np.float32)


def wide(seed: int, shared: float, seconds: float = 3.0) -> Array:
    """Return noise whose channels have `shared` of their power in common. It swells, and low bands are louder."""
    rng = np.random.default_rng((803, seed))
    count = round(seconds * RATE)
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    slope = (frequency / 200 + 1) ** -0.7 * (frequency > 60)
    common, left, right = (np.fft.irfft(np.fft.rfft(rng.normal(size=count)) * slope, count) for _ in range(3))
    both = shared**0.5 * common + (1 - shared) ** 0.5 * np.stack([left, right])
    swell = 1 + 0.6 * np.sin(2 * np.pi * rng.uniform(0.7, 2) * np.arange(count) / RATE)
    return np.asarray(0.25 * both * swell / both.std(), np.float32)


def hall(kind: str, seed: int) -> Array:
    """Return hits in a hall, whose echoes reach the two channels apart."""
    rng = np.random.default_rng((804, seed))
    dry = hits(kind, seed).sound
    time = np.arange(round(0.8 * RATE)) / RATE
    echo = rng.normal(size=(2, len(time))) * np.exp(-time / 0.15)
    wet = np.stack([fftconvolve(x, e)[: dry.shape[1]] for x, e in zip(dry, echo, strict=True)])
    wet *= 1.2 * dry.std() / wet.std()
    return np.asarray(0.6 * (dry + wet) / np.abs(dry + wet).max(), np.float32)


def wide_sounds() -> list[Array]:
    return [*(wide(seed, shared) for seed, shared in enumerate((0.0, 0.3, 0.6))), hall("snare", 5), hall("wood", 6)]


def mono_sounds() -> list[Array]:
    return [wide(7, 1.0), hits("snare", 8).sound]


def decibels(power: float) -> float:
    return float(10 * np.log10(power + 1e-20))


def floor(made: Array, original: Hits) -> float:
    """Return by how many dB gaps lie below the loudest hundredth of a second, as the median over the gaps."""
    power = np.square(made.astype(np.float64)).mean(axis=0)
    size = RATE // 100
    loudest = np.convolve(power, np.ones(size) / size, "valid").max()
    gaps = [
        power[round((start + LENGTH + 0.15) * RATE) : round((end - 0.08) * RATE)].mean()
        for start, end in zip(original.onsets[:-1], original.onsets[1:], strict=True)
    ]
    return decibels(float(loudest)) - decibels(float(np.median(gaps)))


def attack(made: Array, original: Hits) -> float:
    """Return the milliseconds from a tenth to nine tenths of a hit's level, as the median over the hits."""
    size = round(0.003 * RATE)
    window = np.hanning(size)
    level = np.sqrt(np.convolve(np.square(made.astype(np.float64)).mean(axis=0), window / window.sum(), "same"))
    found = []
    for onset in original.onsets:
        first, last = round((onset - 0.1) * RATE), round((onset + LENGTH) * RATE)
        part = level[max(0, first) : last]
        high = int(np.argmax(part >= 0.9 * part.max()))
        low = high - int(np.argmax(part[high::-1] < 0.1 * part.max()))
        found.append(1000 * (high - low) / RATE)
    return float(np.median(found))


def line(sound: Array, hertz: float) -> tuple[float, float]:
    """Return the frequency of the strongest line within an octave of `hertz`, and its level above all else in dB."""
    middle = sound.mean(axis=0).astype(np.float64)[RATE // 4 : -RATE // 4]
    count = len(middle)
    power = np.abs(np.fft.rfft(middle * np.hanning(count), 4 * count)) ** 2
    frequency = np.fft.rfftfreq(4 * count, 1 / RATE)
    near = (frequency > hertz / 2**0.5) & (frequency < hertz * 2**0.5)
    peak = int(np.argmax(np.where(near, power, 0)))
    before, at, after = np.log(power[peak - 1 : peak + 2] + 1e-30)
    exact = frequency[peak] + 0.5 * (before - after) / (before - 2 * at + after) * frequency[1]
    inside = (np.abs(frequency - exact) < 10) & (frequency > 20)
    return float(exact), decibels(power[inside].sum()) - decibels(power[~inside & (frequency > 20)].sum())


def cents(made: Array, hertz: float) -> float:
    return float(abs(1200 * np.log2(line(made, hertz)[0] / hertz)))


def buzz(made: Array, original: Array, hertz: float) -> float:
    """Return by how many dB the tone stands less far above everything else than it did."""
    return line(original, hertz)[1] - line(made, hertz)[1]


def correlation(sound: Array) -> float:
    return float(np.asarray(np.corrcoef(sound))[0, 1])


def low_changes(sound: Array) -> float:
    """Return the mean change of a band's level from frame to frame below 1 kHz, in nats."""
    low = np.maximum(mel_of(sound).mean(axis=0)[:, :LOW_BANDS], AUDIBLE)
    return float(np.abs(np.diff(low, axis=0)).mean())
