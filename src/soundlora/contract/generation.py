"""The generation request and its result: field names, defaults and ranges of `fal-ai/ltx-2.3-quality/text-to-audio`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from soundlora.contract.fields import MAX_SPANS, File, Number, Span, WholeNumber, at_most, without_nulls
from soundlora.contract.training import DEFAULT_NEGATIVE_PROMPT

MAX_LORAS = 3


class LoraChoice(BaseModel):
    """A LoRA and its strength."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    path: str = Field(min_length=1, description="URL of the LoRA weights (.safetensors).")
    scale: Number = Field(1.0, ge=-4, le=4, description="How strongly the LoRA works.")
    transformer: Literal["high", "low", "both"] = Field(
        "both", description="A setting of bases with two transformers; accepted, without effect."
    )

    # What follows is our own.
    self_scale: Number = Field(1.0, ge=-4, le=4, description="Share of the scale in self-attention.")
    text_scale: Number = Field(1.0, ge=-4, le=4, description="Share of the scale in the attention to the text.")
    ff_scale: Number = Field(1.0, ge=-4, le=4, description="Share of the scale in the feed-forward layers.")
    start: Number = Field(0, ge=0, lt=1, description="Share of the sampling steps at which the LoRA begins to work.")
    end: Number = Field(
        1,
        gt=0,
        le=1,
        validate_default=True,
        description="Share of the sampling steps at which it ends to work. It must be above start.",
    )

    @field_validator("end")
    @classmethod
    def _after_the_start(cls, value: float, info: ValidationInfo) -> float:
        start: Any = info.data.get("start")
        if start is not None and not value > start:
            raise PydanticKnownError("greater_than", {"gt": start})
        return value

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        return without_nulls(data)


class GenerationRequest(BaseModel):
    """What a client may ask of a generation. Unknown fields are ignored; null means the default.

    The sound lasts num_frames / frames_per_second seconds. The base has values of its own for steps, guidance and the
    negative prompt; they hold where the field is not sent.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    prompt: str = Field(min_length=1, description="The sound in words.")
    loras: Annotated[list[LoraChoice], at_most(MAX_LORAS)] = Field(
        default_factory=list, max_length=MAX_LORAS, description="LoRAs to generate with; they add up."
    )
    num_frames: WholeNumber = Field(121, ge=9, le=481, description="The length of the sound in frames.")
    frames_per_second: Number = Field(24, ge=1, le=60, description="Frames a second; they size the sound.")
    num_inference_steps: WholeNumber = Field(15, ge=8, le=30, description="The number of sampling steps.")
    guidance_scale: Number = Field(1.0, ge=1, le=20, description="How closely the sound follows the prompt.")
    stg_scale: Number = Field(1.0, ge=0, le=3, description="Spatio-temporal guidance; 0 disables it.")
    negative_prompt: str = Field(DEFAULT_NEGATIVE_PROMPT, description="What the sound moves away from.")
    seed: WholeNumber | None = Field(
        None, ge=0, le=2**63 - 1, description="The same seed gives the same sound; random when it is not given."
    )
    sync_mode: bool = Field(False, description="Return the sound as a data URI instead of an address.")

    # What follows is our own.
    audio_url: str | None = Field(
        None, min_length=1, description="URL of a sound that is gone on from, led into, mended or made into another."
    )
    audio_mode: Literal["extend-prefix", "extend-suffix", "inpaint", "a2a"] = Field(
        "extend-prefix",
        description="What becomes of that sound: it goes on, is led into, its spans are made anew, or all of it is.",
    )
    spans: Annotated[list[Span], at_most(MAX_SPANS)] = Field(
        default_factory=list,
        max_length=MAX_SPANS,
        description="Of inpaint: start and end in seconds of each span that is made anew.",
    )
    conditioning_seconds: Number | None = Field(
        None, gt=0, le=60, description="Of the extensions: seconds of that sound that the model hears; null is 1."
    )
    added_seconds: Number | None = Field(
        None, gt=0, le=600, description="Of the extensions: seconds that are added in all; null is one window's."
    )
    decoded: bool = Field(False, description="Return kept parts as the model holds them, not as they were.")

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        return without_nulls(data)


class GenerationResult(BaseModel):
    """What a finished generation returns."""

    audio: File = Field(description="The generated sound.")
    prompt: str = Field(description="The prompt it was generated from.")
    seed: int = Field(description="The seed it was generated with.")
