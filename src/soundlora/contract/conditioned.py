"""The training requests of the modes in which a part of every clip is given.

Fields that all modes share are those of `training.TrainingRequest`. The hosted endpoints' names of the further fields
are followed where they are known: `conditioning_seconds` and, for audio to audio, `reference_audio_url`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from soundlora.contract.fields import MAX_SPANS, Number, Span, at_most
from soundlora.contract.training import MAX_PROMPTS, TrainingRequest, ValidationPrompt

_VALIDATION = "A list of validation prompts, each with the audio that is given of its preview."


class ExtensionPrompt(ValidationPrompt):
    """A validation prompt of a mode that goes on from a sound or leads into one."""

    audio_url: str = Field(min_length=1, description="URL of the clip that the preview goes on from or leads into.")


class InpaintPrompt(ValidationPrompt):
    """A validation prompt of a mode that makes spans of a sound anew."""

    audio_url: str = Field(min_length=1, description="URL of the clip that is kept outside of the spans.")
    spans: Annotated[list[Span], at_most(MAX_SPANS)] = Field(
        min_length=1, max_length=MAX_SPANS, description="Start and end in seconds of each span that is made anew."
    )


class ReferencePrompt(ValidationPrompt):
    """A validation prompt of audio to audio."""

    reference_audio_url: str = Field(min_length=1, description="URL of the clip that the preview is made of.")


class ConditionedRequest(TrainingRequest):
    """A training in which a part of every clip is given."""

    condition_probability: Number = Field(
        1,
        ge=0,
        le=1,
        description="Share of the samples of which a part is given; the rest learns text to audio. Our own field.",
    )


class ExtensionRequest(ConditionedRequest):
    """What a client may ask of a training that goes on from the start of clips, or leads into their end."""

    conditioning_seconds: Number = Field(
        1,
        gt=0,
        le=60,
        validate_default=True,
        description="Seconds of each clip that are given. They must be fewer than audio_duration_seconds.",
    )
    validation: Annotated[list[ExtensionPrompt], at_most(MAX_PROMPTS)] = Field(  # type: ignore[assignment]
        default_factory=list, max_length=MAX_PROMPTS, description=_VALIDATION
    )

    @field_validator("conditioning_seconds")
    @classmethod
    def _shorter_than_the_bucket(cls, value: float, info: ValidationInfo) -> float:
        bucket: Any = info.data.get("audio_duration_seconds")
        if bucket is not None and not value < bucket:
            raise PydanticKnownError("less_than", {"lt": bucket})
        return value


class InpaintRequest(ConditionedRequest):
    """What a client may ask of a training that makes spans of clips anew."""

    validation: Annotated[list[InpaintPrompt], at_most(MAX_PROMPTS)] = Field(  # type: ignore[assignment]
        default_factory=list, max_length=MAX_PROMPTS, description=_VALIDATION
    )


class ReferenceRequest(ConditionedRequest):
    """What a client may ask of a training that makes a sound of another one."""

    validation: Annotated[list[ReferencePrompt], at_most(MAX_PROMPTS)] = Field(  # type: ignore[assignment]
        default_factory=list, max_length=MAX_PROMPTS, description=_VALIDATION
    )


REQUESTS: dict[str, type[TrainingRequest]] = {
    "t2a": TrainingRequest,
    "extend-prefix": ExtensionRequest,
    "extend-suffix": ExtensionRequest,
    "inpaint": InpaintRequest,
    "a2a": ReferenceRequest,
}
"""The requests by the names of their modes."""


AUDIO_FIELDS = ("audio_url", "reference_audio_url")
"""The fields of a validation entry that name audio."""


def audio_of(entry: ValidationPrompt) -> str | None:
    """Return the URL of the audio that is given of a preview, None where nothing is."""
    return next((url for field in AUDIO_FIELDS if (url := getattr(entry, field, None))), None)
