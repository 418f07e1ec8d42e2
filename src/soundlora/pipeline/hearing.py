"""What is heard of a run at its end: figures of the LoRA's sounds, and of those of its start, beside the clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from soundlora.pipeline.figures import Sound, compared
from soundlora.training.distances import FEWEST
from soundlora.training.evaluation import Comparison
from soundlora.training.trainer import Example
from soundlora.training.verdict import Heard
from soundlora.weights.base import Base

_MOST = 8
"""Clips that are compared with, which are as many sounds to decode."""


def heard(
    base: Base, device: torch.device, clips: Sequence[Example], found: Comparison, kept_out: bool
) -> tuple[tuple[Heard, ...], str]:
    """Return the figures of generated sound, and a sentence on what they compare.

    All of it comes from latents, the clips too, so that the codec colours everything alike. clips: those to compare
    with, of which the first are taken. kept_out: whether they are kept out of the training.
    """
    codec = base.codec(device, decoder=True)

    def sound(latents: Tensor) -> Sound:
        return Sound(codec.decode(latents).numpy(), codec.sample_rate, "", latents.float().numpy())

    real = [sound(clip.sound) for clip in clips[:_MOST]]
    sets = {"lora": [sound(latents) for latents in found.generated], "start": [sound(x) for x in found.original]}
    rows = tuple(
        Heard(row.name, row.unit, row.clips, row.sets["start"], row.sets["lora"]) for row in compared(real, sets)
    )
    return rows, _sentence(len(found.generated), len(real), kept_out)


def _sentence(sounds: int, clips: int, kept_out: bool) -> str:
    compared_ = f"{_counted(sounds, 'sound')} of the LoRA and as many of the start, for captions of clips"
    few = " and ".join(words for count, words in ((sounds, "of sounds"), (clips, "of clips")) if count < FEWEST)
    lacks = f"; one {few} is too few to compare latents as sets" if few else ""
    which = "kept out" if kept_out else "trained on"
    return f"{compared_}, beside {_counted(clips, 'clip')} {which}{lacks}."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
