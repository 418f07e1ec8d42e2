"""soundlora prepare: cut recordings into clips, or say where they would be cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundlora.cli.output import print_json
from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.dataset.cut_plan import PlannedRecording
    from soundlora.dataset.recordings import Prepared

_MOST_CLIPS = 2_000


def prepare(
    data: Annotated[str, typer.Argument(help="A recording, or a folder or zip of recordings and .txt captions.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the clips.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of every clip. [default: 5]")] = None,
    shortest: Annotated[float | None, typer.Option(help="Seconds of a clip at least, instead of --duration.")] = None,
    longest: Annotated[float | None, typer.Option(help="Seconds of a clip at most, beside --shortest.")] = None,
    silence: Annotated[
        float | None, typer.Option(help="A moment below this level, in dBFS, is silence. [default: -60]")
    ] = None,
    quietest: Annotated[
        float | None, typer.Option(help="A clip whose peak is below this level, in dBFS, is left out. [default: -40]")
    ] = None,
    keep_clipped: Annotated[bool, typer.Option("--keep-clipped", help="Keep clips that overshot full scale.")] = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep clips that sound as an earlier one does.")
    ] = False,
    fade: Annotated[float | None, typer.Option(help="Seconds of the fades at cuts. [default: 0.005]")] = None,
    format: Annotated[str | None, typer.Option(help="wav or flac; both keep every sample. [default: wav]")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Do what this prepared.json says, which may have been edited.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where it would be cut.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Cut recordings of any length into clips, along silence and onsets. The recordings stay as they are."""
    given: dict[str, Any] = {
        name: value
        for name, value in {
            "duration": duration,
            "shortest": shortest,
            "longest": longest,
            "silence": silence,
            "quietest": quietest,
            "keep_clipped": keep_clipped or None,
            "keep_duplicates": keep_duplicates or None,
            "fade": fade,
            "format": format,
        }.items()
        if value is not None
    }
    if out is None and not dry_run:
        raise InputError("--out is missing: give a folder for the clips, or --dry-run to see the plan alone.")
    if plan is not None and given:
        flag = next(iter(given)).replace("_", "-")
        raise InputError(f"--plan already says where to cut; leave out --{flag}, or make a new plan without --plan.")
    if duration is not None and (shortest is not None or longest is not None):
        raise InputError("--duration is one length and --shortest with --longest a range; leave one of them out.")
    from soundlora.cli.console import Display
    from soundlora.dataset.recordings import prepare_recordings
    from soundlora.progress import Progress

    target = None if dry_run else out
    if as_json:
        print_json(prepare_recordings(data, target, plan=plan, **given).plan.to_json())
        return
    with Display() as display:

        def show(done: int, count: int, name: str) -> None:
            display(Progress("clips", done, count, message=name))

        done = prepare_recordings(data, target, plan=plan, on_progress=show, **given)
    _print_plan(done, with_clips=dry_run)


def _print_plan(done: Prepared, *, with_clips: bool) -> None:
    plan = done.plan
    for recording in plan.recordings:
        _print_recording(recording, with_clips)
    print()
    left_out = ", ".join(f"{_length(seconds)} {why}" for why, seconds in plan.left_out().items())
    print(
        f"{_clips(plan.clips)} of {_length(plan.source_seconds)}, {_length(plan.seconds)} in all"
        + (f"; left out: {left_out}." if left_out else ".")
    )
    if plan.clips > _MOST_CLIPS:
        print(f"Note: a data set holds at most {_MOST_CLIPS:,} clips; put some of these into another folder.")
    if done.folder is None:
        print("Nothing was written.")
        return
    there = f", {done.there} were there already" if done.there else ""
    print(f"{done.written} written to {done.folder}{there}. prepared.json has the cuts: edit it, and do it again with")
    print(f"--plan {done.folder / 'prepared.json'} and a new --out.")


def _print_recording(recording: PlannedRecording, with_clips: bool) -> None:
    if recording.problem:
        print(f"{recording.source}: left out, {recording.problem}")
        return
    channels = {1: "mono", 2: "stereo"}.get(recording.channels, f"{recording.channels} channels")
    form = f"{recording.sample_rate} Hz {channels}, {recording.keeps}"
    print(f"{recording.source}: {_length(recording.seconds)}, {form}, {_clips(len(recording.clips))}")
    for note in recording.notes:
        print(f"  Note: {note}.")
    if not with_clips:
        return
    rate = recording.sample_rate
    for piece in recording.pieces:
        place = f"{piece.start / rate:10.3f} s  {(piece.end - piece.start) / rate:8.3f} s"
        print(f"  {place}  {piece.clip or 'left out: ' + piece.left_out}" + (f"  ({piece.why})" if piece.why else ""))


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"
