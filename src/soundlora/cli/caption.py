"""soundlora caption: lists the captions of a data set, and changes many of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundlora.cli.output import check_free
from soundlora.errors import InputError
from soundlora.wording import using

if TYPE_CHECKING:
    from soundlora.dataset.captioning import CaptionList, Changes, ClipCaption


def caption(
    data: Annotated[str, typer.Argument(help="A folder, whose text files are changed in place, or a zip.")],
    fill: Annotated[
        bool, typer.Option("--fill", help="Clips without a caption get what they carry, or what the captioner says.")
    ] = False,
    captioner: Annotated[
        str | None, typer.Option(help="MODULE:FUNCTION of yours: it is given a clip's path and returns its caption.")
    ] = None,
    captioner_model: Annotated[
        str | None, typer.Option(help="What the captioner is given as model, such as a folder.")
    ] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="Take captions from this CSV.")] = None,
    find: Annotated[str, typer.Option(help="Text that is replaced in every caption.")] = "",
    replace: Annotated[str | None, typer.Option(help="Text in place of it; empty takes it out.")] = None,
    before: Annotated[str, typer.Option(help="Text that is put before every caption.")] = "",
    after: Annotated[str, typer.Option(help="Text that is put after every caption.")] = "",
    export: Annotated[Path | None, typer.Option(help="Write the captions to this CSV.")] = None,
    out: Annotated[Path | None, typer.Option(help="Of a zip: the new zip with the changed captions.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a CSV that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """List the captions of a data set and where they come from, or change many of them at once."""
    if (replace is None) == bool(find):
        raise InputError(f"{using('find')} and {using('replace')} go together; give both.")
    if captioner is None and captioner_model is not None:
        raise InputError(f"{using('captioner_model')} goes with {using('captioner')}; name one.")
    if export is not None and export != import_:
        check_free([export], overwrite, f"give another name with {using('export')}")
    from soundlora.dataset.caption_files import captions_of_table, write_table
    from soundlora.dataset.captioners import captioner_of
    from soundlora.dataset.captioning import Changes, advice, read_captions

    found = read_captions(data, captioner_of(captioner, captioner_model) if captioner else None)
    imported = captions_of_table(import_, found.clips) if import_ is not None else {}
    wanted = Changes(imported, fill, find, replace or "", before, after)
    for warning in found.warnings:
        print(f"Note: {warning}")
    if wanted == Changes() and import_ is None:
        _print_list(found.clips)
        if sentence := advice(found.clips):
            print(sentence)
    else:
        _change(data, found, wanted, out, dry_run)
    if export is not None:
        write_table(export, found.clips if dry_run else _after(found.clips, wanted))
        print(f"{export}: {len(found.clips)} captions")


def _print_list(clips: list[ClipCaption]) -> None:
    width = max(len(clip.name) for clip in clips)
    for clip in clips:
        if clip.text:
            said = f"{clip.text}  ({clip.source})"
        elif clip.offer is not None:
            said = f"no caption; {clip.offer.source} says: {clip.offer.text}"
        else:
            said = "no caption"
        print(f"{clip.name.ljust(width)}  {said}")


def _change(data: str, found: CaptionList, wanted: Changes, out: Path | None, dry_run: bool) -> None:
    """Say what changes, and write it unless this is a dry run."""
    if found.is_folder and out is not None:
        raise InputError(f"{using('out')} goes with a zip; the text files of a folder are changed in place.")
    if not found.is_folder and out is None and not dry_run:
        raise InputError(f"A zip stays as it is; name a new one with {using('out')}.")
    from soundlora.dataset.caption_files import write_texts, write_zip

    changes = wanted.of(found.clips)
    _print_changes(found.clips, changes)
    count = f"{len(changes)} {'caption' if len(changes) == 1 else 'captions'}"
    if dry_run:
        print(f"{count} would change; nothing was written.")
    elif found.is_folder:
        kept = write_texts(Path(data), found.clips, changes)
        print(f"{count} written." + (f" The earlier ones are in {kept}, for {using('import')}." if kept else ""))
    else:
        assert out is not None
        write_zip(Path(data), out, found.clips, changes)
        print(f"{out}: {count} changed; {data} stays as it was.")


def _print_changes(clips: list[ClipCaption], changes: Mapping[str, str]) -> None:
    for clip in clips:
        if clip.name in changes:
            print(f"{clip.name}: {clip.text or 'no caption'} → {changes[clip.name] or 'no caption'}")


def _after(clips: list[ClipCaption], wanted: Changes) -> list[ClipCaption]:
    """Return the captions as they are after a change."""
    from dataclasses import replace

    changes = wanted.of(clips)
    return [
        replace(clip, text=changes[clip.name], source=clip.file) if clip.name in changes else clip for clip in clips
    ]
