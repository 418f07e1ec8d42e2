"""What a training takes as JSON: the hosted endpoints' fields, and our own settings after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model
from pydantic_core import PydanticCustomError

from soundlora.contract.conditioned import REQUESTS
from soundlora.contract.fields import Number, WholeNumber
from soundlora.contract.training import TrainingRequest
from soundlora.errors import InputError
from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.pipeline.naming import check_name
from soundlora.pipeline.options import SETTINGS, default_of, kind_of
from soundlora.pipeline.presets import PRESETS
from soundlora.wording import wording

_STRICT: dict[Any, Any] = {float: Number, int: WholeNumber}


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Refuse a text when it is sent, and not when the run begins. check: it raises InputError."""

    def refuse(text: str) -> str:
        try:
            with wording(endpoint_words):
                check(text)
        except InputError as error:
            raise PydanticCustomError("value_error", "{sentence}", {"sentence": str(error)}) from None
        return text

    return AfterValidator(refuse)


def _training_input(request: type[TrainingRequest]) -> type[TrainingRequest]:
    """Return a hosted request with our own fields after it. They are further settings that clients may use."""
    extras: dict[str, Any] = {}
    for name, known in SETTINGS.items():
        if known.extra:
            # Fields of JSON are stricter than flags: true is no number, and neither is NaN.
            kind, default = kind_of(name), default_of(name)
            if kind == Sequence[float]:
                one: Any = Annotated[Number, Field(ge=known.least, le=known.most)]
                extras[name] = (tuple[one, ...], Field(default, description=known.help))
                continue
            if name == "name":
                kind = Annotated[str, _checked(check_name)]
            elif known.parse is not None:
                kind = Annotated[kind, _checked(partial(known.parse, name))]
            above = 0 if kind in _STRICT and known.least is None else None
            kind = _STRICT.get(kind, kind)
            more = _presets() if name == "preset" else None
            field = Field(
                default, gt=above, ge=known.least, le=known.most, description=known.help, json_schema_extra=more
            )
            extras[name] = (kind, field)
    name = request.__name__.replace("Request", "Input")
    return create_model(name, __base__=request, __doc__=request.__doc__, **extras)


def _presets() -> dict[str, Any]:
    """The fields that each preset sets, so that a form can show what is chosen."""
    fields = {
        preset: {SETTINGS[name].hosted or name: value for name, value in values.items()}
        for preset, values in PRESETS.items()
    }
    return {"x-settings": fields}


_INPUTS = {request: _training_input(request) for request in dict.fromkeys(REQUESTS.values())}
TRAINING_INPUTS = {mode: _INPUTS[request] for mode, request in REQUESTS.items()}
"""The inputs of the trainings by their modes."""
