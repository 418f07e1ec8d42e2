"""The command line prints with this module: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from soundlora.cli.output import printing
from soundlora.progress import Progress
from soundlora.weights.fetched import gigabytes

if TYPE_CHECKING:
    from soundlora.dataset import ClipReport, DatasetReport
    from soundlora.pipeline.train import TrainingResult

_PLAIN_SECONDS = 5.0  # between plain lines of training
_FETCH_SECONDS = 10.0  # between plain lines of a fetch
_TITLES = {
    "base": "Base",
    "clips": "Clips",
    "contexts": "Captions",
    "training": "Training",
    "previews": "Previews",
    "saving": "Saving",
    "sampling": "Sampling",
    "done": "Done",
}


class _Console(Console):
    """Rich would end the program where nobody reads its output any more, before a run could keep its state."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Display:
    """Shows `Progress` news. It is a context manager, and is itself the callback."""

    def __init__(self) -> None:
        self.console = _Console(highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._last_line, self._last_time = "", 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description:<9}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=None, figures="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, news: Progress) -> None:
        """Show a piece of news. Raises MachineError when nobody can read it any more."""
        with printing():
            self._show(news)

    def _show(self, news: Progress) -> None:
        if news.note:
            self.note(news.message)
            return
        title, text = _TITLES[news.stage], _figures(news)
        if self._bar is not None:
            # Each stage with a message leaves a line, and the bar moves below these lines.
            if news.stage in ("clips", "previews", "done") and news.step == news.steps and news.message:
                self._bar.print(f"[bold]{title}[/] {escape(news.message)}")
            self._bar.update(
                self._task, description=title, completed=news.step, total=news.steps or None, figures=escape(text)
            )
            return
        last = news.steps > 0 and news.step == news.steps
        often = news.stage in ("training", "sampling") or (news.stage == "base" and news.steps > 0)
        if often and not last and time.monotonic() - self._last_time < _PLAIN_SECONDS:
            return
        count = f" {news.step}/{news.steps}" if news.steps else ""
        line = f"{title}{count}  {text}".rstrip()
        if line != self._last_line and (news.stage != "clips" or last or not news.step):
            self._last_line, self._last_time = line, time.monotonic()
            print(line, flush=True)

    def note(self, text: str) -> None:
        """Print a note that stays on the screen."""
        self.console.print(f"[yellow]Note:[/] {escape(text)}")


class TrainingConsole(Display):
    def __enter__(self) -> TrainingConsole:
        super().__enter__()
        return self

    def summary(self, result: TrainingResult) -> None:
        """Print where the results are, what was skipped, and what to try next."""
        for clip in result.report.skipped:
            self.note(f"{clip.name} was skipped: {clip.reason}")
        for clip in result.report.kept:
            for warning in clip.warnings:
                self.note(f"{clip.name}: {warning}")
        for warning in result.report.warnings:
            self.note(warning)
        for sentence in result.fit.sentences:
            self.console.print(escape(sentence))
        # A table would cut long paths at the edge of the terminal, so these are plain lines.
        lines = [("LoRA", str(result.lora)), ("config", str(result.config))]
        if result.preview is not None:
            lines.append(("preview", str(result.preview)))
            lines.append(("", f"{result.folder / 'previews'}: step 0 is before the training"))
        if result.debug_dataset is not None:
            lines.append(("debug", str(result.debug_dataset)))
        for title, text in lines:
            self.console.print(f"{title:<8}{escape(text)}")


class FetchDisplay:
    """Shows the bytes of a fetch, with a bar in a terminal and a line every ten seconds elsewhere."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, 0.0
        console = _Console(highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> FetchDisplay:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, size: int) -> None:
        self._bar.update(self._task, completed=done, total=size)
        if self._bar.disable and (done == size or time.monotonic() - self._last > _FETCH_SECONDS):
            self._last = time.monotonic()
            print(f"Fetching {self._name}: {gigabytes(done)} of {gigabytes(size)}", flush=True)


@contextlib.contextmanager
def spinner(text: str) -> Iterator[Display]:
    """Yield a display that already shows `text`, for a command of one stage."""
    with Display() as display:
        display(Progress("base", message=text))
        yield display


def print_report(report: DatasetReport) -> None:
    """Print a table of every clip's measurements. Below each clip stands its caption, or why it is skipped."""
    console = _Console(highlight=False, soft_wrap=True)
    rows = [_measurements(clip) for clip in report.clips]
    header = ("", "file", "length", "format", "peak", "loudness", "noise", "silence")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    console.print(_row(header, widths), style="bold")
    for clip, row in zip(report.clips, rows, strict=True):
        kept = clip.status == "kept"
        console.print(escape(_row(row, widths)), style="green" if kept else "red")
        below = _caption(clip) if kept else clip.reason or ""
        console.print(f"         {escape(below)}", style="dim" if kept else None)
        for warning in clip.warnings:
            console.print(f"         [yellow]Note:[/] {escape(warning)}")
    for caption in report.orphan_captions:
        console.print(f"[yellow]Note:[/] {escape(caption)} belongs to no clip.")
    for warning in report.warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}")
    hidden = sum("hidden" in file.reason for file in report.ignored)
    if hidden:
        console.print(f"{hidden} hidden or system {'file' if hidden == 1 else 'files'} passed over.", style="dim")
    console.print()
    best = [bucket.duration for bucket in report.suggestions]
    first = "most files" if report.windows == "all" else "most clips"
    suggested = [(first, best[0]), ("most sound", best[-1])] if best else []
    for bucket in report.buckets:
        marks = ["this one"] if bucket.duration == report.duration else []
        marks += [what for what, chosen in suggested if chosen == bucket.duration]
        mark = f"  {', '.join(marks)}" if marks else ""
        clips = f"{bucket.clips} {'clip ' if bucket.clips == 1 else 'clips'}"
        console.print(f"bucket {bucket.duration:5.1f} s  {clips:>10}  {_minutes(bucket.seconds)}{mark}")
    console.print(
        f"{len(report.kept)} kept, {len(report.skipped)} skipped; {_minutes(report.total_seconds).strip()} "
        f"at {report.duration:g} s a clip."
    )


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


def _figures(news: Progress) -> str:
    if news.stage != "training" or news.loss is None:
        return news.message
    left = int(news.seconds_left or 0)
    return f"loss {news.loss:.3f}  {news.steps_per_second or 0:.1f} steps/s  {left // 60}:{left % 60:02d} left"
