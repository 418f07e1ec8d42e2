"""The settings of a training, in one list.

`train` in Python, the command line, the HTTP job and the run's `request.json` take names, types, defaults and help from
it. A field of the hosted endpoint keeps the endpoint's name there; every other setting has one name everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin, get_type_hints

from soundlora.contract.conditioned import audio_of
from soundlora.contract.modes import MODES, ModeName
from soundlora.contract.training import DEFAULT_NEGATIVE_PROMPT, TrainingRequest
from soundlora.errors import InputError
from soundlora.net.addresses import shown
from soundlora.pipeline.intervals import interval_of
from soundlora.pipeline.noise_levels import REFERENCE, noise_levels_of
from soundlora.pipeline.presets import PRESETS
from soundlora.pipeline.settings import TORCH, Setting, checked, without_none
from soundlora.pipeline.spans import spans_text
from soundlora.progress import OnProgress
from soundlora.wording import setting

if TYPE_CHECKING:
    import torch

DATA_FIELD = "training_data_url"


@dataclass(frozen=True)
class TrainingOptions:
    """One training. It raises InputError at once for a value of the wrong type or out of range."""

    data: Annotated[
        str | os.PathLike[str], Setting("A zip or folder of clips and .txt captions, or the URL of a zip.", DATA_FIELD)
    ] = ""
    out: Annotated[str | os.PathLike[str], Setting("Folder for the run; it must not hold one yet.", kept=False)] = ""
    _: KW_ONLY
    name: Annotated[
        str,
        Setting(
            "What the LoRA's file is called, before the number of steps: kit makes kit-2000.safetensors.",
            unset="the trigger phrase, else the data's name",
            extra=True,
        ),
    ] = ""
    base: Annotated[
        str, Setting("nano, the path of an LTX checkpoint or its folder, owner/name on the hub, or a URL.")
    ] = "nano"
    text_encoder: Annotated[
        str | os.PathLike[str] | None,
        Setting(
            "Gemma 3: a folder, or owner/name on the hub.",
            unset="text_encoder beside the checkpoint, else the one that has been fetched",
            kept=False,
        ),
    ] = None
    mode: Annotated[
        ModeName,
        Setting("What it learns: t2a, or, of a part that is given, extend-prefix, extend-suffix, inpaint or a2a."),
    ] = "t2a"
    conditioning_seconds: Annotated[
        float | None,
        Setting("Of extend-prefix and extend-suffix: seconds that are given.", "conditioning_seconds", unset="1 s"),
    ] = None
    condition_probability: Annotated[
        float,
        Setting(
            "Share of samples, 0 to 1, of which a part is given; the rest learns text to audio.",
            "condition_probability",
            least=0,
            most=1,
        ),
    ] = 1.0
    slide_from: Annotated[
        str,
        Setting("Of a slider, the sound at strength -1: a folder in the data, or a prompt without data.", extra=True),
    ] = ""
    slide_to: Annotated[str, Setting("The sound at strength 1, in the same way.", extra=True)] = ""
    slide_prompt: Annotated[
        str,
        Setting("What it slides on: a caption, or a prompt.", unset="of prompts the words that both share", extra=True),
    ] = ""
    preset: Annotated[
        Literal["voice", "foley", "ambience", "instrument", "one-shots"] | None,
        Setting("Settings for a kind of sound; those that are given beside it count.", kept=False, extra=True),
    ] = None
    adapter: Annotated[
        Literal["lora", "lokr"],
        Setting("What is trained: a LoRA, or a LoKr, of which a plain LoRA is written, too.", extra=True),
    ] = "lora"
    rank: Annotated[int, Setting("8, 16, 32, 64 or 128.", "rank")] = 32
    alpha: Annotated[
        float | None,
        Setting("The LoRA counts alpha/rank times while it is trained.", most=10_000, unset="the rank", extra=True),
    ] = None
    rslora: Annotated[
        bool, Setting("It counts alpha/√rank times, so that large ranks learn as quickly as small ones.", extra=True)
    ] = False
    targets: Annotated[
        Literal["all", "attention", "self-ff"], Setting("Layers that are trained: all, attention or self-ff.")
    ] = "all"
    init_lora: Annotated[
        str | os.PathLike[str] | None, Setting("Begin with this LoRA file, whoever wrote it.", unset="a fresh one")
    ] = None
    steps: Annotated[int, Setting("100 to 20000.", "number_of_steps")] = 2000
    learning_rate: Annotated[float, Setting("1e-6 to 1.", "learning_rate")] = 2e-4
    schedule: Annotated[
        Literal["linear", "constant"],
        Setting(
            "The learning rate falls to a tenth, or stays: more steps later are then the same run.",
            extra=True,
        ),
    ] = "linear"
    b_rate: Annotated[
        float,
        Setting("How many times the learning rate of A that of B is; LoRA+ takes 16.", most=1000, extra=True),
    ] = 1.0
    batch_size: Annotated[
        int, Setting("Clips a step. Processes of torchrun share them; it is a multiple of their number.")
    ] = 1
    caption_dropout: Annotated[
        float,
        Setting(
            "Share of samples, 0 to 1, that train with the empty caption: guidance then keeps working on small sets.",
            least=0,
            most=1,
            extra=True,
        ),
    ] = 0.0
    preserve: Annotated[
        float,
        Setting(
            "Share of steps, 0 to 0.9, that keep what the base makes of prompts without the trigger phrase.",
            least=0,
            most=0.9,
            extra=True,
        ),
    ] = 0.0
    noise_levels: Annotated[
        str,
        Setting(
            "Noise levels of the steps: reference, as LTX's trainer draws them, uniform, or a range such as 0.3:0.9.",
            extra=True,
            parse=noise_levels_of,
        ),
    ] = REFERENCE
    duration: Annotated[
        float, Setting("Seconds of every clip: shorter ones are skipped, longer trimmed.", "audio_duration_seconds")
    ] = 5.0
    shorter_durations: Annotated[
        Sequence[float],
        Setting(
            "Shorter buckets beside it, in seconds: each clip goes into the longest that it fills.",
            least=0.1,
            extra=True,
            flag=False,
        ),
    ] = ()
    short: Annotated[
        Literal["skip", "pad"],
        Setting("What becomes of shorter clips: skip, or pad with silence that counts nothing.", extra=True),
    ] = "skip"
    windows: Annotated[
        Literal["first", "all"],
        Setting("Of a clip longer than the bucket: first takes its start, all as many clips as fit.", extra=True),
    ] = "first"
    trigger_phrase: Annotated[str, Setting("Prepended to every caption.", "trigger_phrase")] = ""
    captions_from: Annotated[
        Literal["files", "all"],
        Setting(
            "files: caption files and tables. all: without one, also what a clip's own tags, name and folder say.",
            extra=True,
        ),
    ] = "files"
    caption_template: Annotated[
        str,
        Setting(
            "How captions are put together: {trigger} {caption}, {room}. Fields are tags and a table's columns.",
            extra=True,
        ),
    ] = ""
    normalize: Annotated[bool, Setting("Peak-normalise clips.", "audio_normalize")] = True
    preserve_pitch: Annotated[bool, Setting("Stretch, not pad, a clip a hair too short.", "audio_preserve_pitch")] = (
        True
    )
    validation_prompts: Annotated[
        Sequence[str] | None, Setting("Text for previews, up to two.", "validation", unset="the first clip's caption")
    ] = None
    validation_audio: Annotated[
        Sequence[str] | None,
        Setting(
            "The clip of which a part is given, for each preview.", unset="the first clips of the data set", kept=False
        ),
    ] = None
    validation_spans: Annotated[
        Sequence[str] | None,
        Setting("Of inpaint: the seconds that are made anew, such as 1.0-2.0,3.5-4, for each preview."),
    ] = None
    negative_prompt: Annotated[
        str | None,
        Setting("What previews move away from.", "validation_negative_prompt", unset="the base's own"),
    ] = None
    frame_rate: Annotated[int, Setting("Sizes previews as the endpoint does.", "validation_frame_rate")] = 24
    stg_scale: Annotated[
        float | None,
        Setting("Spatio-temporal guidance of previews, 0 to 3.", "stg_scale", least=0, unset="the base's own"),
    ] = None
    seed: Annotated[int, Setting("Fixes everything random.", least=0, most=2**63 - 1)] = 42
    debug_dataset: Annotated[bool, Setting("Also write what the model hears of every clip.", "debug_dataset")] = False
    preview_every: Annotated[int | None, Setting("Steps between previews.", unset="a quarter of the run")] = None
    checkpoint_every: Annotated[
        int | str | timedelta | None,
        Setting(
            "Steps between checkpoints. A time such as 5min keeps a state to go on from at least so often beside them.",
            unset="a quarter of the run",
            parse=interval_of,
        ),
    ] = None
    keep_checkpoints: Annotated[
        int | None, Setting("How many of the best checkpoints stay when the run has ended.", unset="all")
    ] = None
    hold_out: Annotated[
        int | None, Setting("Clips kept out, to tell what was learnt.", least=0, unset="one in ten, of ten and more")
    ] = None
    quantize: Annotated[
        Literal["int8", "fp8", "bf16"] | None,
        Setting(
            "int8 or fp8: a base of a byte a weight, with torchao. bf16: of two, on CPUs.", unset="the base as it is"
        ),
    ] = None
    optimizer: Annotated[
        Literal["adamw", "adamw8bit", "adafactor", "prodigy", "schedulefree"],
        Setting(
            "adamw; adamw8bit and adafactor take less memory; prodigy finds the rate, schedulefree needs no schedule.",
            extra=True,
        ),
    ] = "adamw"
    average: Annotated[bool, Setting("The LoRA is the mean of the last steps' weights, not those of the last one.")] = (
        True
    )
    checkpoint_activations: Annotated[
        bool | None,
        Setting("Compute activations again instead of keeping them.", unset="where memory asks for it", kept=False),
    ] = None
    offload: Annotated[
        int | None,
        Setting(
            "Blocks of the base whose weights lie in the host's memory and are copied to the GPU as they are needed.",
            unset="as many as memory asks for",
            least=0,
            kept=False,
        ),
    ] = None
    check: Annotated[
        bool, Setting("Listen whether a base sounds as it should, before its first training on a GPU.", kept=False)
    ] = True
    log: Annotated[
        Sequence[Literal["csv", "tensorboard", "wandb"]],
        Setting("Figures also go to csv, tensorboard or wandb; several may be named.", kept=False),
    ] = ()
    resume: Annotated[
        bool, Setting("Go on from the last checkpoint; the result is an uninterrupted run's, to the bit.", kept=False)
    ] = False
    sync: Annotated[
        str | None,
        Setting(
            "s3://bucket/run or a folder that keeps the run's states: the same command goes on from there anywhere.",
            unset="nowhere",
            kept=False,
        ),
    ] = None
    device: Annotated[
        torch.device | str | None,
        Setting(
            "cuda (AMD's GPUs too), xpu, mps or cpu; cuda:1 is the second GPU.",
            unset="the first that is there",
            kept=False,
        ),
    ] = None
    cache: Annotated[
        str | os.PathLike[str] | None,
        Setting("Folder for latents and contexts.", unset="the user's cache folder", kept=False, flag=False),
    ] = None
    stop: Annotated[
        Callable[[], bool] | None,
        Setting("Asked between steps: true ends the run there, with its LoRA and verdict.", kept=False, flag=False),
    ] = None
    on_progress: Annotated[
        OnProgress | None,
        Setting("Called with news, many times a second; of several processes in the first.", kept=False, flag=False),
    ] = None

    def __post_init__(self) -> None:
        for name, known in SETTINGS.items():
            if (value := getattr(self, name)) != "" or default_of(name) != "":  # an empty path is no path elsewhere
                object.__setattr__(self, name, checked(name, value, known, *_KINDS[name]))
        if not os.fspath(self.out):
            raise InputError(f"{setting('out')} is missing: give a folder for the run.", field="out")

    def filled(
        self, *, captions: Sequence[str], negative_prompt: str | None, stg_scale: float, hold_out: int
    ) -> TrainingOptions:
        """Return the same options with a value for everything that base and clips decide.

        captions: those of the clips. negative_prompt, stg_scale: the base's own. hold_out: the default for so many
        clips. Raises InputError when no clip would be left to train on.
        """
        count = hold_out if self.hold_out is None else self.hold_out
        if not count < len(captions):
            raise InputError(
                f"{setting('hold_out')} is {count}, but of {len(captions)} clips at least one has to be trained on.",
                field="hold_out",
            )
        quarter = -(-self.steps // 4)  # rounded up, so that the last one of four is that of the end
        if self.negative_prompt is not None:
            negative_prompt = self.negative_prompt
        return replace(
            self,
            validation_prompts=captions[:1] if self.validation_prompts is None else self.validation_prompts,
            negative_prompt=DEFAULT_NEGATIVE_PROMPT if negative_prompt is None else negative_prompt,
            stg_scale=stg_scale if self.stg_scale is None else self.stg_scale,
            hold_out=count,
            conditioning_seconds=(self.conditioning_seconds or 1.0) if MODES[self.mode].takes_seconds else None,
            preview_every=self.preview_every or quarter,
            checkpoint_every=self.checkpoint_every or quarter,
        )

    @property
    def checkpoint_steps(self) -> int:
        """The steps between two checkpoints. A time adds states, and leaves the checkpoints where they are."""
        return self.checkpoint_every if isinstance(self.checkpoint_every, int) else -(-self.steps // 4)

    def to_request(self, **found: Any) -> dict[str, Any]:
        """Return the run folder's `request.json`: every setting that shapes the run, by the endpoint's names.

        found: values that stand there instead of the given ones, or beside them, such as the base's public name and
        its hash.
        """
        values = {name: getattr(self, name) for name, known in SETTINGS.items() if known.kept}
        values["data"] = shown(os.fspath(self.data))
        if self.checkpoint_every is not None:
            values["checkpoint_every"] = self.checkpoint_steps
        values["validation_prompts"] = [{"prompt": prompt} for prompt in self.validation_prompts or ()]
        values |= {name: found.pop(name) for name in list(found) if name in values}
        return {SETTINGS[name].hosted or name: value for name, value in values.items()} | found

    @classmethod
    def from_request(cls, stored: Mapping[str, Any], **given: Any) -> TrainingOptions:
        """Return the options that a run's `request.json` was made from. Settings that it does not name have defaults.

        given: settings that it does not keep (`out`, `device`), and those that are to be otherwise. Raises InputError
        for a value that can't be taken.
        """
        values: dict[str, Any] = {}
        for name, known in SETTINGS.items():
            value = stored.get(known.hosted or name) if known.kept else None
            if value is not None:
                values[name] = value
        if "validation_prompts" in values:
            values["validation_prompts"] = [entry["prompt"] for entry in values["validation_prompts"]]
        return cls(**(values | given))

    @classmethod
    def from_endpoint(cls, request: TrainingRequest, out: str | os.PathLike[str], **given: Any) -> TrainingOptions:
        """Return the options that the endpoint's `request` asks for.

        A field that the client has not sent takes the preset's value, else the base's own where bases have one.
        given: settings that the endpoint has no field for, and those that are to be otherwise. Raises InputError as
        `from_request` does.
        """
        sent = request.model_fields_set
        values: dict[str, Any] = {"out": out}
        for name, known in SETTINGS.items():
            field = known.hosted or (name if known.extra else "")
            if field and (field in sent or not known.unset) and hasattr(request, field):
                values[name] = getattr(request, field)
        preset = PRESETS.get(given.get("preset") or values.get("preset") or "", {})
        values |= {name: value for name, value in preset.items() if (SETTINGS[name].hosted or name) not in sent}
        values["validation_prompts"] = [entry.prompt for entry in request.validation]
        values["validation_audio"] = [url for entry in request.validation if (url := audio_of(entry))] or None
        values["validation_spans"] = [
            spans_text(spans) for entry in request.validation if (spans := getattr(entry, "spans", None))
        ] or None
        return cls(**(values | given))


HINTS = get_type_hints(TrainingOptions, localns={"torch": TORCH}, include_extras=True)
SETTINGS: dict[str, Setting] = {
    name: hint.__metadata__[0] for name, hint in HINTS.items() if get_origin(hint) is Annotated
}
"""All settings by their names in Python, in order."""
_KINDS = {name: without_none(HINTS[name].__origin__) for name in SETTINGS}


def kind_of(name: str) -> Any:
    """Return the type of a setting, without None and with `Literal` where there are choices."""
    return _KINDS[name][0]


def default_of(name: str) -> Any:
    """Return the default of a setting, `dataclasses.MISSING` where it must be given."""
    return TrainingOptions.__dataclass_fields__[name].default
