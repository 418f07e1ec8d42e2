"""The command line prints with this module: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from soundlora.cli.report import about_clips, clip_notes, grouped, paragraph
from soundlora.cli.report import print_report as report_lines
from soundlora.progress import TITLES, Progress, figures, news_line
from soundlora.weights.fetched import gigabytes

if TYPE_CHECKING:
    from soundlora.dataset import DatasetReport
    from soundlora.pipeline.options import TrainingOptions
    from soundlora.pipeline.train import TrainingResult
    from soundlora.training.verdict import Fit

_PLAIN_SECONDS = 5.0  # between plain lines of training
_FETCH_SECONDS = 10.0  # between plain lines of a fetch


class _Console(Console):
    """Rich would end the program where nobody reads its output any more, before a run could keep its state."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Display:
    """Shows `Progress` news. It is a context manager, and is itself the callback."""

    def __init__(self) -> None:
        self.console = _Console(highlight=False, soft_wrap=True, emoji=False)
        self._bar: Bar | None = None
        self._notes: set[str] = set()
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
        title, text = TITLES[news.stage], figures(news)
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
        line = news_line(news)
        if line != self._last_line and (news.stage != "clips" or last or not news.step):
            self._last_line, self._last_time = line, time.monotonic()
            print(line, flush=True)

    def line(self, text: str) -> None:
        """Print a plain line that stays on the screen."""
        with printing():
            self.console.print(text, markup=False)

    def note(self, text: str) -> None:
        """Print a note that stays on the screen."""
        if text not in self._notes:  # what the clips say is said by several stages
            self._notes.add(text)
            paragraph(self.console, text, start="Note:")


class TrainingConsole(Display):
    """Shows a training, whose run folder is `folder`. Before its first step it says what became of the clips."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._report: Path | None = folder / "report.json"

    def _show(self, news: Progress) -> None:
        if news.stage in ("previews", "training") and self._report is not None and self._report.exists():
            self._tell_clips(json.loads(self._report.read_text(encoding="utf-8")))
            self._report = None
        super()._show(news)

    def _tell_clips(self, report: dict[str, Any]) -> None:
        clips = sorted(report["clips"], key=lambda clip: clip["status"] == "kept")
        notes = clip_notes((clip["name"], clip["reason"], clip["warnings"]) for clip in clips)
        for sentence in [*report["warnings"], *(about_clips(text, names) for text, names in grouped(notes))]:
            self.note(sentence)

    def __enter__(self) -> TrainingConsole:
        super().__enter__()
        self._began = time.monotonic()
        return self

    def summary(self, result: TrainingResult, options: TrainingOptions) -> None:
        """Print what was learnt, where the results are, how long it took, and what to type next."""
        from soundlora.lora.forms import TITLES as FORM_TITLES

        for sentence in (*result.fit.sentences, *result.fit.advice):
            paragraph(self.console, sentence)
        for sentence in (levels_words(result.fit), heard_words(result.fit)):
            if sentence:
                paragraph(self.console, sentence)
        # A table would cut long paths at the edge of the terminal, so these are plain lines.
        lines = [
            ("LoRA", str(result.lora)),
            ("", f"the same file: {result.folder / 'lora.safetensors'}"),
            *([] if result.own is None else [(FORM_TITLES[options.adapter], str(result.own))]),
            ("card", str(result.card)),
            ("config", str(result.config)),
        ]
        if result.preview is not None:
            lines.append(("preview", str(result.preview)))
            lines.append(("", f"{result.folder / 'previews'}: step 0 is before the training"))
        if result.debug_dataset is not None:
            lines.append(("debug", str(result.debug_dataset)))
        lines.append(("took", duration_words(time.monotonic() - self._began)))
        for title, text in lines:
            self.console.print(f"{title:<8}{escape(text)}")
        self._next(result, options)

    def _next(self, result: TrainingResult, options: TrainingOptions) -> None:
        """Print what to do with the LoRA, which depends on its base."""
        from soundlora.pipeline.model_card import where_it_loads
        from soundlora.pipeline.slider import prompt_of

        config = json.loads(result.config.read_text(encoding="utf-8"))
        slider = config.get("slider")
        prompt = (prompt_of(options) if slider else options.trigger_phrase) or "your sound"
        words = ["soundlora", "generate", "--prompt", prompt, "--lora", f"{result.lora}{':-1' if slider else ''}"]
        for flag, value in (("--base", options.base), ("--text-encoder", options.text_encoder)):
            words += [flag, str(value)] if value not in (None, "nano") else []
        words += ["--out", f"{result.lora.stem}.wav"]
        self.console.print()
        if slider:
            said = f"A strength of -1 leads to {slider['from']}, 1 to {slider['to']}; a preview has both in this order."
            paragraph(self.console, said)
        self.console.print(f"Listen to it:\n  {escape(shlex.join(words))}")
        longer = ["soundlora", "train", "--continue", str(result.folder), "--steps", "+1000"]
        longer += ["--text-encoder", str(options.text_encoder)] if options.text_encoder else []
        self.console.print(f"Train it on:\n  {escape(shlex.join(longer))}")
        paragraph(self.console, where_it_loads(config))


def levels_words(fit: Fit) -> str:
    """Return a sentence on how far the loss moved at each noise level, "" where that was not measured."""
    if not fit.levels:
        return ""
    which = "kept out" if fit.levels_kept_out else "that were trained on"
    moved = ", ".join(f"{level.sigma:g}: {100 * (level.lora / level.base - 1):+.0f} %" for level in fit.levels)
    return f"Loss beside the base's by noise level, on clips {which}: {moved}."


def heard_words(fit: Fit) -> str:
    """Return a sentence on what is heard of the LoRA's sound beside the clips', "" where that was not measured."""
    said = [
        f"{each.name} {each.lora.value:.3g} {each.unit}".rstrip()
        + (f" (clips {each.clips.value:.3g}, before {each.start.value:.3g})" if each.clips and each.start else "")
        for each in fit.heard
        if each.lora is not None
    ]
    return f"Heard: {'; '.join(said)}. {fit.heard_of}" if said else ""


def duration_words(seconds: float) -> str:
    """Return a length of time as people say it: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
    """Print what is known of a data set."""
    report_lines(report, _Console(highlight=False, soft_wrap=True, emoji=False))
