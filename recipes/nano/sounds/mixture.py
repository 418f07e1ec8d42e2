"""A mixture has two families in one clip: at once, one behind the other, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .captions import short_caption
from .dsp import Audio

Part = tuple[str, dict[str, str]]  # family and attributes

SENTENCES: dict[str, tuple[str, ...]] = {
    "together": ("{0} and {1}", "{1} and {0}", "{0} with {1}", "{0} together with {1}"),
    "background": (
        "{0} with {1} in the background",
        "{0} over {1}",
        "{0}, {1} in the background",
        "{0} in front of {1}",
    ),
    "then": ("{0}, then {1}", "{0} followed by {1}", "first {0}, then {1}", "{0} and then {1}", "{1} after {0}"),
}
# The level of the second part is relative to the first, in decibels.
LEVELS = {"together": (-4.0, 4.0), "background": (-6.0, -3.0), "then": (-3.0, 3.0)}
SHORTEST_SEQUENCE = 2.0
OVERLAP = 0.1
MAX_WORDS = 24


@dataclass(frozen=True)
class Mixture:
    """A rendered clip of two families. ``audio`` is as a ``Sound``'s. The parts of ``"then"`` are in order of time."""

    parts: tuple[Part, Part]
    kind: str
    caption: str
    audio: Audio


def mixture_caption(parts: Sequence[Part], kind: str, rng: np.random.Generator) -> str:
    """Return a random lower-case caption of up to 24 words for two parts, (family, attributes) each."""
    sentence = str(rng.choice(SENTENCES[kind]))
    text = sentence.format(*(short_caption(family, attributes, rng) for family, attributes in parts))
    return text if len(text.split()) <= MAX_WORDS else sentence.format(*(family for family, _ in parts))


def mix(first: Audio, second: Audio, kind: str, decibels: float, sample_rate: int) -> Audio:
    """Add two (2, samples) sounds, the second ``decibels`` louder. ``"then"`` joins them with a short overlap."""
    second = second * np.float32(_level(first, sample_rate) / _level(second, sample_rate) * 10 ** (decibels / 20))
    if kind != "then":
        return first + second
    ramp = np.linspace(0, 1, round(OVERLAP * sample_rate), dtype=np.float32)
    first[:, -len(ramp) :] *= ramp[::-1]
    second[:, : len(ramp)] *= ramp
    joint = first[:, -len(ramp) :] + second[:, : len(ramp)]
    return np.concatenate([first[:, : -len(ramp)], joint, second[:, len(ramp) :]], axis=1)


def _level(audio: Audio, sample_rate: int) -> float:
    """Return the RMS of the loudest fifth: a knock with long pauses is as loud as steady rain when its strokes are."""
    hop = sample_rate // 50
    power = (audio[:, : audio.shape[1] // hop * hop].reshape(2, -1, hop) ** 2).mean(axis=(0, 2))
    return float(np.sqrt(np.mean(np.sort(power)[-max(1, len(power) // 5) :]))) + 1e-9
