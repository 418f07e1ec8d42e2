"""What is said of a data set: sums first, then notes, of which equal ones are one, then clip after clip."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from soundlora.dataset import ClipReport, DatasetReport

_FIGURE = re.compile(r"((?<![\w.])-?\d+(?:\.\d+)?)")
_FEW = 3  # names that are listed
_INDENT = 9  # columns, below the status of a clip
_HEADER = ("", "file", "length", "format", "peak", "loudness", "noise", "silence")


def paragraph(console: Console, text: str, *, start: str = "", style: str = "", indent: int = 0) -> None:
    """Print a text after a yellow `start`. A terminal gets lines that end between words, all else gets one line."""
    whole = f"{start} {text}" if start else text
    if console.is_terminal:
        space = " " * indent
        whole = textwrap.fill(
            whole,
            max(20, console.width),
            initial_indent=space,
            subsequent_indent=space,
            break_long_words=False,
            break_on_hyphens=False,
        )
    else:
        whole = " " * indent + whole
    shown = Text(whole, style=style)
    if start:
        shown.stylize("yellow", indent, indent + len(start))
    console.print(shown)


def grouped(notes: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return (sentence, clips) of notes (clip, sentence): those that differ in figures alone become one.

    Its figures are then ranges: `it is 0.30 to 0.45 s long`.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, text in notes:
        groups.setdefault(_FIGURE.sub("0", text), []).append((name, text))
    return [(_ranged([text for _, text in same]), [name for name, _ in same]) for same in groups.values()]


def about_clips(text: str, names: Sequence[str], number: int | None = None) -> str:
    """Return a sentence with the clips that it is about. number: the mark by which more than a few are found below."""
    if len(names) == 1:
        return f"{names[0]}: {text}"
    if len(names) <= _FEW:
        return f"{len(names)} clips: {text} ({', '.join(names)})"
    where = f", marked ({number}) below" if number else f" ({', '.join(names[:_FEW])} and {len(names) - _FEW} more)"
    return f"{len(names)} clips{where}: {text}" if number else f"{len(names)} clips: {text}{where}"


def clip_notes(clips: Iterable[tuple[str, str | None, Sequence[str]]]) -> list[tuple[str, str]]:
    """Return (clip, sentence) for (clip, the reason that it is skipped or None, its warnings).

    The reason alone is told of a clip that is skipped.
    """
    found = []
    for name, reason, warnings in clips:
        found += [(name, f"skipped, since {reason}")] if reason else [(name, warning) for warning in warnings]
    return found


def print_report(report: DatasetReport, console: Console) -> None:
    """Print the sums, what each bucket would keep, the notes, and a table of every clip's measurements."""
    _print_sums(report, console)
    console.print()
    marks: dict[str, list[int]] = {}
    kept = ((clip.name, None, clip.warnings) for clip in report.kept)
    skipped = ((clip.name, clip.reason, clip.warnings) for clip in report.skipped)
    sentences = list(report.warnings)
    for text, names in grouped(clip_notes([*skipped, *kept])):
        number = None
        if len(names) > _FEW:
            number = 1 + max((max(each) for each in marks.values()), default=0)
            for name in names:
                marks.setdefault(name, []).append(number)
        sentences.append(about_clips(text, names, number))
    sentences += [f"{caption} belongs to no clip." for caption in report.orphan_captions]
    for sentence in sentences:
        paragraph(console, sentence, start="Note:")
    hidden = sum("hidden" in file.reason for file in report.ignored)
    if hidden:
        console.print(f"{hidden} hidden or system {'file' if hidden == 1 else 'files'} passed over.", style="dim")
    console.print()
    _print_clips(report.clips, marks, console)


def _print_sums(report: DatasetReport, console: Console) -> None:
    console.print(
        f"{len(report.kept)} kept, {len(report.skipped)} skipped; {_minutes(report.total_seconds).strip()} "
        f"at {report.duration:g} s a clip.",
        style="bold",
    )
    best = [bucket.duration for bucket in report.suggestions]
    first = "most files" if report.windows == "all" else "most clips"
    suggested = [(first, best[0]), ("most sound", best[-1])] if best else []
    for bucket in report.buckets:
        marks = ["this one"] if bucket.duration == report.duration else []
        marks += [what for what, chosen in suggested if chosen == bucket.duration]
        mark = f"  {', '.join(marks)}" if marks else ""
        clips = f"{bucket.clips} {'clip ' if bucket.clips == 1 else 'clips'}"
        console.print(f"bucket {bucket.duration:5.1f} s  {clips:>10}  {_minutes(bucket.seconds)}{mark}")


def _print_clips(clips: Sequence[ClipReport], marks: dict[str, list[int]], console: Console) -> None:
    """Print a row for each clip, with its caption below. A terminal that is too narrow for rows gets lines of words."""
    rows = [_measurements(clip) for clip in clips]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    narrow = console.is_terminal and sum(widths) + 2 * (len(widths) - 1) > console.width
    if not narrow:
        console.print(Text(_row(_HEADER, widths), style="bold"))
    for clip, row in zip(clips, rows, strict=True):
        kept = clip.status == "kept"
        style = "green" if kept else "red"
        if narrow:
            console.print(Text(f"{row[0]:<7}  {row[1]}", style=style))
            figures = [f"{name} {cell}" for name, cell in zip(_HEADER[2:], row[2:], strict=True) if cell]
            paragraph(console, ", ".join(figures), style=style, indent=_INDENT)
        else:
            console.print(Text(_row(row, widths), style=style))
        below = _caption(clip) if kept else clip.reason or ""
        below += "".join(f" ({number})" for number in marks.get(clip.name, ()))
        if below:
            paragraph(console, below.strip(), style="dim" if kept else "", indent=_INDENT)


def _ranged(texts: Sequence[str]) -> str:
    """Return one text for several that differ in their figures alone, with the least and the largest of each."""
    parts = []
    for same in zip(*(_FIGURE.split(text) for text in texts), strict=True):
        if len(set(same)) == 1:
            parts.append(same[0])
        else:
            parts.append(f"{min(same, key=float)} to {max(same, key=float)}")
    return "".join(parts)


def _caption(clip: ClipReport) -> str:
    """Return the caption, and where it comes from unless that is a text file of the clip's name."""
    source = clip.caption_source or ""
    return (
        f"{clip.caption}  (caption from {source})" if source and not source.lower().endswith(".txt") else clip.caption
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60):3d} min {seconds % 60:4.1f} s"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Names and formats are aligned to the left, figures to the right.
    aligned = [
        cell.ljust(width) if number in (0, 1, 3) else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _measurements(clip: ClipReport) -> tuple[str, ...]:
    channels = {1: "mono", 2: "stereo"}.get(clip.channels or 0, f"{clip.channels} channels")
    start, end = clip.silence_start_seconds, clip.silence_end_seconds
    return (
        clip.status,
        clip.name,
        "" if clip.seconds is None else f"{clip.seconds:.2f} s",
        "" if clip.sample_rate is None else f"{clip.sample_rate} Hz {channels} {clip.codec}",
        "" if clip.peak_dbfs is None else f"{clip.peak_dbfs:.1f} dBFS",
        "" if clip.loudness_lufs is None else f"{clip.loudness_lufs:.1f} LUFS",
        "" if clip.noise_floor_dbfs is None else f"{clip.noise_floor_dbfs:.0f} dBFS",
        "" if start is None or end is None else f"{start:.1f} + {end:.1f} s",
    )
