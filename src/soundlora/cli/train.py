"""soundlora train. Each of its flags is a setting of `TrainingOptions`."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import MISSING, replace
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
from soundlora.pipeline.settings import checked
from soundlora.wording import command_line_words, setting

DATA_HELP = SETTINGS["data"].help
# Of a preview the flags say on their own what is given, and nothing of it means a part of the first clips.
_PREVIEW = {"audio_url": "clip", "reference_audio_url": "clip", "spans": [[0, 1]]}
TOPICS = {
    "The run": ("out", "name", "request", "continue_run", "resume", "sync", "seed"),
    "The base": ("base", "text_encoder", "device", "check"),
    "Clips and captions": (
        "duration", "short", "windows", "trigger_phrase", "captions_from", "caption_template", "normalize",
        "preserve_pitch", "hold_out", "debug_dataset",
    ),
    "What is learnt, and how": (
        "mode", "conditioning_seconds", "condition_probability", "slide_from", "slide_to", "slide_prompt", "preset",
        "adapter", "rank", "alpha", "rslora", "targets", "init_lora", "steps", "learning_rate", "schedule", "b_rate",
        "batch_size", "caption_dropout", "preserve", "noise_levels", "average",
    ),
    "Previews": (
        "validation_prompts", "validation_audio", "validation_spans", "negative_prompt", "frame_rate", "stg_scale",
        "preview_every",
    ),
    "Memory and speed": ("quantize", "optimizer", "checkpoint_activations", "offload"),
    "Checkpoints and logs": ("checkpoint_every", "keep_checkpoints", "log"),
}  # fmt: skip
"""What --help says below each heading."""
_CONTINUE_HELP = "Train this finished run on, in a folder of its own; --steps says how many in all, or +1000 more."
_REQUEST_HELP = "The endpoint's JSON instead of flags."


def train(**flags: Any) -> None:
    """Train a LoRA on clips, with a model card and previews beside it."""
    given = {name: value for name, value in flags.items() if value is not None}
    if "duration" in given:
        longest, *shorter = durations_of(given["duration"])
        given |= {"duration": longest} | ({"shorter_durations": shorter} if shorter else {})
    steps = given.get("steps")
    continued: Path | None = given.pop("continue_run", None)
    if continued is not None:
        made = _longer(continued, given)
    else:
        if steps is not None and re.fullmatch(r"-?\d+", steps, re.ASCII):
            given["steps"] = int(steps)
        elif steps is not None and steps.startswith("+"):
            raise InputError(f"--steps is {steps}, which adds to a finished run; name that with --continue.")
        made = _options(given)
    from soundlora.cli.console import TrainingConsole
    from soundlora.pipeline.lengthen import train_on
    from soundlora.pipeline.train import run_training
    from soundlora.training.workers import Workers

    # torchrun starts several processes. Only the first one prints.
    first = Workers.from_environment(made.device).first
    with TrainingConsole(Path(made.out)) if first else nullcontext() as console:
        made = replace(made, on_progress=console)
        result = run_training(made) if continued is None else train_on(continued, made)
    if console is not None:
        console.summary(result, made)


def _longer(run: Path, given: dict[str, Any]) -> TrainingOptions:
    """Return the options of a finished run that is trained on. Raises InputError as `_options` does."""
    from soundlora.pipeline.lengthen import longer_options

    if "request" in given:
        raise InputError("--continue goes on with the run's own settings; leave out --request.")
    if "steps" not in given:
        raise InputError("--steps is missing: say how many steps the run shall have in all, or +1000 to add so many.")
    steps, out, data = given.pop("steps"), given.pop("out", None), given.pop("data", None)
    made = longer_options(run, steps, out, data, given)
    parse_request({DATA_FIELD: "clips.zip", "number_of_steps": made.steps}, {"number_of_steps": setting("steps")})
    return made


def _options(given: dict[str, Any]) -> TrainingOptions:
    """Return the options of the flags.

    Raises InputError when a flag is outside the endpoint's range, and when flags contradict each other or are missing.
    """
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
        made = "data" not in given
        if made and not (given.get("slide_from") or given.get("slide_to")):
            raise InputError(
                "DATA is missing: give a zip or a folder of clips, two prompts with --slide-from and --slide-to, or a "
                "request with --request."
            )
        if made:
            own["data"] = ""
        fields = {DATA_FIELD: "none"} if made else {}
        fields |= {SETTINGS[name].hosted: value for name, value in hosted.items()}
        if "validation_prompts" in hosted:
            fields["validation"] = [_PREVIEW | {"prompt": prompt} for prompt in hosted["validation_prompts"]]
            own = {"validation_audio": None, "validation_spans": None} | own
        else:
            own["validation_prompts"] = None  # None previews the first caption; a request without prompts has none.
        names = {known.hosted: setting(name) for name, known in SETTINGS.items() if known.hosted}
    data = None if "data" in own else fields.get(DATA_FIELD)
    if isinstance(data, str) and not is_remote(data):
        # A path may hold bytes that are no text, which a request can't. It goes on as it is.
        own["data"] = data
        fields[DATA_FIELD] = data.encode("utf-8", "backslashreplace").decode()
    # A request may have our own fields, which flags give beside it.
    models = REQUESTS if request is None else TRAINING_INPUTS
    mode = checked("mode", given.get("mode", default_of("mode")), SETTINGS["mode"], kind_of("mode"), False)
    parsed = parse_request(fields, names, models[mode])
    return TrainingOptions.from_endpoint(parsed, out or "", **own)


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
    if name == "steps":
        # A number with a plus adds to a run that is named by --continue.
        return _parameter(name, str | None, typer.Option(flag, metavar="INTEGER", help=help))
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
    continued = typer.Option("--continue", metavar="RUN", help=_CONTINUE_HELP)
    parameters.insert(2, _parameter("continue_run", Path | None, continued))
    parameters.insert(2, _parameter("request", Path | None, typer.Option("--request", help=_REQUEST_HELP)))
    return inspect.Signature(parameters)


train.__signature__ = _signature()  # type: ignore[attr-defined]
