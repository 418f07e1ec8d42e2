"""soundlora lora mix | compare | slice: several LoRAs in one, beside each other, and a part of one."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundlora.cli.lora import FileArgument, OutArgument, check_out, megabytes, note, say_where_it_loads, writing
from soundlora.cli.output import OverwriteOption, print_json
from soundlora.errors import InputError

if TYPE_CHECKING:
    import torch

    from soundlora.lora.likeness import Likeness

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def mix(
    files: Annotated[
        list[str], typer.Argument(help="FILE[:STRENGTH][,PART=SHARE], as for generate.", metavar="FILE...")
    ],
    out: Annotated[Path, typer.Option(help="File to write.")],
    rank: Annotated[int | None, typer.Option(help="Of the new file. [default: the sum, which is exact]")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write one LoRA that does what several do together."""
    from soundlora.cli.lora_use import lora_of
    from soundlora.lora.file import read_lora, write_lora
    from soundlora.lora.mix import Ingredient, lost_to_rounding
    from soundlora.lora.mix import mix as mixed
    from soundlora.lora.rank import percent
    from soundlora.pipeline.lora_use import ALL_STEPS

    if len(files) < 2:
        raise InputError("One file alone is no mixture; name another one, or several.")
    if rank is not None and rank < 1:
        raise InputError(f"--rank is {rank}, but it must be 1 or more.")
    uses = [lora_of(given) for given in files]
    check_out(out, overwrite, *(Path(use.path) for use in uses))
    ingredients = []
    for given, use in zip(files, uses, strict=True):
        if use.steps != ALL_STEPS:
            raise InputError(
                f"{given} names sampling steps, which no file can say; leave them out here, and name them to generate."
            )
        lora = read_lora(Path(use.path))
        ingredients.append(Ingredient(lora, 1.0 if use.strength is None else use.strength, use.shares))
    mixture = mixed(ingredients, rank)
    dtype = _widest([each.lora.stored for each in ingredients])
    lost = 1 - mixture.kept + lost_to_rounding(mixture.pairs, dtype)
    with writing(out):
        write_lora(out, mixture.pairs, mixture.metadata, dtype=dtype)
    kept = f"{percent(1 - lost)} of the sum's energy kept" if lost > 0 else "the exact sum"
    print(
        f"{out}: {len(files)} LoRAs, {len(mixture.pairs)} pairs, rank {mixture.metadata['rank']}, {kept}, "
        f"{megabytes(out)}"
    )
    for each in ingredients:
        note(each.lora)
    say_where_it_loads(mixture.metadata)


def compare(
    one: FileArgument,
    other: FileArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with every layer.")] = False,
) -> None:
    """Say how alike two LoRAs are: the angle between what they change, by part and by block."""
    from soundlora.lora.file import read_lora
    from soundlora.lora.likeness import compare as compared

    first, second = read_lora(one), read_lora(other)
    found = compared(first, second)
    if as_json:
        print_json(asdict(found))
        return
    print(f"{'':<12}{'angle':>8}  {'norms':>18}")
    print(_row("together", found.together))
    for part, likeness in found.parts.items():
        print(_row(part, likeness))
    for number, likeness in found.blocks.items():
        print(_row(f"block {number}", likeness))
    print("0° is the same direction, 90° nothing in common, 180° the opposite.")
    note(first)
    note(second)


def slice_lora(
    file: FileArgument,
    out: OutArgument,
    parts: Annotated[str, typer.Option(help="self, text and ff, with commas between them. [default: all]")] = "",
    blocks: Annotated[str, typer.Option(help="Such as 0-11,20, counted from 0. [default: all]")] = "",
    overwrite: OverwriteOption = False,
) -> None:
    """Write a LoRA that changes only some parts of a block, or some blocks, of what this one changes."""
    from soundlora.lora.file import read_lora, write_lora
    from soundlora.lora.mix import slice_metadata, slice_of
    from soundlora.lora.targets import PARTS

    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    for part in wanted:
        if part not in PARTS:
            raise InputError(f"--parts has {part!r}, but the parts are {', '.join(PARTS)}.")
    numbers = _numbers(blocks)
    check_out(out, overwrite, file)
    lora = read_lora(file)
    pairs = slice_of(lora, wanted, numbers)
    with writing(out):
        write_lora(out, pairs, slice_metadata(lora.metadata, pairs), dtype=lora.dtype)
    print(f"{out}: {len(pairs)} of {len(lora.pairs)} pairs, {megabytes(out)}")
    note(lora)
    say_where_it_loads(lora.metadata)


def _row(name: str, likeness: Likeness) -> str:
    angle = "–" if likeness.angle is None else f"{likeness.angle:.1f}°"
    return f"{name:<12}{angle:>8}  {likeness.norms[0]:>8.4g}  {likeness.norms[1]:>8.4g}"


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for item in filter(None, (item.strip() for item in text.split(","))):
        match = _RANGE.fullmatch(item)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise InputError(f"--blocks has {item!r}, but it must be numbers and rising ranges, such as 0-11,20.")
        found |= set(range(first, min(last, first + 10_000) + 1))
    return found


def _widest(stored: list[str]) -> torch.dtype:
    """Return the type in which the files' numbers have room: bf16 and fp16 together need fp32."""
    import torch

    known = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    types = {known.get(each, torch.bfloat16) for each in stored}
    return types.pop() if len(types) == 1 else torch.float32
