"""The training request and its result: field names, defaults, ranges, limits and price of the hosted endpoint.

Every name follows `fal-ai/ltx23-trainer-v2/t2a`, so that a client written for it works unchanged.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from soundlora.contract.fields import File, Number, WholeNumber, at_most, without_nulls
from soundlora.errors import InputError

DEFAULT_NEGATIVE_PROMPT = (
    "blurry, out of focus, overexposed, underexposed, low contrast, washed out colors, excessive noise, "
    "grainy texture, poor lighting, flickering, motion blur, distorted proportions, unnatural skin tones, "
    "deformed facial features, asymmetrical face, missing facial features, extra limbs, disfigured hands, "
    "wrong hand count, artifacts around text, inconsistent perspective, camera shake, incorrect depth of field, "
    "background too sharp, background clutter, distracting reflections, harsh shadows, inconsistent lighting "
    "direction, color banding, cartoonish rendering, 3D CGI look, unrealistic materials, uncanny valley effect, "
    "incorrect ethnicity, wrong gender, exaggerated expressions, wrong gaze direction, mismatched lip sync, silent "
    "or muted audio, distorted voice, robotic voice, echo, background noise, off-sync audio, incorrect dialogue, "
    "added dialogue, repetitive speech, jittery movement, awkward pauses, incorrect timing, unnatural transitions, "
    "inconsistent framing, tilted camera, flat lighting, inconsistent tone, cinematic oversaturation, stylized "
    "filters, or AI artifacts."
)

PRICE_PER_STEP = 0.0022
"""The hosted endpoint's price of a step in US dollars; it is shown to compare a self-hosted run with."""

MINIMUM_BILLED_STEPS = 100
MAX_PROMPTS = 2


def _digits_to_int(value: object) -> object:
    """Accept "32" as 32: the endpoint's generated JavaScript types print the rank's default as a string."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value


def _video_field(default: object) -> Any:
    return Field(default, description="A video setting of the shared schema; accepted, without effect on audio.")


class ValidationPrompt(BaseModel):
    """One validation prompt. A preview is generated from it during and after training."""

    model_config = ConfigDict(frozen=True)

    prompt: str = Field(description="The prompt to generate a validation preview from.")


class TrainingRequest(BaseModel):
    """What a client may ask of a training run. Unknown fields are ignored; null means the default.

    Durations are in seconds. The object is frozen: a changed copy must pass validation again.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    training_data_url: str = Field(
        min_length=1,
        description="URL to a `.zip` archive of your training data: audio clips (.wav, .mp3, .flac, .ogg, .aac, .m4a). "
        "You can include a `.txt` caption alongside each media file (same base name).",
    )
    rank: Annotated[Literal[8, 16, 32, 64, 128], BeforeValidator(_digits_to_int)] = Field(
        32, description="The rank of the LoRA adaptation. Higher values increase capacity but use more memory."
    )
    number_of_steps: WholeNumber = Field(2000, ge=100, le=20000, description="The number of training steps.")
    learning_rate: Number = Field(2e-4, ge=1e-6, le=1, description="Learning rate for optimization.")
    trigger_phrase: str = Field(
        "",
        description="A phrase that will trigger the LoRA style. Will be prepended to captions during training.",
    )
    audio_duration_seconds: Number = Field(
        5,
        ge=0.5,
        le=60,
        description="Target audio clip length in seconds (the audio duration bucket). Clips shorter than this are "
        "skipped; longer clips are trimmed.",
    )
    audio_normalize: bool = Field(True, description="Peak-normalize audio for consistent levels across the dataset.")
    audio_preserve_pitch: bool = Field(
        True, description="Preserve pitch when fitting audio duration (vs trimming/padding)."
    )
    validation: Annotated[list[ValidationPrompt], at_most(MAX_PROMPTS)] = Field(
        default_factory=list,
        max_length=MAX_PROMPTS,
        description="A list of validation prompts (audio is generated from each).",
    )
    validation_negative_prompt: str = Field(
        DEFAULT_NEGATIVE_PROMPT,
        description="A negative prompt to use for validation. Note: validation previews are single-stage "
        "approximations of the production two-stage (distilled) inference, so preview quality and guidance differ "
        "from final inference.",
    )
    validation_frame_rate: WholeNumber = Field(
        24,
        ge=8,
        le=60,
        description="Target frames per second for validation videos (LTX-2.3 native is 24). Used together with the "
        "audio bucket to size the preview audio length.",
    )
    stg_scale: Number = Field(
        1.0,
        ge=0,
        le=3,
        description="STG (Spatio-Temporal Guidance) scale. 0.0 disables STG. Recommended value is 1.0.",
    )
    debug_dataset: bool = Field(
        False,
        description="When enabled, the trainer returns a downloadable archive of your preprocessed training data for "
        "manual inspection. Use this to verify that your clips and captions were processed correctly before "
        "committing to a full training run.",
    )

    number_of_frames: Any = _video_field(89)
    frame_rate: Any = _video_field(24)
    resolution: Any = _video_field("medium")
    aspect_ratio: Any = _video_field("1:1")
    auto_scale_input: Any = _video_field(False)
    split_input_into_scenes: Any = _video_field(True)
    split_input_duration_threshold: Any = _video_field(30)
    validation_number_of_frames: Any = _video_field(89)
    validation_resolution: Any = _video_field("high")
    validation_aspect_ratio: Any = _video_field("1:1")

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        return without_nulls(data)


class TrainingResult(BaseModel):
    """What a finished run returns. Files that do not exist are None and are sent as null."""

    lora_file: File = Field(description="URL to the trained LoRA weights (.safetensors).")
    config_file: File = Field(description="Configuration used for setting up inference endpoints.")
    audio: File | None = Field(None, description="Combined validation audio preview, if any.")
    video: File | None = Field(None, description="Always null: this endpoint makes audio only.")
    debug_dataset: File | None = Field(
        None, description="Downloadable archive of the preprocessed training data, when debug_dataset is enabled."
    )


def billable_units(number_of_steps: int, *, succeeded: bool) -> int:
    """Return the billable units of a run. They are its steps, but at least 100; a failed run has none."""
    return max(MINIMUM_BILLED_STEPS, number_of_steps) if succeeded else 0


def price(units: int) -> float:
    """Return the hosted price of `units` in US dollars, to a hundredth of a cent."""
    return round(units * PRICE_PER_STEP, 4)


def preview_frames(duration: float, frame_rate: int) -> int:
    """Return the number of frames, 8k+1 and at least 9, whose length is nearest to `duration` seconds. Ties go up.

    The length is frames / frame_rate. Previews follow the video grid of the full model, as on the endpoint, although no
    video is made.
    """
    # Floating point can miss a tie by 1e-16; rounding first restores it.
    eighths = round((duration * frame_rate - 1) / 8, 9)
    return 8 * max(1, math.floor(eighths + 0.5)) + 1


def preview_seconds(duration: float, frame_rate: int) -> float:
    """Return the length of a preview in seconds for a bucket of `duration` seconds."""
    return preview_frames(duration, frame_rate) / frame_rate


def parse_request(
    data: Mapping[str, Any], names: Mapping[str, str] | None = None, model: type[TrainingRequest] | None = None
) -> TrainingRequest:
    """Validate `data` and return the request.

    `names` maps field names to what the user typed instead, such as {"number_of_steps": "--steps"}. `model` is a
    subclass that adds fields of our own to the endpoint's.
    Raises InputError with one sentence about the first thing that is wrong.
    """
    if not isinstance(data, Mapping):
        raise InputError("The request must be a JSON object with field names such as training_data_url.")
    try:
        return (model or TrainingRequest).model_validate(data)
    except ValidationError as error:
        raise InputError(_sentence(error.errors()[0], names or {}, model or TrainingRequest)) from None


def _sentence(error: ErrorDetails, names: Mapping[str, str], model: type[TrainingRequest]) -> str:
    field, *inner = error["loc"]
    name = names.get(str(field), str(field)) + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in inner
    )
    if error["type"] == "missing":
        return f"{name} is missing, but it is required."
    if error["type"] == "string_too_short":
        return f"{name} is empty, but it is required."
    if error["type"] == "too_long":
        length, most = error["ctx"]["actual_length"], error["ctx"]["max_length"]
        return f"{name} has {length} entries, but at most {most} are allowed."
    if "sentence" in error.get("ctx", {}):
        return str(error["ctx"]["sentence"])
    shown = repr(error["input"])
    if len(shown) > 60:
        shown = shown[:57] + "..."
    if error["type"] == "less_than":
        return f"{name} is {shown}, but it must be less than the bucket of {error['ctx']['lt']:g} s."
    return f"{name} is {shown}, but it must be {_allowed(str(field), inner, model)}."


def _allowed(field: str, inner: list[int | str], model: type[TrainingRequest]) -> str:
    """Return in words what a field may be. The range is read from the model, so that it stands in one place."""
    if field == "rank":
        return "one of 8, 16, 32, 64 or 128"
    if field == "validation":
        if "spans" in inner:
            return "a list of [start, end] in seconds, each of which ends after it starts"
        return ("text" if len(inner) > 1 else 'an object with a "prompt"') if inner else "a list of prompts"
    info = model.model_fields[field]
    kinds: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    kind = kinds.get(info.annotation, "text")
    low = next((limit.ge for limit in info.metadata if isinstance(limit, Ge)), None)
    high = next((limit.le for limit in info.metadata if isinstance(limit, Le)), None)
    return kind if low is None else f"{kind} from {low:g} to {high:g}"
