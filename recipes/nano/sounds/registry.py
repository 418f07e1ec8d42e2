"""The registry is the table of sound families. The synthesiser modules fill it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .dsp import Scene, Wave

Synth = Callable[[Scene, dict[str, str]], Wave]


@dataclass(frozen=True)
class Family:
    """A family's synthesiser, (scene, attributes) -> (2, samples), and the values that each attribute can take.

    The renderer applies ``space`` and ``distance`` to the finished audio. The synthesiser applies all others.
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
