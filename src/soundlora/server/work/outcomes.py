"""Errors in the shapes that the endpoint documents, as outcomes of requests."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from soundlora.errors import InputError
from soundlora.progress import StoppedError
from soundlora.server.store.finish import Outcome

_ERRORS_PAGE = "https://docs.fal.ai/errors/#"
_INPUT_CHARACTERS = 10_000
"""Longer input is not sent back with its error: it may be a whole data set in a data: URI."""


def detail(
    loc: Sequence[str | int], message: str, type: str, *, ctx: dict[str, Any] | None = None, input: Any = None
) -> dict[str, Any]:
    """One entry of the documented list."""
    entry: dict[str, Any] = {"loc": list(loc), "msg": clean(message), "type": type, "url": _ERRORS_PAGE + type}
    if ctx:
        entry["ctx"] = ctx
    if input is not None and len(shown := json.dumps(input, default=str)) <= _INPUT_CHARACTERS:
        entry["input"] = json.loads(shown)
    return entry


def details(errors: Sequence[ErrorDetails], *, where: Sequence[str | int] = ("body",)) -> list[dict[str, Any]]:
    """What pydantic found, in the endpoint's words."""
    return [_detail(error, where) for error in errors]


def rejected(error: ValidationError) -> Outcome:
    """The stored 422 of a request whose input is wrong."""
    return _unprocessable(details(error.errors(include_url=False)))


def outcome_of(error: Exception, payload: Any) -> Outcome:
    """How a run that raised `error` ends. `payload`: the request's input, from which the wrong value is shown."""
    from soundlora.dataset.problems import DataError

    given = payload if isinstance(payload, dict) else {}
    if isinstance(error, ValidationError):
        return rejected(error)
    if isinstance(error, DataError):
        url = given.get("training_data_url")
        entry = detail(["body", "training_data_url"], str(error), error.type, ctx=error.ctx, input=url)
        return _unprocessable([entry])
    if isinstance(error, InputError):
        return _unprocessable([detail(["body"], str(error), "value_error")])
    if isinstance(error, StoppedError):
        rate = given.get("learning_rate")
        return _unprocessable([detail(["body", "learning_rate"], str(error), "value_error", input=rate)])
    sentence = clean(f"{type(error).__name__}: {error}")
    return Outcome(
        500,
        {"detail": [detail(["body"], "Internal server error", "internal_server_error")]},
        error=sentence,
        error_type="internal_server_error",
    )


def timed_out(seconds: float) -> Outcome:
    """The run took longer than the server allows."""
    body = {"detail": [detail(["body"], "Generation timeout", "generation_timeout")]}
    sentence = f"The run was stopped after {seconds:g} s, which is as long as this server lets one take."
    return Outcome(504, body, error=sentence, error_type="generation_timeout")


def clean(text: str) -> str:
    """Text that every database and every client takes: no NUL, no half of a surrogate pair."""
    return text.encode(errors="replace").decode().replace("\0", "")


def _unprocessable(entries: list[dict[str, Any]]) -> Outcome:
    first = entries[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    sentence = f"{clean(field)}: {first['msg']}" if field else first["msg"]
    return Outcome(422, {"detail": entries}, error=sentence, error_type=first["type"])


def _detail(error: ErrorDetails, where: Sequence[str | int]) -> dict[str, Any]:
    kind, ctx = error["type"], dict(error.get("ctx", {}))
    message = error["msg"]
    if kind in ("literal_error", "enum"):
        kind, ctx = "one_of", {"expected": _choices(str(ctx["expected"]))}
    elif kind == "too_long":
        kind, ctx = "sequence_too_long", {"max_length": ctx["max_length"]}
        message = f"Sequence should have at most {ctx['max_length']} items"
    elif kind == "too_short":
        kind, ctx = "sequence_too_short", {"min_length": ctx["min_length"]}
        message = f"Sequence should have at least {ctx['min_length']} items"
    elif kind in ("value_error", "assertion_error"):
        ctx = {}  # an exception, which is in the message already
    loc = [clean(part) if isinstance(part, str) else part for part in (*where, *error["loc"])]
    return detail(loc, message, kind, ctx=ctx, input=error.get("input"))


def _choices(expected: str) -> list[Any]:
    """pydantic's "8, 16 or 32" as a list."""
    return [ast.literal_eval(part) for part in re.split(r", | or ", expected)]
