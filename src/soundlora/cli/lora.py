"""soundlora lora info | convert | resize | merge: look into LoRA files, and make others of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundlora.cli.output import OverwriteOption, check_free, print_json
from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.lora.file import Lora
    from soundlora.lora.names import WrittenNaming

app = typer.Typer(
    help="Look into LoRA files, convert, resize, mix, slice and merge them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SAID = (("title", "title"), ("trigger", "trigger_phrase"), ("licence", "license"))
"""What is said of a LoRA before its figures, by the names of the ModelSpec standard."""

FileArgument = Annotated[Path, typer.Argument(help="A LoRA, under the names of any program.")]
OutArgument = Annotated[Path, typer.Argument(help="File to write.")]


@app.command()
def info(
    file: FileArgument,
    base: Annotated[str | None, typer.Option(help="Also compare the update with this base's weights.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a LoRA changes, how much, and what is written in it."""
    from soundlora.lora.file import read_lora

    lora = read_lora(file)
    facts = _facts(lora, base)
    if as_json:
        print_json(facts)
        return
    relative = facts["relative_norm"]
    beside = "" if relative is None else f", {100 * relative:.2f} % of the base's weights"
    print(f"{file}: {megabytes(file)}, {facts['dtype']}")
    for label, key in _SAID:
        if text := lora.metadata.get(f"modelspec.{key}"):
            print(f"{label:<10}{text}")
    print(f"names     {lora.naming}")
    print(f"pairs     {facts['pairs']} in {facts['blocks']} blocks, rank {_ranks(lora)}")
    print(f"base      {_trained_on(lora)}")
    print(f"update    norm {facts['update_norm']:.4g}{beside}")
    for key, value in sorted(lora.metadata.items()):
        print(f"  {key}: {value}")
    note(lora)
    say_where_it_loads(lora.metadata)


@app.command()
def convert(
    file: FileArgument,
    out: OutArgument,
    to: Annotated[str, typer.Option(help="official, comfyui, diffusers or kohya.")],
    base: Annotated[
        str | None, typer.Option(help="Of a DoRA: the base that it was trained on, as for generate.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a LoRA under the names of another program.

    What it does stays the same. The official names load in ComfyUI, diffusers and LTX's own pipelines. Of a DoRA it
    makes the plain LoRA that comes nearest.
    """
    from soundlora.lora.file import read_lora, write_lora
    from soundlora.lora.merge import weights_of
    from soundlora.lora.names import WRITTEN_NAMINGS
    from soundlora.weights.base import open_checkpoint

    naming = next((naming for naming in WRITTEN_NAMINGS if naming == to), None)
    if naming is None:
        raise InputError(f"--to is {to!r}, but it must be one of {', '.join(WRITTEN_NAMINGS)}.")
    check_out(out, overwrite, file)
    lora = read_lora(file, None if base is None else weights_of(open_checkpoint(base)))
    with writing(out):
        write_lora(out, lora.pairs, lora.metadata, naming=naming, dtype=lora.dtype)
    print(f"{out}: {len(lora.pairs)} pairs, {lora.naming} → {naming}, {megabytes(out)}")
    note(lora)
    say_where_it_loads(lora.metadata)


@app.command()
def resize(
    file: FileArgument,
    out: OutArgument,
    rank: Annotated[int, typer.Option(help="Of every pair in the new file.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write the LoRA of another rank that comes nearest to this one."""
    from soundlora.lora.file import read_lora, write_lora
    from soundlora.lora.rank import percent, resize_all

    if rank < 1:
        raise InputError(f"--rank is {rank}, but it must be 1 or more.")
    check_out(out, overwrite, file)
    lora = read_lora(file)
    pairs, kept = resize_all(lora.pairs, rank)
    naming: WrittenNaming = "official"
    if lora.naming != "peft" and lora.naming != "bare":  # Neither of these is ever written.
        naming = lora.naming
    metadata = lora.metadata | ({"rank": str(rank)} if "rank" in lora.metadata else {})
    with writing(out):
        write_lora(out, pairs, metadata, naming=naming, dtype=lora.dtype)
    print(f"{out}: rank {_ranks(lora)} → {rank}, {percent(kept)} of the update's energy kept, {megabytes(out)}")
    note(lora)


@app.command()
def merge(
    file: FileArgument,
    out: OutArgument,
    base: Annotated[str, typer.Option(help="The base that it was trained on, as for generate.")] = "nano",
    strength: Annotated[float, typer.Option(help="Of the LoRA.")] = 1.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a copy of the base's audio half with the LoRA in it.

    The copy is a base of its own. A LoRA that stays a file of its own is never rounded; merge only for a program that
    can't load LoRAs.
    """
    from soundlora.lora.file import read_lora
    from soundlora.lora.merge import merge as merge_into
    from soundlora.lora.rank import percent
    from soundlora.weights.base import open_checkpoint

    if not math.isfinite(strength):
        raise InputError(f"--strength is {strength}, but it must be a number.")
    lora = read_lora(file)
    checkpoint = open_checkpoint(base)
    check_out(out, overwrite, file, checkpoint.path)
    with writing(out):
        merged = merge_into(checkpoint, lora, strength, out)
    print(
        f"{out}: {len(lora.pairs)} weights changed at strength {strength:g}, {megabytes(out)}; rounding kept "
        f"{percent(1 - merged.lost)} of the update's energy"
    )
    note(lora)


def _facts(lora: Lora, base: str | None) -> dict[str, Any]:
    from soundlora.lora.merge import relative_norm
    from soundlora.lora.pair import energy
    from soundlora.weights.base import open_checkpoint

    return {
        "file": str(lora.path),
        "bytes": lora.path.stat().st_size,
        "dtype": lora.stored,
        "naming": lora.naming,
        "generation": lora.generation,
        "pairs": len(lora.pairs),
        "ranks": lora.ranks,
        "blocks": len({name.split(".")[1] for name in lora.pairs if name.startswith("transformer_blocks.")}),
        "modules": sorted(lora.pairs),
        "update_norm": math.sqrt(sum(map(energy, lora.pairs.values()))),
        "relative_norm": None if base is None else relative_norm(open_checkpoint(base), lora),
        "metadata": lora.metadata,
        "warnings": lora.warnings,
    }


def check_out(out: Path, overwrite: bool, *sources: Path) -> None:
    """Raise InputError when `out` is no place for a file, is one of `sources`, or is there and not to be replaced."""
    if not out.parent.is_dir():
        raise InputError(f"{out} can't be written: there is no folder {out.parent}.")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file in it.")
    for source in sources:
        if out.exists() and source.exists() and out.samefile(source):
            raise InputError(f"{out} is the file that is read; give another name for what is written.")
    check_free([out], overwrite)


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Raise InputError when `out` can't be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror}.") from None


def note(lora: Lora) -> None:
    for warning in lora.warnings:
        print(f"Note: {warning}")


def say_where_it_loads(metadata: Mapping[str, str]) -> None:
    """Say of a LoRA on nano that no other program can use it, whatever names it has."""
    if metadata.get("base") == "nano":
        from soundlora.pipeline.model_card import where_it_loads

        print(f"Note: {where_it_loads(metadata)}")


def _trained_on(lora: Lora) -> str:
    if lora.generation is None:
        return "the file doesn't say which generation of LTX it was trained on"
    return f"LTX {lora.generation} ({lora.metadata.get('base', 'name unknown')})"


def _ranks(lora: Lora) -> str:
    return f"{lora.ranks[0]}" if len(lora.ranks) == 1 else f"{lora.ranks[0]} to {lora.ranks[-1]}"


def megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
