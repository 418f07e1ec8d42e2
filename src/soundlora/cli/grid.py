"""soundlora grid: a folder of sounds with one setting along the rows and another along the columns, and its page."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundlora.cli.generate_flags import (
    AddedOption,
    BaseOption,
    CfgOption,
    ContinueOption,
    DecodedOption,
    DeviceOption,
    DurationOption,
    EncoderOption,
    ForceOption,
    FromOption,
    HeardOption,
    LeadIntoOption,
    LoraOption,
    MendOption,
    NegativePromptOption,
    SpansOption,
    StepsOption,
    StgOption,
)
from soundlora.cli.given import source_of
from soundlora.cli.lora_use import lora_of
from soundlora.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_RANGE = re.compile(r"(\d{1,19})-(\d{1,19})")
_AXIS_HELP = (
    'One setting with its values: strength=0,0.5,1, seed=1-4, steps=8,30, cfg=1,4, stg=0,1, "prompt=rain|wind", '
    '"lora=a.safetensors:0.7|b.safetensors|none", or checkpoint=my-run for all checkpoints of a run.'
)
TOPICS = {
    "The grid": ("rows", "columns", "out", "format", "overwrite"),
    "The sounds": ("prompt", "duration", "negative_prompt", "seed"),
    "LoRAs": ("lora", "strength", "force"),
    "How they are sampled": ("steps", "cfg", "stg"),
    "A sound that is given": (
        "continue_", "lead_into", "mend", "from_", "spans", "conditioning_seconds", "added", "decoded",
    ),
    "The base": ("base", "text_encoder", "device"),
}  # fmt: skip
"""What --help says below each heading."""


def grid(
    out: Annotated[Path, typer.Option(help="Folder to write. A grid that was stopped there goes on.")],
    rows: Annotated[str | None, typer.Option(metavar="NAME=VALUES", help=_AXIS_HELP)] = None,
    columns: Annotated[str | None, typer.Option(metavar="NAME=VALUES", help="As --rows.")] = None,
    format: Annotated[str, typer.Option(help="Of the sounds: wav, flac, ogg or mp3.")] = "wav",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make a grid anew that is there.")] = False,
    prompt: Annotated[str | None, typer.Option(help="The sound in words, unless prompts vary.")] = None,
    duration: DurationOption = None,
    negative_prompt: NegativePromptOption = None,
    lora: LoraOption = None,
    strength: Annotated[float | None, typer.Option(help="Of the LoRAs that name none themselves. [default: 1]")] = None,
    force: ForceOption = False,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same sound. [default: 42]")] = None,
    steps: StepsOption = None,
    cfg: CfgOption = None,
    stg: StgOption = None,
    continue_: ContinueOption = None,
    lead_into: LeadIntoOption = None,
    mend: MendOption = None,
    from_: FromOption = None,
    spans: SpansOption = None,
    conditioning_seconds: HeardOption = None,
    added: AddedOption = None,
    decoded: DecodedOption = False,
    base: BaseOption = "nano",
    text_encoder: EncoderOption = None,
    device: DeviceOption = None,
) -> None:
    """Make a grid of sounds: one setting along the rows, another along the columns, with a page to hear them."""
    from soundlora.cli.console import duration_words, spinner
    from soundlora.pipeline.grid import grid as make

    axes = [axis_of(flag, given) for flag, given in (("rows", rows), ("columns", columns))]
    sounds = {"continue": continue_, "lead_into": lead_into, "mend": mend, "from": from_}
    source = source_of(sounds, spans, conditioning_seconds, added, decoded)
    uses = [lora_of(each) for each in lora or ()]
    began = time.monotonic()
    with spinner("loading") as show:
        made = make(
            *axes,
            out=out,
            prompt=prompt,
            loras=uses,
            strength=strength,
            base=base,
            text_encoder=text_encoder,
            device=device,
            duration=duration,
            seed=seed,
            steps=steps,
            cfg=cfg,
            stg=stg,
            negative_prompt=negative_prompt,
            source=source,
            force=force,
            format=format,
            overwrite=overwrite,
            on_progress=show,
        )
    print(f"{len(made.cells)} sounds in {duration_words(time.monotonic() - began)}: {made.page}")


def axis_of(flag: str, given: str | None) -> dict[str, list[Any]] | None:
    """Return the setting and the values that `strength=0,0.5,1` names. Raises InputError for what is none."""
    if given is None:
        return None
    name, equals, text = given.partition("=")
    if not equals:
        raise InputError(f"--{flag} is {given!r}, but it must be a setting with its values, as in strength=0,0.5,1.")
    if name in _READ:
        return {name: [_READ[name](part.strip()) for part in text.split("|") if part.strip()]}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return {name: [value for part in parts for value in _numbers(flag, name, part)]}


def _numbers(flag: str, name: str, part: str) -> list[int | float]:
    """Return the number that a part is, or those of a range of seeds. What is no name of an axis is refused later."""
    if name == "seed" and (match := _RANGE.fullmatch(part)):
        first, last = int(match[1]), int(match[2])
        if not first <= last < first + 1000:
            raise InputError(f"--{flag} has the seeds {part}, but a range must rise, and have 1000 seeds at most.")
        return list(range(first, last + 1))
    try:
        return [int(part) if name in ("seed", "steps") else float(part)]
    except ValueError:
        if name not in ("seed", "steps", "strength", "cfg", "stg"):
            return [0]
        must = "whole numbers" if name in ("seed", "steps") else "numbers"
        raise InputError(f"--{flag} has {part!r} for {name}, but its values must be {must}.") from None


def _lora_or_none(text: str) -> Any:
    return None if text == "none" else lora_of(text)


def _checkpoint(text: str) -> Any:
    return text if Path(text).is_dir() else lora_of(text)


_READ: dict[str, Callable[[str], Any]] = {"prompt": str, "lora": _lora_or_none, "checkpoint": _checkpoint}
"""The settings whose values are texts, with | between them."""
