"""How a LoRA is used: its strength, that in each part of a block, and the sampling steps in which it works."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.lora.targets import PARTS, PRESETS
from soundlora.wording import setting, using

ALL_STEPS = (0.0, 1.0)
_MODULES = {part: {name for name in PRESETS["all"] if name.startswith(module)} for part, module in PARTS.items()}
PART_PRESETS = {
    preset: {part: 0.0 for part, names in _MODULES.items() if not names & set(targets)}
    for preset, targets in PRESETS.items()
}
"""Shares by the names that `--targets` has for the same parts: "attention" leaves the feed-forward layers out."""


@dataclass(frozen=True)
class LoraUse:
    """A LoRA's file, and how it works in a generation.

    strength: None takes that of the argument `strength`, which is 1 where nobody says otherwise.
    parts: shares of the strength by part of a block, such as `{"text": 0.5, "ff": 0}`; the parts are "self" for
        self-attention, "text" for the attention to the text, and "ff" for the feed-forward layers. A part that is not
        named has the share 1. Or one of the names of `--targets`: "attention" or "self-ff" are these parts alone.
    steps: from which share of the sampling steps to which it works. (0, 0.5) is the first, noisiest half. A step that
        begins at the first share is in, one that begins at the second is not, so (0, 0.5) and (0.5, 1) are all steps.
    Raises InputError for parts that there are not, and for numbers out of range.
    """

    path: str | os.PathLike[str]
    strength: float | None = None
    parts: Mapping[str, float] | str = field(default_factory=dict)
    steps: tuple[float, float] = ALL_STEPS

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike) or self.path == "":
            raise InputError(f"The path of a LoRA is {self.path!r}, but it must be that of a file.", field="loras")
        name = Path(self.path).name
        if self.strength is not None:
            _check_number(f"The strength of {name}", self.strength)
        if isinstance(self.parts, str):
            if self.parts not in PART_PRESETS:
                raise InputError(_no_part(name, self.parts), field="loras")
            object.__setattr__(self, "parts", dict(PART_PRESETS[self.parts]))
        if not isinstance(self.parts, Mapping):
            raise InputError(
                f"The parts of {name} are {self.parts!r}, but they must be shares by their names, as in "
                "{'text': 0.5}.",
                field="loras",
            )
        for part, share in self.shares.items():
            if part not in PARTS:
                raise InputError(_no_part(name, part), field="loras")
            _check_number(f"The share of {part} in {name}", share)
        if not _is_range(self.steps):
            pair = isinstance(self.steps, tuple | list) and all(isinstance(one, int | float) for one in self.steps)
            said = "-".join(f"{one:g}" for one in self.steps) if pair else repr(self.steps)
            raise InputError(
                f"{name} is to work from {said} of the sampling steps, but that must go from a lower to a higher share "
                "between 0 and 1, as in 0-0.7.",
                field="loras",
            )

    @property
    def shares(self) -> Mapping[str, float]:
        """The parts as a mapping."""
        assert not isinstance(self.parts, str)
        return self.parts

    @property
    def label(self) -> str:
        """The file's name without its ending, and what was said of its use: `gate:0.7,text=0.5@0-0.5`."""
        said = [] if self.strength is None else [f"{self.strength:g}"]
        said += [f"{part}={share:g}" for part, share in self.shares.items()]
        steps = "" if self.steps == ALL_STEPS else f"@{self.steps[0]:g}-{self.steps[1]:g}"
        return Path(self.path).stem + (f":{','.join(said)}" if said else "") + steps

    def works_in(self, step: int, steps: int) -> bool:
        """Say whether it works in a step, from 0, of so many."""
        return self.steps[0] <= step / steps < self.steps[1]


@dataclass(frozen=True)
class AttachedLora:
    """A LoRA inside a transformer, and how it is used; the strength is known."""

    adapter: Adapter
    use: LoraUse

    def at(self, step: int, steps: int) -> bool:
        """Let it work in this step, or not. Returns whether that changes anything."""
        strength = self.use.strength if self.use.works_in(step, steps) else 0.0
        return self.adapter.set_strength(1.0 if strength is None else strength, self.use.shares)


def _is_range(steps: object) -> bool:
    if not isinstance(steps, tuple | list) or len(steps) != 2:
        return False
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in steps)
    return numbers and 0 <= steps[0] < steps[1] <= 1


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value}, but it must be a number.", field="loras")


def _no_part(name: str, part: str) -> str:
    return (
        f"{name} is to have a strength in {part!r}, but the parts are {', '.join(PARTS)}, and their sets "
        f"{', '.join(PART_PRESETS)}."
    )


LoraFile = str | os.PathLike[str] | tuple[str | os.PathLike[str], float] | LoraUse


def chosen_loras(lora: str | os.PathLike[str] | None, strength: float, loras: Sequence[LoraFile]) -> list[LoraUse]:
    """Return how each LoRA is used. strength: of those that have none of their own.

    Raises InputError when `lora` and `loras` are both given, and for anything else than files and strengths.
    """
    if isinstance(loras, str | os.PathLike | LoraUse):
        loras = (loras,)
    if lora is not None and loras:
        raise InputError(
            f"{using('lora')} and {using('loras')} are both given; name one LoRA by the first, or all by the second.",
            field="loras",
        )
    if lora is not None:
        return [LoraUse(lora, _finite("strength", strength))]
    if not isinstance(loras, Sequence):
        raise InputError(f"{setting('loras')} is {loras!r}, but it must be a list of files.", field="loras")
    chosen = []
    for each in loras:
        if isinstance(each, LoraUse):
            chosen.append(each if each.strength is not None else replace(each, strength=_finite("strength", strength)))
            continue
        path, own = each if isinstance(each, tuple | list) and len(each) == 2 else (each, strength)
        if not isinstance(path, str | os.PathLike) or isinstance(own, bool) or not isinstance(own, int | float):
            raise InputError(
                f"{setting('loras')} has {each!r}, but each must be a file, or a file with its strength as in "
                "('gate.safetensors', 0.7).",
                field="loras",
            )
        chosen.append(LoraUse(path, _finite("strength", own)))
    return chosen


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"{setting(name)} is {value}, but it must be a number.", field=name)
    return value
