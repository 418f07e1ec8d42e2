"""From recordings of any length to a folder of clips: plan the cuts, write the clips, and keep the plan beside them.

`prepare_recordings` has two passes over each recording. The first one measures it and finds the cuts, the second one
writes. Neither holds more than a part of it in memory.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from soundlora.dataset import names
from soundlora.dataset.archive import Archive, open_archive
from soundlora.dataset.caption_source import CaptionRule
from soundlora.dataset.clip_files import is_whole, write_clips
from soundlora.dataset.cut_plan import PLAN_NAME, Keeps, Plan, PlannedPiece, PlannedRecording, named, read_plan
from soundlora.dataset.cuts import Cutting, Piece, cut
from soundlora.dataset.fit import DC_SHARE
from soundlora.dataset.frames import PRINT_FRAMES, Frames, measured
from soundlora.dataset.members import Member, on_disk
from soundlora.dataset.partners import Entry
from soundlora.dataset.prints import Prints
from soundlora.dataset.problems import DataError, UnusableClipError, no_audio
from soundlora.dataset.sidecars import entries
from soundlora.dataset.source import local_source
from soundlora.errors import InputError
from soundlora.net.addresses import is_remote
from soundlora.system.whole_files import clear_left, temporary_folder, write_whole, writing
from soundlora.wording import setting, using

LEAST_SECONDS, MOST_SECONDS = 0.1, 60.0
"""A clip has so many seconds at least and at most."""

OnRecording = Callable[[int, int, str], None]
"""Called with (done, of how many, name) for each recording that is measured, and each clip that is written."""

_LOWEST = -120
"""The lowest level in dB of full scale that is told from silence."""
_NOTHING = "it is silent from its start to its end"
_SILENT_SIDE = 1e-6
"""A channel whose power is below this share of the other's, -60 dB, carries what leaks into a cable at most."""

_KINDS: dict[str, Keeps] = {"int16": "16 bits", "float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Prepared:
    """What `prepare_recordings` has done. `written` clips are new, `there` stood in the folder already."""

    plan: Plan
    folder: Path | None
    written: int = 0
    there: int = 0


def prepare_recordings(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    *,
    duration: float = 5.0,
    shortest: float | None = None,
    longest: float | None = None,
    silence: float = -60.0,
    quietest: float = -40.0,
    keep_clipped: bool = False,
    keep_duplicates: bool = False,
    fade: float = 0.005,
    format: Literal["wav", "flac"] = "wav",
    plan: str | os.PathLike[str] | None = None,
    on_progress: OnRecording | None = None,
) -> Prepared:
    """Cut the recordings in `data`, a file, a folder or a zip, into clips in the folder `out`; None plans alone.

    Clips last `duration` seconds, or from `shortest` to `longest`. `silence` and `quietest` are levels in dB of full
    scale: a moment below the one is silent, a clip whose peak is below the other too quiet. `fade` is in seconds.
    `plan` is a prepared.json, which is done as it stands instead.

    A run that was interrupted goes on with the same arguments. Raises InputError for a setting, data or a plan that
    can't be used, and when no clip is left; MachineError when the folder can't be written to.
    """
    how = _cutting(duration, shortest, longest, silence, quietest, keep_clipped, keep_duplicates)
    _check_settings(how, fade, format)
    folder = None if out is None else Path(out)
    if folder is not None:
        _check_place(folder, data, plan)
    found = None if plan is None else read_plan(Path(plan))
    tell = on_progress or (lambda done, count, name: None)
    with _sources(data) as sources:
        if found is None:
            found = _planned(sources, how, fade, format, tell)
        if not found.clips:
            raise _nothing_left(found, how, str(data))
        if folder is None:
            return Prepared(found, None)
        return _written(found, sources, folder, tell)


def _cutting(
    duration: float,
    shortest: float | None,
    longest: float | None,
    silence: float,
    quietest: float,
    keep_clipped: bool,
    keep_duplicates: bool,
) -> Cutting:
    if (shortest is None) != (longest is None):
        lacking = "longest" if longest is None else "shortest"
        raise InputError(f"{setting(lacking)} is missing: a range of lengths has both ends.", field=lacking)
    return Cutting(
        duration if shortest is None else shortest,
        duration if longest is None else longest,
        silence,
        quietest,
        keep_clipped,
        keep_duplicates,
    )


def _check_settings(how: Cutting, fade: float, format: str) -> None:
    ranged = how.shortest < how.longest or how.shortest > how.longest
    for name, value in (("shortest", how.shortest), ("longest", how.longest)):
        if not LEAST_SECONDS <= value <= MOST_SECONDS:
            name = name if ranged else "duration"
            raise InputError(
                f"{setting(name)} is {value:g}, but it must be from {LEAST_SECONDS:g} to {MOST_SECONDS:g}.", field=name
            )
    if how.shortest > how.longest:
        raise InputError(
            f"{setting('shortest')} is {how.shortest:g}, above {setting('longest')}, which is {how.longest:g}; swap "
            "them.",
            field="shortest",
        )
    for name, value in (("silence", how.silence), ("quietest", how.quietest)):
        if not _LOWEST <= value <= 0:
            raise InputError(
                f"{setting(name)} is {value:g}, but it must be from {_LOWEST} to 0, in dB of full scale.", field=name
            )
    if not 0 <= fade <= 0.1:
        raise InputError(f"{setting('fade')} is {fade:g}, but it must be from 0 to 0.1, in seconds.", field="fade")
    if format not in ("wav", "flac"):
        raise InputError(f"{setting('format')} is {format!r}, but it must be wav or flac.", field="format")


def _check_place(folder: Path, data: str | os.PathLike[str], plan: str | os.PathLike[str] | None) -> None:
    """Raise InputError for a folder whose clips would be taken for recordings the next time, or that is none."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with {using('out')}.", field="out")
    if not is_remote(os.fspath(data)):
        place, source = folder.resolve(), Path(data).resolve()
        if place == source or source in place.parents or place in source.parents:
            inside = "contains" if place in source.parents else "lies within"
            raise InputError(
                f"{folder} {inside if place != source else 'is'} {data}, whose recordings would be mixed with its "
                f"clips; name a folder elsewhere with {using('out')}.",
                field="out",
            )
    if plan is not None and Path(plan).resolve().parent == folder.resolve():
        raise InputError(
            f"{plan} lies in {folder} with the clips that were made before it was edited; name a new folder with "
            f"{using('out')}.",
            field="out",
        )


# ----------------------------------------------------------------------------------------------------------------------
# 1. Sources


@dataclass(frozen=True)
class _Sources:
    """The recordings of the data in order of name. `workspace` is a folder for what has to be unpacked.

    `rule` says what the clips of a recording have as captions: that of a file, else what the recording carries.
    """

    entries: Sequence[Entry]
    workspace: Path
    rule: CaptionRule

    def caption(self, entry: Entry, path: Path) -> str:
        """Return the caption of a recording whose bytes lie at `path`, "" where there is none."""
        return self.rule.said_of(entry, self.rule.tags_of(path) if self.rule.wants_tags(entry) else {}).text

    def captioned(self, entry: Entry, found: PlannedRecording) -> PlannedRecording:
        """Return a recording whose pieces have what a table says from their seconds on."""
        said = [self.rule.later(entry, piece.start / found.sample_rate, {}) for piece in found.pieces]
        pieces = zip(found.pieces, said, strict=True)
        own = (replace(piece, caption=each.text) if each and not piece.left_out else piece for piece, each in pieces)
        return replace(found, pieces=tuple(own))

    @contextmanager
    def file(self, member: Member) -> Iterator[Path]:
        """Yield the path of a recording. One from a zip lies on the disk within the block."""
        with on_disk(member, self.workspace / "recording") as (path, _):
            yield path


@contextmanager
def _sources(data: str | os.PathLike[str]) -> Iterator[_Sources]:
    with local_source(data) as path, temporary_folder() as workspace, contextlib.ExitStack() as stack:
        alone = names.suffix(path.name) in names.MEDIA_EXTENSIONS and path.is_file()
        archive = _alone(path) if alone else stack.enter_context(open_archive(path))
        found = entries(archive, "")
        if not found.clips:
            raise DataError(no_audio(path.name))
        # A description or a title goes into the clips' text files, where it can be changed.
        yield _Sources(found.clips, workspace, CaptionRule("", "all").of(found, archive))


def _alone(path: Path) -> Archive:
    """Return a recording that is named itself, with its captions."""
    later = sorted(path.parent.glob(f"{glob.escape(path.stem)}*@*{names.CAPTION_EXTENSION}"))
    members = [
        Member(names.clean_name(each.name), each.stat().st_size, each, lambda each=each: each.open("rb"))  # type: ignore[misc]
        for each in (path, path.with_suffix(names.CAPTION_EXTENSION), *later)
        if each.is_file()
    ]
    return Archive(tuple(members), (), ())


# ----------------------------------------------------------------------------------------------------------------------
# 2. The plan


def _planned(sources: _Sources, how: Cutting, fade: float, format: str, tell: OnRecording) -> Plan:
    prints, recordings = Prints(), []
    for number, entry in enumerate(sources.entries):
        name = entry.clip.name
        tell(number, len(sources.entries), name)
        try:
            with sources.file(entry.clip) as path:
                found = _recording(path, name, sources.caption(entry, path) or None, how, prints, format)
                recordings.append(sources.captioned(entry, found))
        except UnusableClipError as error:
            recordings.append(PlannedRecording(name, problem=error.reason))
    tell(len(sources.entries), len(sources.entries), "")
    return named(Plan({**asdict(how), "format": format}, fade, tuple(recordings)), format)


def _recording(
    path: Path, name: str, caption: str | None, how: Cutting, prints: Prints, format: str
) -> PlannedRecording:
    pieces: list[PlannedPiece] = []
    samples, used_bits, peak, offset = 0, 0, 0.0, 0.0
    part: Frames | None = None
    energies: Any = 0.0
    for part in measured(path):
        samples += part.samples
        used_bits |= part.used_bits
        peak = max(peak, float(part.peaks.max(initial=0.0)) + part.offset)
        offset = max(offset, part.offset)
        energies += part.powers * part.samples
        pieces += [_piece(piece, part, name, how, prints) for piece in cut(part, how)]
    assert part is not None  # a recording without a sample is an error before
    form = part.form
    keeps: Keeps = _KINDS.get(form.kind) or ("32 bits" if used_bits & 0xFF else "24 bits")
    notes = _notes(offset, energies) if 20 * math.log10(max(peak, 1e-9)) > _LOWEST else (_NOTHING,)
    if format == "flac" and form.lossy and peak <= 1:
        keeps = "24 bits"  # FLAC has no floats, and no codec with losses is as fine
    elif format == "flac" and keeps not in ("16 bits", "24 bits"):
        notes = (f"FLAC can't hold its samples ({keeps}): its clips are WAV", *notes)
    return PlannedRecording(name, form.sample_rate, form.channels, samples, keeps, caption, "", tuple(pieces), notes)


def _notes(offset: float, energies: np.ndarray) -> tuple[str, ...]:
    """Return clauses on a DC offset, and on a side of a stereo recording that is silent."""
    notes = []
    if offset > DC_SHARE:
        notes.append(f"it has a DC offset of {offset:.1%} of full scale, which its clips keep: a high-pass removes it")
    if len(energies) == 2 and energies.min() < _SILENT_SIDE * energies.max():
        side = "left" if energies[0] < energies[1] else "right"
        notes.append(f"its {side} channel is silent, and so it is in its clips; save it as mono unless that is meant")
    return tuple(notes)


def _piece(piece: Piece, part: Frames, name: str, how: Cutting, prints: Prints) -> PlannedPiece:
    """Return a piece as it is planned. A clip that sounds as an earlier one does is left out."""
    if piece.left_out:
        return PlannedPiece(piece.start, piece.end, left_out=piece.left_out, why=piece.detail)
    if not how.keep_duplicates:
        first, last = part.frame(piece.start) // PRINT_FRAMES, -(-part.frame(piece.end) // PRINT_FRAMES)
        print_ = part.prints[first:last]
        if (same := prints.same(print_)) is not None:
            return PlannedPiece(piece.start, piece.end, left_out="duplicate", why=f"it sounds as {same} does")
        prints.add(f"{name} at {piece.start / part.form.sample_rate:.1f} s", print_)
    return PlannedPiece(piece.start, piece.end, why=f"begins {piece.begins}, ends {piece.ends}")


def _nothing_left(plan: Plan, how: Cutting, data: str) -> InputError:
    """Return the error that says what became of all, and how to keep more."""
    left_out = plan.left_out()
    unreadable = [recording for recording in plan.recordings if recording.problem]
    if not left_out:
        first = unreadable[0] if unreadable else None
        detail = f" ({first.source}: {first.problem})" if first else ""
        return DataError(f"No recording of {data} can be read{detail}; save them as .wav or .flac.")
    shares = ", ".join(f"{seconds:.1f} s {_AS_SHARE.get(why, why)}" for why, seconds in left_out.items())
    others = "use recordings with sound"
    if all(_NOTHING in recording.notes for recording in plan.recordings if not recording.problem):
        return DataError(f"No clip is left of {data}: no sample in it is above {_LOWEST} dBFS; {others}.")
    mend = {
        "silence": f"lower {using('silence', round(how.silence - 20))}" if how.silence >= _LOWEST + 20 else others,
        "too quiet": f"lower {using('quietest', max(_LOWEST, round(how.quietest - 20)))}",
        "clipped": f"keep them with {using('keep_clipped', True)}",
        "too short": f"use a shorter {using('duration')}",
    }
    most = next((why for why in left_out if why in mend), "silence")
    if most == "silence" and "too short" in left_out:
        most = "too short"
    return DataError(f"No clip is left of {data}: {shares}; {mend[most]}.")


_AS_SHARE = {
    "silence": "are silence",
    "too short": "are sounds that are too short",
    "too quiet": "are too quiet",
    "clipped": "are clipped",
    "duplicate": "are there already",
    "by hand": "are left out by hand",
    "rest": "are rests",
}


# ----------------------------------------------------------------------------------------------------------------------
# 3. The clips


def _written(plan: Plan, sources: _Sources, folder: Path, tell: OnRecording) -> Prepared:
    """Write what the folder lacks of the plan. What stood in it before is never written over."""
    members = {entry.clip.name: entry.clip for entry in sources.entries}
    for recording in plan.recordings:
        if recording.source not in members and recording.clips:
            raise InputError(
                f"{recording.source} is not in the data any more; add it, or make a new plan.", field="data"
            )
    there = _begun(plan, folder)
    count, done = plan.clips, 0

    def on_clip(name: str) -> None:
        nonlocal done
        done += 1
        tell(done, count - len(there), name)

    for recording in plan.recordings:
        wanted = [piece for piece in recording.clips if piece.clip not in there]
        if wanted:
            try:
                with sources.file(members[recording.source]) as path:
                    write_clips(path, recording, wanted, folder, plan.fade, on_clip)
            except UnusableClipError as error:
                raise InputError(f"{recording.source} can't be read: {error.reason}.", field="data") from None
        for piece in recording.clips:
            caption = recording.caption if piece.caption is None else piece.caption
            text = folder / Path(piece.clip).with_suffix(names.CAPTION_EXTENSION)
            # One that is there may have been written by hand since.
            if caption and not text.exists():
                write_whole(text, (caption + "\n").encode())
    return Prepared(plan, folder, done, len(there))


def _begun(plan: Plan, folder: Path) -> set[str]:
    """Make the folder with the plan in it, or find the clips that an interrupted run of this plan has left there.

    Raises InputError when something else stands there under a name that is needed.
    """
    text = plan.to_text().encode()
    place = folder / PLAN_NAME
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        begun = place.exists()
        if begun and place.read_bytes() != text:
            raise InputError(
                f"{folder} was prepared from other recordings or with other settings; name a new folder with "
                f"{using('out')}.",
                field="out",
            )
        standing = {path.name for path in folder.iterdir()}
        there = set()
        for recording in plan.recordings:
            for piece in recording.clips:
                others = {piece.clip, str(Path(piece.clip).with_suffix(names.CAPTION_EXTENSION))} & standing
                if others and not begun:
                    raise InputError(
                        f"{min(others)} stands in {folder} already; name a new folder with {using('out')}.", field="out"
                    )
                if piece.clip in standing and is_whole(folder / piece.clip, piece):
                    there.add(piece.clip)
        if begun:
            clear_left(folder)
        else:
            write_whole(place, text)
    return there
