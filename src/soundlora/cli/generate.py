"""soundlora generate: one sound or several takes of it, with any number of LoRAs, in the format that the name says."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from soundlora.cli.output import OverwriteOption, check_free
from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.pipeline.generation import Generation

_MOST_TAKES = 1000
_HIGHEST_SEED = 2**63 - 1
_RANGE = re.compile(r"(\d{1,19})-(\d{1,19})")
TOPICS = {
    "The sound": ("prompt", "duration", "negative_prompt"),
    "LoRAs": ("lora", "strength", "force"),
    "Takes and files": ("seed", "count", "out", "overwrite"),
    "How it is sampled": ("steps", "cfg", "stg"),
    "A sound that is given": (
        "continue_", "lead_into", "mend", "from_", "spans", "conditioning_seconds", "added", "decoded",
    ),
    "The base": ("base", "text_encoder", "device"),
}  # fmt: skip
"""What --help says below each heading."""


def generate(
    prompt: Annotated[str, typer.Option(help="The sound in words.")],
    duration: DurationOption = None,
    negative_prompt: NegativePromptOption = None,
    lora: LoraOption = None,
    strength: Annotated[float, typer.Option(help="Of the LoRAs that name none themselves.")] = 1.0,
    force: ForceOption = False,
    seed: Annotated[
        str,
        typer.Option(help="The same seed gives the same sound. A range such as 1-8 makes a take of each."),
    ] = "42",
    count: Annotated[
        int | None,
        typer.Option(help="So many takes, of the seed and those after it."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="File to write: .wav, .flac, .ogg or .mp3. Takes are called sound-1.wav and so on."),
    ] = Path("sound.wav"),
    overwrite: OverwriteOption = False,
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
    """Generate sound from a prompt, with or without LoRAs."""
    seeds = seeds_of(seed, count)
    paths = paths_of(out, len(seeds), several=count is not None or _RANGE.fullmatch(seed) is not None)
    from soundlora.cli.console import duration_words, spinner
    from soundlora.pipeline.first_look import look_at_place
    from soundlora.pipeline.generate import Generator, check_sampling
    from soundlora.pipeline.generation import check_ending
    from soundlora.pipeline.given_sound import check_source

    check_ending(out)
    check_free(paths, overwrite, "give another name with --out")
    loras = [lora_of(each) for each in lora or ()]
    given = {"continue": continue_, "lead_into": lead_into, "mend": mend, "from": from_}
    source = source_of(given, spans, conditioning_seconds, added, decoded)
    if source is not None:
        check_source(source, duration)
    for path in paths:
        look_at_place(path)
    check_sampling(duration=duration, steps=steps, cfg=cfg, stg=stg)
    began = time.monotonic()
    with spinner("loading") as show:
        generator = Generator(
            base,
            loras,
            strength=strength,
            text_encoder=text_encoder,
            force=force,
            device=device,
            on_progress=show,
        )
        for note in generator.warnings + generator.advice(prompt, duration, steps):
            show.note(note)
        sounds = generator.takes(
            prompt,
            seeds,
            duration=duration,
            steps=steps,
            cfg=cfg,
            stg=stg,
            negative_prompt=negative_prompt,
            source=source,
            on_progress=show,
        )
        for path, sound in zip(paths, sounds, strict=True):
            sound.save(path)
            show.line(_said(path, sound))
    if len(paths) > 1:
        print(f"{len(paths)} takes in {duration_words(time.monotonic() - began)}")


def seeds_of(seed: str, count: int | None) -> list[int]:
    """Return the seed of each take: those of a range such as 1-8, or `count` from one on. Raises InputError."""
    match = _RANGE.fullmatch(seed)
    if match is None and re.fullmatch(r"\d{1,19}", seed) is None:
        raise InputError(f"--seed is {seed!r}, but it must be a whole number, or a range such as 1-8.")
    first, last = (int(match[1]), int(match[2])) if match else (int(seed), int(seed) + (count or 1) - 1)
    if match and count is not None:
        raise InputError(f"--seed {seed} says already how many takes are made; leave out --count.")
    if count is not None and count < 1:
        raise InputError(f"--count is {count}, but it must be 1 or more.")
    if not first <= last <= _HIGHEST_SEED:
        raise InputError(f"--seed is {seed}, but seeds must rise, and be {_HIGHEST_SEED} at most.")
    if last - first >= _MOST_TAKES:
        raise InputError(f"{last - first + 1} takes are asked for, but {_MOST_TAKES} at most are made at a time.")
    return list(range(first, last + 1))


def paths_of(out: Path, count: int, *, several: bool) -> list[Path]:
    """Return the file of each take: `rain-1.wav`, `rain-2.wav`, or `rain.wav` itself where one sound was asked for.

    Raises InputError where `out` can't be a file.
    """
    if not out.parent.is_dir():
        raise InputError(f"{out} can't be written: there is no folder {out.parent}.")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file in it with --out.")
    return [out.with_name(f"{out.stem}-{take + 1}{out.suffix}") for take in range(count)] if several else [out]


def _said(path: Path, sound: Generation) -> str:
    length = f"{sound.seconds:.2f} s"
    if sound.predicted:
        length += " (predicted by the base's duration head)"
    channels = "stereo" if len(sound.waveform) == 2 else "mono"
    return f"{path}: {length}, {sound.sample_rate} Hz {channels}, seed {sound.seed}"
