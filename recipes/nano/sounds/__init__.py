"""This synthesiser makes sound for pretraining small text-to-audio models: captioned families and codec material.

Every function draws only from the generator that it is given, so a seed fixes a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import home, machines, music, nature
from .captions import caption
from .dsp import Audio, Scene, Wave, butterworth, distant, reverberate
from .mixture import LEVELS, OVERLAP, SHORTEST_SEQUENCE, Mixture, mix, mixture_caption
from .registry import REGISTRY
from .texture import texture

__all__ = [
    "FAMILIES",
    "Mixture",
    "Sound",
    "caption",
    "draw_attributes",
    "mixture_caption",
    "render",
    "render_mixture",
    "render_texture",
]

# Importing these modules fills the registry. Naming them here makes them count as used.
MODULES = (nature, machines, home, music)
MAX_CREST = 11.0
FAMILIES: tuple[str, ...] = tuple(REGISTRY)


@dataclass(frozen=True)
class Sound:
    """A rendered clip. ``audio`` is float32, (2, samples), at 48 kHz unless asked otherwise, peak at most 0.98."""

    family: str
    attributes: dict[str, str]
    caption: str
    audio: Audio


def draw_attributes(family: str, rng: np.random.Generator) -> dict[str, str]:
    """Return a random value for each attribute of ``family``."""
    return {name: values[int(rng.integers(len(values)))] for name, values in REGISTRY[family].choices.items()}


def render(
    family: str,
    rng: np.random.Generator,
    seconds: float = 5.0,
    sample_rate: int = 48_000,
    attributes: dict[str, str] | None = None,
) -> Sound:
    """Render ``seconds`` of ``family`` with random attributes. ``attributes`` can fix some or all of them."""
    if family not in REGISTRY:
        raise ValueError(f"unknown sound family {family!r}; known are: {', '.join(FAMILIES)}")
    chosen = draw_attributes(family, rng) | (attributes or {})
    s = Scene(rng, round(seconds * sample_rate), sample_rate)
    audio: Wave = REGISTRY[family].synth(s, chosen)
    if chosen.get("space") == "reverberant":
        audio = reverberate(s, audio, s.uniform(1.2, 2.8), s.uniform(0.3, 0.6))
    elif chosen.get("distance") == "far":
        audio = distant(s, audio)
    elif "space" not in chosen and s.chance(0.2):
        audio = reverberate(s, audio, s.uniform(0.2, 0.5), s.uniform(0.1, 0.3))
    audio = _tame(audio)
    return Sound(family, chosen, caption(family, chosen, rng), _finish(s, audio, _peak(s, chosen)))


def render_mixture(rng: np.random.Generator, seconds: float = 5.0, sample_rate: int = 48_000) -> Mixture:
    """Render two different families: together, the second in the background of the first, or after it."""
    kinds = [kind for kind in LEVELS if kind != "then" or seconds >= SHORTEST_SEQUENCE]
    kind = str(rng.choice(kinds))
    names = [str(name) for name in rng.choice(FAMILIES, 2, replace=False)]
    lengths = [seconds, seconds]
    if kind == "then":
        lengths[0] = round(seconds * rng.uniform(0.4, 0.6) * sample_rate) / sample_rate
        lengths[1] = seconds - lengths[0] + OVERLAP
    sounds = [render(name, rng, length, sample_rate) for name, length in zip(names, lengths, strict=True)]
    first, second = sounds
    audio = mix(first.audio, second.audio, kind, float(rng.uniform(*LEVELS[kind])), sample_rate)
    audio *= np.float32(rng.uniform(0.4, 0.9) / np.abs(audio).max())
    parts = ((first.family, first.attributes), (second.family, second.attributes))
    return Mixture(parts, kind, mixture_caption(parts, kind, rng), audio)


def render_texture(rng: np.random.Generator, seconds: float = 5.0, sample_rate: int = 48_000) -> Audio:
    """Render a random uncaptioned mixture for codec training: (2, samples) float32, peak between 0.02 and 0.98."""
    s = Scene(rng, round(seconds * sample_rate), sample_rate)
    audio = texture(s)
    peak = float(np.abs(audio).max())
    return _finish(s, audio, peak)


def _tame(audio: Wave) -> Wave:
    """Soft-limit rare clicks that tower over the rest, which a peak-normalised clip would otherwise bury."""
    ceiling = np.float32(MAX_CREST * np.sqrt(np.mean(audio**2)) + 1e-9)
    return audio if np.abs(audio).max() < ceiling else ceiling * np.tanh(audio / ceiling)


def _peak(s: Scene, attributes: dict[str, str]) -> float:
    if attributes.get("intensity") == "light":
        return s.uniform(0.3, 0.4)
    if attributes.get("distance") == "far":
        return s.uniform(0.3, 0.6)
    if attributes.get("intensity") == "heavy":
        return s.uniform(0.75, 0.95)
    return s.uniform(0.4, 0.9)


def _finish(s: Scene, audio: Wave, peak: float) -> Audio:
    """Remove inaudible lows, fold to mono at times, fade the ends against clicks and set the peak."""
    audio = butterworth(s, audio, "high", 20.0, 1)
    if s.chance(0.1):
        audio = np.repeat(audio.mean(axis=0, keepdims=True), 2, axis=0)
    fade = np.linspace(0, 1, min(s.n // 4, s.samples(0.004)), dtype=np.float32)
    audio[:, : len(fade)] *= fade
    audio[:, -len(fade) :] *= fade[::-1]
    return (audio * np.float32(peak / max(1e-9, float(np.abs(audio).max())))).astype(np.float32)
