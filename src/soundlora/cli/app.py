"""The command line: train, stop, prepare, caption, generate, grid, figures, inspect, doctor, base, lora, serve, work,
nodes, drain, prune and keys.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from soundlora.cli.base import app as base_commands
from soundlora.cli.caption import caption
from soundlora.cli.durations import SEVERAL, durations_of
from soundlora.cli.figures import figures
from soundlora.cli.generate import TOPICS as GENERATE_TOPICS
from soundlora.cli.generate import generate
from soundlora.cli.generate_flags import DeviceOption
from soundlora.cli.grid import TOPICS as GRID_TOPICS
from soundlora.cli.grid import grid
from soundlora.cli.keys import app as keys_commands
from soundlora.cli.lora import app as lora_commands
from soundlora.cli.lora_mix import compare, mix, slice_lora
from soundlora.cli.output import (
    finish_output,
    is_output_error,
    output_error,
    prepare_streams,
    print_json,
    say_error,
)
from soundlora.cli.prepare import prepare
from soundlora.cli.prune import prune
from soundlora.cli.serve import TOPICS as SERVE_TOPICS
from soundlora.cli.serve import serve
from soundlora.cli.stop import stop
from soundlora.cli.topics import by_topic
from soundlora.cli.train import DATA_HELP, train
from soundlora.cli.train import TOPICS as TRAIN_TOPICS
from soundlora.cli.work import TOPICS as WORK_TOPICS
from soundlora.cli.work import drain, nodes, work
from soundlora.contract.modes import MODES
from soundlora.errors import DivergedError, InputError, Interrupted, MachineError
from soundlora.pipeline.options import SETTINGS, kind_of
from soundlora.system.interrupts import ignore_interrupts, termination_interrupts
from soundlora.system.whole_files import machine_error
from soundlora.version import __version__
from soundlora.wording import command_line_words, wording


class _Commands(TyperGroup):
    """Click has answers of its own to a broken pipe and to Ctrl-C, which say nothing. Here each becomes a sentence."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        with _sentences():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: Any) -> Any:
        with _sentences():
            return super().invoke(ctx)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise told(error) from error
    except KeyboardInterrupt:
        raise Interrupted("Stopped before it was done.") from None


def told(error: OSError) -> MachineError:
    """Return the MachineError for what the system has refused somewhere: the output, a file or a folder."""
    return output_error(error) if is_output_error(error) else machine_error(error)


app = typer.Typer(
    name="soundlora",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
lora_commands.command()(mix)
lora_commands.command()(compare)
lora_commands.command(name="slice")(slice_lora)
app.add_typer(base_commands, name="base")
app.add_typer(lora_commands, name="lora")
app.add_typer(keys_commands, name="keys")
app.command(cls=by_topic(TRAIN_TOPICS))(train)
app.command()(stop)
app.command()(prepare)
app.command()(caption)
app.command(cls=by_topic(GENERATE_TOPICS))(generate)
app.command(cls=by_topic(GRID_TOPICS))(grid)
app.command(cls=by_topic(SERVE_TOPICS))(serve)
app.command()(prune)
app.command(cls=by_topic(WORK_TOPICS))(work)
app.command()(figures)
app.command()(nodes)
app.command()(drain)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"soundlora {__version__}")
        raise typer.Exit


@app.callback()
def soundlora(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Train text-to-audio LoRAs for LTX 2.3 and 2.5, and generate with them."""


@app.command()
def inspect(
    data: Annotated[str, typer.Argument(help=DATA_HELP)],
    duration: Annotated[str, typer.Option(help=f"Seconds of every clip. {SEVERAL}")] = "5",
    short: Annotated[str, typer.Option(help=SETTINGS["short"].help)] = "skip",
    trigger_phrase: Annotated[str, typer.Option(help="Prepended to every caption.")] = "",
    normalize: Annotated[bool, typer.Option("--normalize/--no-normalize", help=SETTINGS["normalize"].help)] = True,
    preserve_pitch: Annotated[
        bool,
        typer.Option("--preserve-pitch/--no-preserve-pitch", help=SETTINGS["preserve_pitch"].help),
    ] = True,
    validation_prompt: Annotated[
        list[str] | None, typer.Option(help="Text for previews, looked at for the trigger phrase.")
    ] = None,
    captions_from: Annotated[str, typer.Option(help=SETTINGS["captions_from"].help)] = "files",
    caption_template: Annotated[str, typer.Option(help=SETTINGS["caption_template"].help)] = "",
    mode: Annotated[str, typer.Option(help=f"{', '.join(MODES)}: what would be trained.")] = "t2a",
    windows: Annotated[str, typer.Option(help=SETTINGS["windows"].help)] = "first",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what training would make of every clip, and why. Exits with 2 when it would refuse the data."""
    if mode not in MODES:
        raise InputError(f"--mode is {mode!r}, but it must be one of {', '.join(MODES)}.")
    if short not in ("skip", "pad"):
        raise InputError(f"--short is {short!r}, but it must be skip or pad.")
    if windows not in ("first", "all"):
        raise InputError(f"--windows is {windows!r}, but it must be one of first, all.")
    longest, *shorter = durations_of(duration)
    from soundlora.dataset import inspect_dataset, refusal
    from soundlora.dataset.fork import usable_processes

    report = inspect_dataset(
        data,
        duration=longest,
        shorter_durations=shorter,
        short="pad" if short == "pad" else "skip",
        trigger_phrase=trigger_phrase,
        normalize=normalize,
        preserve_pitch=preserve_pitch,
        validation_prompts=validation_prompt or (),
        processes=usable_processes(),
        partner=MODES[mode].partner,
        captions_from=captions_from,  # type: ignore[arg-type]  # looked at there
        caption_template=caption_template,
        windows="all" if windows == "all" else "first",
    )
    if as_json:
        print_json(report.to_json())
    else:
        from soundlora.cli.console import print_report

        print_report(report)
    refused = refusal(report)
    if refused is not None:
        raise refused


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say how much GPU memory a training would take.")] = False,
    base: Annotated[
        str, typer.Option(help="Of the plan: full or full-2.3, full-2.5, or a base as for train.")
    ] = "full",
    rank: Annotated[int, typer.Option(min=1, help="Of the plan.")] = 32,
    duration: Annotated[float, typer.Option(min=0.1, help="Of the plan: seconds of every clip.")] = 5.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the plan: clips that go through at once.")] = 1,
    optimizer: Annotated[
        str, typer.Option(help=f"Of the plan: {', '.join(get_args(kind_of('optimizer')))}.")
    ] = "adamw",
    device: DeviceOption = None,
) -> None:
    """Say what this machine has, and what would run on it and how fast."""
    if plan:
        from soundlora.cli.plan_table import print_plans

        print_plans(base, rank, duration, batch_size, optimizer, as_json=as_json)
        return
    from soundlora.cli.doctor import examine, print_findings

    findings = examine(device)
    print_json(findings) if as_json else print_findings(findings)


EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (InputError, 2),
    (MachineError, 1),
    (DivergedError, 1),
    (Interrupted, 1),
)
"""The exit code of each error: 2 when the input is wrong, 1 for anything else."""


def main() -> None:
    """Run the command line. It exits with 0 when all is done, else as `EXIT_CODES` says."""
    prepare_streams()
    with termination_interrupts():
        code, sentence = _run()
        ignore_interrupts()  # what is left takes no time, and a late signal would change the exit code
        failure = finish_output()
        if failure is not None and not sentence:
            code, sentence = 1, str(failure)
        if sentence:
            say_error(sentence)
    sys.exit(code)


def _run() -> tuple[int, str]:
    """Return the exit code, and the sentence of an error or ""."""
    try:
        with wording(command_line_words):
            app()
    except SystemExit as ended:
        return (ended.code, "") if isinstance(ended.code, int) else (bool(ended.code), str(ended.code or ""))
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind)), str(error)
    except OSError as error:
        return 1, str(told(error))
    except KeyboardInterrupt:
        return 1, "Stopped."
    return 0, ""
