"""The command line: soundlora train | generate | inspect | doctor | base | lora | serve | keys."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from soundlora.cli.base import app as base_commands
from soundlora.cli.keys import app as keys_commands
from soundlora.cli.lora import app as lora_commands
from soundlora.cli.serve import serve
from soundlora.errors import InputError
from soundlora.progress import StoppedError
from soundlora.version import __version__

app = typer.Typer(
    name="soundlora",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(base_commands, name="base")
app.add_typer(lora_commands, name="lora")
app.add_typer(keys_commands, name="keys")
app.command()(serve)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"soundlora {__version__}")
        raise typer.Exit


@app.callback()
def soundlora(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Train text-to-audio LoRAs for LTX 2.3, and generate with them."""


# What a field of the request is called here, so that a complaint names what was typed.
FLAGS = {
    "training_data_url": "DATA",
    "rank": "--rank",
    "number_of_steps": "--steps",
    "learning_rate": "--learning-rate",
    "trigger_phrase": "--trigger-phrase",
    "audio_duration_seconds": "--duration",
    "validation": "--validation-prompt",
    "validation_negative_prompt": "--negative-prompt",
    "validation_frame_rate": "--frame-rate",
    "stg_scale": "--stg-scale",
}

DATA_HELP = "A zip or folder of clips and .txt captions, or the URL of a zip."
BaseOption = Annotated[
    str,
    typer.Option(help="nano, the path of an LTX 2.3 checkpoint or its folder, owner/name on the hub, or a URL."),
]
EncoderOption = Annotated[
    Path | None,
    typer.Option(
        help="Gemma 3: a folder, or owner/name on the hub. [default: text_encoder beside the checkpoint, else the one "
        "that has been fetched]"
    ),
]


@app.command()
def train(
    data: Annotated[str | None, typer.Argument(help=DATA_HELP)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; it must not hold one yet.")] = None,
    request: Annotated[Path | None, typer.Option(help="The endpoint's JSON instead of flags.")] = None,
    base: BaseOption = "nano",
    text_encoder: EncoderOption = None,
    rank: Annotated[int | None, typer.Option(help="8, 16, 32, 64 or 128. [default: 32]")] = None,
    targets: Annotated[str, typer.Option(help="Layers that are trained: all, attention or self-ff.")] = "all",
    init_lora: Annotated[Path | None, typer.Option(help="Begin with this LoRA file, whoever wrote it.")] = None,
    steps: Annotated[int | None, typer.Option(help="100 to 20000. [default: 2000]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: 2e-4]")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips a step.")] = 1,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of every clip: shorter ones are skipped, longer trimmed. [default: 5]")
    ] = None,
    trigger_phrase: Annotated[str | None, typer.Option(help="Prepended to every caption.")] = None,
    normalize: Annotated[bool | None, typer.Option("--normalize/--no-normalize", help="Peak-normalise clips.")] = None,
    preserve_pitch: Annotated[
        bool | None,
        typer.Option("--preserve-pitch/--no-preserve-pitch", help="Stretch, not pad, a clip a hair too short."),
    ] = None,
    validation_prompt: Annotated[
        list[str] | None, typer.Option(help="Text for previews, up to two. [default: the first clip's caption]")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What previews move away from.")] = None,
    frame_rate: Annotated[int | None, typer.Option(help="Sizes previews as the endpoint does. [default: 24]")] = None,
    stg_scale: Annotated[float | None, typer.Option(help="Spatio-temporal guidance of previews, 0 to 3.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Fixes everything random.")] = 42,
    debug_dataset: Annotated[bool, typer.Option(help="Also write what the model hears of every clip.")] = False,
    preview_every: Annotated[int | None, typer.Option(min=1, help="Steps. [default: a quarter of the run]")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(min=1, help="Steps. [default: a quarter of the run]")] = None,
    keep_checkpoints: Annotated[
        int | None, typer.Option(min=1, help="How many of the best stay when the run has ended. [default: all]")
    ] = None,
    hold_out: Annotated[
        int | None, typer.Option(min=0, help="Clips kept out, to tell what was learnt. [default: one in ten]")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option(help="Figures also go to csv, tensorboard or wandb; may be given several times.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    quantize: Annotated[
        str | None, typer.Option(help="int8 or fp8: a base of a byte a weight, with torchao. bf16: of two, on CPUs.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="adamw, or adamw8bit: its moments take a byte a number instead of four.")
    ] = "adamw",
    average: Annotated[
        bool,
        typer.Option(
            "--average/--no-average", help="The LoRA is the mean of the last steps' weights, not those of the last one."
        ),
    ] = True,
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option(
            "--checkpoint-activations/--no-checkpoint-activations",
            help="Compute activations again instead of keeping them. [default: where memory asks for it]",
        ),
    ] = None,
) -> None:
    """Train a LoRA on clips; writes lora.safetensors, config.json and previews to the run folder."""
    from soundlora.contract.training import parse_request

    flags: dict[str, Any] = {
        "training_data_url": data,
        "rank": rank,
        "number_of_steps": steps,
        "learning_rate": learning_rate,
        "trigger_phrase": trigger_phrase,
        "audio_duration_seconds": duration,
        "audio_normalize": normalize,
        "audio_preserve_pitch": preserve_pitch,
        "validation": [{"prompt": prompt} for prompt in validation_prompt] if validation_prompt else None,
        "validation_negative_prompt": negative_prompt,
        "validation_frame_rate": frame_rate,
        "stg_scale": stg_scale,
        "debug_dataset": debug_dataset or None,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    if request is not None:
        if given:
            first = FLAGS.get(next(iter(given)), next(iter(given)))
            raise InputError(f"--request already says everything about the training; leave out {first}.")
        parsed = parse_request(_read_request(request))
    else:
        if data is None:
            raise InputError("DATA is missing: give a zip or a folder of clips, or a request with --request.")
        parsed = parse_request(given, FLAGS)
    if out is None:
        raise InputError("--out is missing: give a folder for the run.")

    # Without prompts of the user's own the first caption is previewed; a request is taken at its word.
    options: dict[str, Any] = {} if request is not None or validation_prompt else {"validation_prompts": None}
    from soundlora.cli.console import TrainingConsole
    from soundlora.pipeline.train import train_request
    from soundlora.training.workers import Workers

    # Of the processes that torchrun starts only the first one speaks.
    with TrainingConsole() if Workers.from_environment().first else nullcontext() as console:
        result = train_request(
            parsed,
            out,
            base=base,
            text_encoder=text_encoder,
            targets=targets,
            init_lora=init_lora,
            batch_size=batch_size,
            seed=seed,
            preview_every=preview_every,
            checkpoint_every=checkpoint_every,
            keep_checkpoints=keep_checkpoints,
            hold_out=hold_out,
            log=log or (),
            resume=resume,
            quantize=quantize,
            optimizer=optimizer,
            average=average,
            checkpoint_activations=checkpoint_activations,
            on_progress=console,
            **options,
        )
    if console is not None:
        console.summary(result)


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="The sound in words.")],
    lora: Annotated[Path | None, typer.Option(help="A LoRA file.")] = None,
    strength: Annotated[float, typer.Option(help="Of the LoRA.")] = 1.0,
    duration: Annotated[float, typer.Option(help="Seconds.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same sound.")] = 42,
    steps: Annotated[int | None, typer.Option(help="Sampling steps. [default: the base's]")] = None,
    cfg: Annotated[float | None, typer.Option(help="Classifier-free guidance. [default: the base's]")] = None,
    stg: Annotated[float | None, typer.Option(help="Spatio-temporal guidance. [default: the base's]")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to move away from.")] = None,
    out: Annotated[Path, typer.Option(help="WAV file to write.")] = Path("sound.wav"),
    base: BaseOption = "nano",
    text_encoder: EncoderOption = None,
) -> None:
    """Generate sound from a prompt, with or without a LoRA."""
    if not out.parent.is_dir():
        raise InputError(f"{out} can't be written: there is no folder {out.parent}.")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file in it with --out.")
    from soundlora.cli.console import spinner
    from soundlora.pipeline.generate import Generator

    with spinner("loading") as show:
        loras = [(lora, strength)] if lora else []
        generator = Generator(base, loras, text_encoder=text_encoder, on_progress=show)
        for note in generator.warnings + generator.advice(prompt, duration):
            show.note(note)
        sound = generator(
            prompt,
            duration=duration,
            seed=seed,
            steps=steps,
            cfg=cfg,
            stg=stg,
            negative_prompt=negative_prompt,
            on_progress=show,
        )
    sound.save(out)
    print(f"{out}: {sound.waveform.shape[1] / sound.sample_rate:.2f} s, {sound.sample_rate} Hz stereo, seed {seed}")


@app.command()
def inspect(
    data: Annotated[str, typer.Argument(help=DATA_HELP)],
    duration: Annotated[float, typer.Option(min=0.5, max=60, help="Seconds of every clip.")] = 5.0,
    trigger_phrase: Annotated[str, typer.Option(help="Prepended to every caption.")] = "",
    normalize: Annotated[bool, typer.Option("--normalize/--no-normalize", help="Peak-normalise clips.")] = True,
    preserve_pitch: Annotated[
        bool,
        typer.Option("--preserve-pitch/--no-preserve-pitch", help="Stretch, not pad, a clip a hair too short."),
    ] = True,
    validation_prompt: Annotated[
        list[str] | None, typer.Option(help="Text for previews, looked at for the trigger phrase.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what training would make of every clip, and why. Exits with 2 when it would refuse the data."""
    from soundlora.dataset import inspect_dataset, refusal
    from soundlora.dataset.fork import usable_processes

    report = inspect_dataset(
        data,
        duration=duration,
        trigger_phrase=trigger_phrase,
        normalize=normalize,
        preserve_pitch=preserve_pitch,
        validation_prompts=validation_prompt or (),
        processes=usable_processes(),
    )
    if as_json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
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
    base: Annotated[str, typer.Option(help="Of the plan: full, for LTX 2.3, or a base as for train.")] = "full",
    rank: Annotated[int, typer.Option(min=1, help="Of the plan.")] = 32,
    duration: Annotated[float, typer.Option(min=0.1, help="Of the plan: seconds of every clip.")] = 5.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the plan: clips that go through at once.")] = 1,
    optimizer: Annotated[str, typer.Option(help="Of the plan: adamw or adamw8bit.")] = "adamw",
) -> None:
    """Say what this machine has, and what would run on it and how fast."""
    if plan:
        from soundlora.cli.plan_table import print_plans

        print_plans(base, rank, duration, batch_size, optimizer, as_json=as_json)
        return
    from soundlora.cli.doctor import examine, print_findings

    findings = examine()
    print(json.dumps(findings, indent=2)) if as_json else print_findings(findings)


def _read_request(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The request {path} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise InputError(f"The request {path} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InputError(f"The request {path} must be a JSON object with field names such as training_data_url.")
    # A path in the file is meant from where the file lies.
    from soundlora.dataset.source import is_remote

    data = value.get("training_data_url")
    if isinstance(data, str) and data and not is_remote(data):
        value["training_data_url"] = os.path.join(path.parent, os.path.expanduser(data))
    return value


def main() -> None:
    """Entry point. Exit codes: 0 done, 2 the input is wrong, 1 anything else."""
    try:
        app()
    except InputError as error:
        sys.exit(_complain(str(error), 2))
    except StoppedError as error:
        sys.exit(_complain(str(error), 1))


def _complain(sentence: str, code: int) -> int:
    print(f"soundlora: {sentence}", file=sys.stderr)
    return code
