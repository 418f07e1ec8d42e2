"""`soundlora doctor --plan` shows a training's GPU memory for every form of the base, and the least time of a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from soundlora.cli.output import print_json
from soundlora.model.config import ModelConfig
from soundlora.model.gemma_config import GemmaConfig
from soundlora.system.devices import found as here
from soundlora.system.devices import name_of
from soundlora.system.gpu_memory import GIB
from soundlora.training.memory_plan import Plan, Settings, fitting, plan
from soundlora.training.optimizers import check_optimizer
from soundlora.training.step_time import CARDS as RATES
from soundlora.training.step_time import card_of, least_seconds
from soundlora.weights.base import open_base
from soundlora.weights.generations import LTX_23, SUPPORTED

_FORMS: tuple[tuple[str, torch.dtype, str | None], ...] = (
    ("fp32", torch.float32, None),
    ("bf16", torch.bfloat16, None),
    ("int8", torch.bfloat16, "int8"),
    ("fp8", torch.bfloat16, "fp8"),
)
CARDS = (8, 12, 16, 24)
"""GiB that cards have."""

_ROWS = {
    "weights": "the base's weights",
    "adapter": "adapter, gradients, Adam",
    "runtime": "CUDA itself",
    "saved": "activations of a step",
    "workspace": "workspace of a step",
    "step": "a training step in all",
    "evaluation": "loss on clips kept out",
    "previews": "previews, beside the first three",
    "preparation": "latents, captions, loading",
    "peak": "peak",
}


def plans(base: str, rank: int, seconds: float, clips: int, optimizer: str = "adamw") -> dict[str, Plan]:
    """Return the plans by form of the base; a form with "again" computes activations again.

    `seconds` is the length of a clip, `clips` the batch size. Raises InputError as `open_base` does, and for an unknown
    optimizer.
    """
    check_optimizer(optimizer)
    config, encoder = _sizes(base)
    found = {}
    for name, dtype, quantization in _FORMS:
        for checkpointing in (False, True):
            settings = Settings(
                rank, "all", seconds, clips, dtype, quantization, optimizer, checkpointing=checkpointing
            )
            found[name + (" again" if checkpointing else "")] = plan(config, settings, encoder)
    return found


def cards(base: str, rank: int, seconds: float, clips: int, optimizer: str = "adamw") -> dict[int, list[Plan]]:
    """Return the plans that fit on a card by its GiB, nothing else being on it; the first is what `train` chooses.

    Where that one copies blocks, others follow that don't, which are faster and train another LoRA. Nothing fits where
    the list is empty. Raises as `plans` does.
    """
    check_optimizer(optimizer)
    config, encoder = _sizes(base)
    asked = Settings(rank, "all", seconds, clips, optimizer=optimizer)
    narrow = replace(asked, quantize="int8")
    found: dict[int, list[Plan]] = {}
    for size in CARDS:
        tries = [(asked, None), (narrow, 0), (replace(narrow, optimizer="adamw8bit"), 0)]
        fits = []
        for settings, offload in tries:
            choice, is_enough = fitting(config, settings, size * GIB, encoder, offload=offload)
            if is_enough:
                fits.append(choice)
                if not choice.settings.offload:
                    break
        found[size] = fits
    return found


def steps(base: str, rank: int, seconds: float, clips: int, optimizer: str = "adamw") -> dict[str, dict[str, float]]:
    """Return the least milliseconds of a step by card and by form of the base; those in fp32 are not known.

    Raises as `plans` does.
    """
    config, _ = _sizes(base)
    forms = {
        name: found.settings
        for name, found in plans(base, rank, seconds, clips, optimizer).items()
        if found.settings.dtype == torch.bfloat16
    }
    return {
        card: {name: 1000 * least_seconds(config, settings, rates) for name, settings in forms.items()}
        for card, rates in RATES.items()
    }


def flags(chosen: Plan) -> str:
    """Return the flags of `soundlora train` that a plan stands for, beside those of the whole table."""
    s = chosen.settings
    parts = [
        f"--quantize {s.quantize}" if s.quantize else "",
        f"--optimizer {s.optimizer}" if s.optimizer != "adamw" else "",
        "--checkpoint-activations" if s.checkpointing else "",
        f"--offload {s.offload}" if s.offload else "",
    ]
    return " ".join(part for part in parts if part)


def print_plans(
    base: str, rank: int, seconds: float, clips: int, optimizer: str = "adamw", *, as_json: bool = False
) -> None:
    """Print the plans as a table in GiB, with a row a part and a column a form, or with `as_json` in bytes."""
    found = plans(base, rank, seconds, clips, optimizer)
    fitting_cards = cards(base, rank, seconds, clips, optimizer)
    if as_json:
        values: dict[str, Any] = {name: {row: getattr(p, row) for row in _ROWS} for name, p in found.items()}
        values["cards"] = {
            size: [{"flags": flags(p)} | {row: getattr(p, row) for row in ("peak", "host", "copied")} for p in fits]
            for size, fits in fitting_cards.items()
        }
        values["steps"] = steps(base, rank, seconds, clips, optimizer)
        print_json(values)
        return
    at_once = "one clip" if clips == 1 else f"{clips} clips"
    print(f"GPU memory in GiB to train on {base}: rank {rank}, {seconds:g} s, {at_once} at once.")
    print("again: activations are computed again in the backward pass (--checkpoint-activations).\n")
    print(" " * 34 + "".join(f"{name:>12}" for name in found))
    for row, title in _ROWS.items():
        print(f"{title:<34}" + "".join(f"{getattr(p, row) / GIB:>12.2f}" for p in found.values()))

    print("\nWhat fits on a card of so many GiB. Train chooses the first by itself; a second trains faster.")
    for size, fits in fitting_cards.items():
        for chosen in fits:
            copies = f", {chosen.copied / GIB:.2f} copied a step" if chosen.settings.offload else ""
            print(f"{size:>3} GiB   {flags(chosen) or 'as it is':<58}{chosen.peak / GIB:>6.2f} GiB{copies}")
        if not fits:
            print(f"{size:>3} GiB   nothing; a lower rank or shorter clips take less")
    _print_steps(steps(base, rank, seconds, clips, optimizer))


def _print_steps(found: dict[str, dict[str, float]]) -> None:
    """Print the least milliseconds of a step as a table, and what is known of this machine's GPUs."""
    forms = list(next(iter(found.values())))
    print("\nMilliseconds that a step takes at best, by bytes and arithmetic alone; a real one takes longer.\n")
    print(" " * 34 + "".join(f"{name:>12}" for name in forms))
    for card, times in found.items():
        print(f"{card:<34}" + "".join(f"{times[name]:>12.1f}" for name in forms))
    for device in here():
        if device.type != "cuda":
            continue
        known = next((card for card, rates in RATES.items() if rates == card_of(name_of(device))), None)
        least = "how fast it is at best is not known" if known is None else _at_best(found[known]["bf16"])
        print(f"\nThis machine's {name_of(device)}: {least}.")


def _at_best(milliseconds: float) -> str:
    return f"about {milliseconds:.1f} ms a step at best on this card, in bf16"


def _sizes(base: str) -> tuple[ModelConfig, GemmaConfig]:
    """Return the sizes of a base, those of the published weights without opening them."""
    for generation in SUPPORTED:
        if base in (f"full-{generation.name}", generation.repository):
            return generation.config, generation.encoder_config
    if base == "full":
        return LTX_23.config, LTX_23.encoder_config
    opened = open_base(base)
    return opened.config, opened.encoder_config
