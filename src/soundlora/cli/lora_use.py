"""What stands behind the file of `--lora`: `FILE:0.7,text=0.5@0-0.7`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.pipeline.lora_use import LoraUse

_STEPS = re.compile(r"(.+)@([\d.]+)-([\d.]+)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def lora_of(given: str) -> LoraUse:
    """Return the LoRA that `FILE[:STRENGTH][,PART=SHARE]...[@FROM-TO]` names, and how it is used.

    A file whose own name ends so is taken as it is. Raises InputError for a part that there is not, and for what is
    no number or out of range.
    """
    from soundlora.pipeline.lora_use import ALL_STEPS, PART_PRESETS, LoraUse

    if Path(given).exists():
        return LoraUse(given)
    steps = ALL_STEPS
    if match := _STEPS.fullmatch(given):
        given, steps = match[1], (_number(match[2], match[0]), _number(match[3], match[0]))
    file, colon, text = given.rpartition(":")
    items = text.split(",")
    meant = "=" in text or _NUMBER.fullmatch(items[0]) or items[0] in PART_PRESETS  # C:\lora.safetensors is a file
    if not (colon and file and meant) or Path(given).exists():
        return LoraUse(given, steps=steps)
    strength: float | None = None
    parts: dict[str, float] = {}
    for item in items:
        part, equals, share = item.partition("=")
        if equals:
            parts[part] = _number(share, given)
        elif _NUMBER.fullmatch(item) and strength is None:
            strength = float(item)
        elif item in PART_PRESETS:
            parts |= PART_PRESETS[item]
        else:
            raise InputError(
                f"--lora has {item!r} behind {file}, but there a strength may stand, one of "
                f"{', '.join(PART_PRESETS)}, and shares such as text=0.5, with commas between them."
            )
    return LoraUse(file, strength, parts, steps)


def _number(text: str, whole: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise InputError(f"--lora has {text!r} in {whole}, but a number must stand there.")
    return float(text)
