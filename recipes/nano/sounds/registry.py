"""The table of sound families that the synthesiser modules fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .dsp import Scene, Wave

Synth = Callable[[Scene, dict[str, str]], Wave]


@dataclass(frozen=True)
class Family:
    """A family's synthesiser, (scene, attributes) -> (2, samples), and the values each attribute can take.

    ``space`` and ``distance`` are applied to the finished audio by the renderer; all others by the synthesiser.
    """

    synth: Synth
    choices: dict[str, tuple[str, str]]


REGISTRY: dict[str, Family] = {}

SPEED = ("slow", "fast")
PITCH = ("low", "high")
INTENSITY = ("light", "heavy")
SPACE = ("dry", "reverberant")
DISTANCE = ("near", "far")
BRIGHTNESS = ("dark", "bright")


def family(name: str, **choices: tuple[str, str]) -> Callable[[Synth], Synth]:
    """Register the decorated synthesiser under ``name`` with its attributes."""

    def register(synth: Synth) -> Synth:
        REGISTRY[name] = Family(synth, choices)
        return synth

    return register
