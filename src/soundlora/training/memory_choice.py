"""The plan that a run chooses for the memory there is, and the settings to lower where that is too little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from soundlora.model.config import ModelConfig
from soundlora.model.gemma_config import GemmaConfig
from soundlora.system.devices import shares_memory
from soundlora.system.gpu_memory import available, gib, held_by_others, is_measured
from soundlora.system.operating_system import memory_bytes
from soundlora.training.memory_plan import SHARE, Plan, Settings, fitting, plan
from soundlora.wording import setting, using

# Of the host's memory, in captions' keys and values. It is a share of all there is: that of what is free would let a
# resumed run choose otherwise.
_HOST_SHARE = 0.125
_LEAST_RANK, _LEAST_SECONDS = 8, 0.5


def choose(
    config: ModelConfig,
    settings: Settings,
    device: torch.device,
    checkpointing: bool | None = None,
    encoder: GemmaConfig | None = None,
    processes: int = 1,
    offload: int | None = 0,
) -> tuple[Plan, str]:
    """Return the plan of a run on this device, and a sentence that says what was chosen and why.

    settings: those of one process. checkpointing, offload: None leaves them to the memory. processes: the number of
    them that share each batch.
    """
    in_vain = ""
    if offload and shares_memory(device):
        offload, in_vain = 0, f"; no block is offloaded, as {device.type} computes in the host's own memory"
    if device.type != "cuda":
        # Other devices hold the attention's scores for the backward pass, as far as is known.
        settings = replace(settings, fused_attention=False)
    if not is_measured(device):
        # The free memory of a CPU changes by the second, and one clip at a time is no slower there.
        away = min(offload or 0, config.transformer.layers)
        again = bool(checkpointing) or away > 0
        settings = replace(settings, clips=1, checkpointing=again, offload=away)
        chosen = plan(config, replace(settings, captions=0 if away else settings.captions), encoder, cuda=False)
        if chosen.text > _HOST_SHARE * (memory_bytes() or 0):  # none where nobody tells it
            chosen = plan(config, replace(settings, captions=0), encoder, cuda=False)
        why = "as was asked for" if again else "which is faster"
        text = f"about {gib(chosen.peak)} at the peak; activations are {_kept(chosen)}, {why}"
        return chosen, f"{text}{_text(chosen)}{_elsewhere(config, chosen)}{in_vain}"
    memory, total = available(device)
    if offload is None and shares_memory(device):
        offload = 0
    cuda = device.type == "cuda"
    chosen, fits = fitting(config, settings, memory, encoder, checkpointing, offload, cuda=cuda)
    text = f"about {gib(chosen.peak)} of this GPU's {gib(total)} at the peak{held_by_others(memory, total)}"
    text += f"; activations are {_kept(chosen)}{in_vain}"
    if not fits:
        return chosen, f"{text}; that may not fit. {what_to_lower(config, chosen, encoder, memory, processes)}"
    if checkpointing is None and chosen.settings.checkpointing:
        kept = plan(config, replace(settings, clips=1, captions=0), encoder, cuda=cuda)
        text += f", as keeping them would take {gib(kept.peak)}"
    if settings.clips > 1:
        text += f"; {chosen.settings.clips} of {settings.clips} clips go through at once"
    text += _text(chosen) + _elsewhere(config, chosen)
    if offload is None and chosen.settings.offload and settings.quantize is None:
        narrow = fitting(config, replace(settings, quantize="int8"), memory, encoder, checkpointing, cuda=cuda)
        if narrow[1]:
            text += f"; {using('quantize', 'int8')} takes {gib(narrow[0].peak)} without copies, which is faster"
    return chosen, text


def out_of_memory(
    config: ModelConfig, chosen: Plan, encoder: GemmaConfig | None, device: torch.device, processes: int = 1
) -> str:
    """Return sentences for a run whose training did not get the memory it needed."""
    text, memory = f"The memory ran out, though {gib(chosen.peak)} were planned", None
    if is_measured(device):
        memory, total = available(device)
        text += f" of this GPU's {gib(total)}{held_by_others(memory, total)}"
    lower = what_to_lower(config, chosen, encoder, memory, processes)
    again, away = using("checkpoint_activations", True), setting("offload")
    return f"{text}. {lower} A run can take up {again} and {away} on its way; anything else begins a new one."


def what_to_lower(
    config: ModelConfig, chosen: Plan, encoder: GemmaConfig | None, memory: int | None, processes: int = 1
) -> str:
    """Say which settings bring the plan down to the room of a GPU with `memory` bytes, and by a tenth at least."""
    goal = round(min(0.9 * chosen.peak, SHARE * memory if memory is not None else chosen.peak))
    cuda, settings = chosen.runtime > 0, replace(chosen.settings, gathered=False)

    def peak(**changes: Any) -> int:
        return plan(config, replace(settings, **changes), encoder, cuda=cuda).peak

    alternatives = _alternatives(settings, processes, config.transformer.layers)
    enough = []
    for values in alternatives:
        for flag, change in values.items():
            if (size := peak(**change)) <= goal:
                enough.append(f"{flag} ({gib(size)})")
                break
    if enough:
        return f"Any of these takes less, by the plan: {', '.join(enough)}."
    flags: list[str] = []
    together: dict[str, Any] = {}
    size = chosen.peak
    for values in alternatives:
        for flag, change in values.items():
            if (smaller := peak(**together | change)) <= goal:
                return f"Together these take {gib(smaller)}, by the plan: {' '.join([*flags, flag])}."
        if smaller < size:
            flags, together, size = [*flags, flag], together | change, smaller
    less = f"Even with {' '.join(flags)} it" if flags else "It"
    return f"{less} would take {gib(size)}, by the plan, so a larger GPU is needed."


def _alternatives(s: Settings, processes: int, layers: int) -> list[dict[str, dict[str, Any]]]:
    """Return the smaller values of each setting by flag, the heaviest first.

    The settings that the LoRA depends on least come first.
    """
    found: list[dict[str, dict[str, Any]]] = [
        {using("batch_size", int(n * processes)): {"clips": int(n)} for n in _halves(s.clips, 1)},
        {} if s.checkpointing else {using("checkpoint_activations", True): {"checkpointing": True}},
        {} if s.optimizer == "adamw8bit" else {using("optimizer", "adamw8bit"): {"optimizer": "adamw8bit"}},
        {} if s.quantize else {using("quantize", "int8"): {"quantize": "int8"}},
        # Its copies take many times a step, so it stands behind what costs less, though the LoRA stays the same.
        {} if s.offload or not s.checkpointing else {using("offload", layers): {"offload": layers}},
        {using("rank", int(n)): {"rank": int(n)} for n in _halves(s.rank, _LEAST_RANK)},
        {using("duration", x): {"seconds": x} for x in _halves(s.seconds, _LEAST_SECONDS)},
    ]
    return [values for values in found if values]


def _halves(value: float, least: float) -> Iterator[float]:
    while (value := value / 2) >= least:
        yield value


def _elsewhere(config: ModelConfig, chosen: Plan) -> str:
    """Return a clause about the blocks in the host's memory, or "" where there are none."""
    if not chosen.settings.offload:
        return ""
    return (
        f"; {chosen.settings.offload} of {config.transformer.layers} blocks lie in the host's memory, "
        f"{gib(chosen.host)}, and {gib(chosen.copied)} are copied each time that clips go through"
    )


def _text(chosen: Plan) -> str:
    """Return a clause about captions' keys and values, or "" where none are kept."""
    if not chosen.text:
        return ""
    count = "one caption" if chosen.settings.captions == 1 else f"{chosen.settings.captions} captions"
    return f"; keys and values of {count} are kept ({gib(chosen.text)})"


def _kept(chosen: Plan) -> str:
    return "computed again block by block" if chosen.settings.checkpointing else "kept"
