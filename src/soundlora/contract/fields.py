"""Field types that the requests and results share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError, PydanticKnownError


def _not_bool(value: object) -> object:
    """Refuse true and false where a number is meant: `learning_rate: true` would otherwise train at a rate of 1.

    Raises ValueError, which pydantic turns into the field's error.
    """
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


WholeNumber = Annotated[int, BeforeValidator(_not_bool)]
Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]


MAX_SPANS = 100


def _in_order(span: list[float]) -> list[float]:
    start, end = span
    if not 0 <= start < end:
        raise PydanticCustomError(
            "value_error",
            "A span goes from {start} to {end} s, but each must end after it starts",
            {"start": start, "end": end},
        )
    return span


Span = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(_in_order)]
"""Start and end in seconds."""


def at_most(most: int) -> BeforeValidator:
    """Refuse a longer list or object before its entries are looked at.

    pydantic counts those alone that are right: 300,000 wrong ones are within any limit, and have as many errors.
    """

    def check(value: object) -> object:
        if isinstance(value, list | dict) and len(value) > most:
            kind = "List" if isinstance(value, list) else "Dictionary"
            context = {"field_type": kind, "max_length": most, "actual_length": len(value)}
            raise PydanticKnownError("too_long", context)
        return value

    return BeforeValidator(check)


class File(BaseModel):
    """A file of the result, as the endpoint describes it. `file_size` is in bytes."""

    url: str = Field(description="The URL where the file can be downloaded from.")
    content_type: str | None = Field(None, description="The mime type of the file.")
    file_name: str | None = Field(None, description="The name of the file.")
    file_size: int | None = Field(None, description="The size of the file in bytes.")
    file_data: str | None = Field(None, description="File data.")


def without_nulls(data: Any) -> Any:
    """Return `data` without its null fields: clients with optional fields send null for "not given"."""
    if isinstance(data, Mapping):
        return {name: value for name, value in data.items() if value is not None}
    return data
