"""soundlora train. Each of its flags is a setting of `TrainingOptions`."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from soundlora.cli.durations import SEVERAL, durations_of
from soundlora.contract.conditioned import AUDIO_FIELDS, REQUESTS
from soundlora.contract.training import parse_request
from soundlora.errors import InputError
from soundlora.net.addresses import is_remote
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.pipeline.options import DATA_FIELD, SETTINGS, TrainingOptions, default_of, kind_of
from soundlora.wording import command_line_words, setting

DATA_HELP = SETTINGS["data"].help
# Of a preview the flags say on their own what is given, and nothing of it means a part of the first clips.
_PREVIEW = {"audio_url": "clip", "reference_audio_url": "clip", "spans": [[0, 1]]}
TOPICS = {
    "The run": ("out", "name", "request", "resume", "seed"),
    "The base": ("base", "text_encoder", "device", "check"),
    "Clips and captions": (
        "duration", "short", "windows", "trigger_phrase", "captions_from", "caption_template", "normalize",
        "preserve_pitch", "hold_out", "debug_dataset",
    ),
    "What is learnt, and how": (
        "mode", "conditioning_seconds", "condition_probability", "rank", "targets", "init_lora", "steps",
        "learning_rate", "batch_size", "caption_dropout", "average",
    ),
    "Previews": (
        "validation_prompts", "validation_audio", "validation_spans", "negative_prompt", "frame_rate", "stg_scale",
        "preview_every",
    ),
    "Memory and speed": ("quantize", "optimizer", "checkpoint_activations", "offload"),
    "Checkpoints and logs": ("checkpoint_every", "keep_checkpoints", "log"),
}  # fmt: skip
"""What --help says below each heading."""
_REQUEST_HELP = "The endpoint's JSON instead of flags."


def train(**flags: Any) -> None:
    """Train a LoRA on clips, with a model card and previews beside it."""
    given = {name: value for name, value in flags.items() if value is not None}
    device = given.get("device")
    given_out = Path(given.get("out", ""))
    options = _options(given)
    from soundlora.cli.console import TrainingConsole
    from soundlora.pipeline.train import run_training
    from soundlora.training.workers import Workers

    # torchrun starts several processes. Only the first one prints.
    first = Workers.from_environment(device).first
    with TrainingConsole(given_out) if first else nullcontext() as console:
        made = options(console)
        result = run_training(made)
    if console is not None:
        console.summary(result, made)


def _options(given: dict[str, Any]) -> Callable[[Any], TrainingOptions]:
    """Return a function that makes the options of the flags; its argument receives the progress.

    Raises InputError when a flag is outside the endpoint's range, and when flags contradict each other or are missing.
    """
    if "duration" in given:
        longest, *shorter = durations_of(given["duration"])
        given |= {"duration": longest} | ({"shorter_durations": shorter} if shorter else {})
    request: Path | None = given.pop("request", None)
    out = given.pop("out", None)
    hosted = {name: value for name, value in given.items() if SETTINGS[name].hosted}
    own = {name: value for name, value in given.items() if name not in hosted}
    if request is not None:
        if hosted:
            first = setting(next(iter(hosted)))
            raise InputError(f"--request already says everything about the training; leave out {first}.")
        fields, names = _read_request(request), None
    else:
        if "data" not in given:
            raise InputError("DATA is missing: give a zip or a folder of clips, or a request with --request.")
        fields = {SETTINGS[name].hosted: value for name, value in hosted.items()}
        if "validation_prompts" in hosted:
            fields["validation"] = [_PREVIEW | {"prompt": prompt} for prompt in hosted["validation_prompts"]]
            own = {"validation_audio": None, "validation_spans": None} | own
        else:
            own["validation_prompts"] = None  # None previews the first caption; a request without prompts has none.
        names = {known.hosted: setting(name) for name, known in SETTINGS.items() if known.hosted}
    data = fields.get(DATA_FIELD)
    if isinstance(data, str) and not is_remote(data):
        # A path may hold bytes that are no text, which a request can't. It goes on as it is.
        own["data"] = data
        fields[DATA_FIELD] = data.encode("utf-8", "backslashreplace").decode()
    # A request may have our own fields, which flags give beside it.
    models = REQUESTS if request is None else TRAINING_INPUTS
    parsed = parse_request(fields, names, models[given.get("mode", "t2a")])
    if out is None:
        raise InputError("--out is missing: give a folder for the run.")
    return lambda console: TrainingOptions.from_endpoint(parsed, out, **own, on_progress=console)


def _read_request(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The request {path} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise InputError(f"The request {path} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InputError(f"The request {path} must be a JSON object with field names such as training_data_url.")
    # A relative path in the file starts at the file's folder.
    data = value.get("training_data_url")
    if isinstance(data, str) and data and not is_remote(data):
        value["training_data_url"] = os.path.join(path.parent, os.path.expanduser(data))
    for entry in value["validation"] if isinstance(value.get("validation"), list) else ():
        for field in AUDIO_FIELDS:
            audio = entry.get(field) if isinstance(entry, dict) else None
            if isinstance(audio, str) and audio and not is_remote(audio):
                entry[field] = os.path.join(path.parent, os.path.expanduser(audio))
    return value


def parameter(name: str) -> inspect.Parameter:
    """Return the setting as a parameter for typer. Its value is None where the flag is not given."""
    known, kind, default = SETTINGS[name], kind_of(name), default_of(name)
    given = "" if isinstance(default, bool) or default in (None, MISSING, "", ()) else _short(default)
    words = known.unset or given
    help = f"{known.help} [default: {words}]" if words else known.help
    if name == "data":
        return _parameter(name, str | None, typer.Argument(help=help))
    if name == "duration":
        return _parameter(name, str | None, typer.Option("--duration", metavar="SECONDS", help=f"{help} {SEVERAL}"))
    flag = command_line_words(name, None)
    if kind is bool:
        # A setting that is on by default, or that the machine decides, can be switched off.
        off = "" if default is False else f"/--no-{flag.removeprefix('--')}"
        return _parameter(name, bool | None, typer.Option(f"{flag}{off}", help=help))
    if get_origin(kind) is Sequence:
        return _parameter(name, list[str] | None, typer.Option(flag, metavar="TEXT", help=help))
    if kind in (int, float):
        return _parameter(name, kind | None, typer.Option(flag, min=known.least, max=known.most, help=help))
    is_path = os.PathLike[str] in get_args(kind)
    return _parameter(name, (Path if is_path else str) | None, typer.Option(flag, help=help))


def _short(value: object) -> str:
    """Return a number in its short form: 5 for 5.0, 0.0002 for 2e-4."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info])


def _signature() -> inspect.Signature:
    parameters = [parameter(name) for name, known in SETTINGS.items() if known.flag]
    parameters.insert(2, _parameter("request", Path | None, typer.Option("--request", help=_REQUEST_HELP)))
    return inspect.Signature(parameters)


train.__signature__ = _signature()  # type: ignore[attr-defined]
