"""Errors become outcomes of requests here, in the shapes that the endpoint documents."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from soundlora.errors import DivergedError, InputError, Lack, MachineError
from soundlora.pipeline.endpoint_words import endpoint_name
from soundlora.pipeline.options import SETTINGS
from soundlora.server.store.finish import Outcome, infrastructure_error
from soundlora.system.whole_files import machine_error

_ERRORS_PAGE = "https://docs.fal.ai/errors/#"
_MOST_ERRORS = 100
"""A client is told of so many errors at once."""
_INPUT_CHARACTERS = 10_000
"""Longer input is not sent back with its error, because it may be a whole data set in a data: URI."""


def detail(
    loc: Sequence[str | int], message: str, type: str, *, ctx: dict[str, Any] | None = None, input: Any = None
) -> dict[str, Any]:
    """Return one entry of the documented list of errors."""
    entry: dict[str, Any] = {"loc": list(loc), "msg": clean(message), "type": type, "url": _ERRORS_PAGE + type}
    if ctx:
        entry["ctx"] = ctx
    if input is not None and len(shown := json.dumps(input, default=str)) <= _INPUT_CHARACTERS:
        entry["input"] = json.loads(shown)
    return entry


def details(errors: Sequence[ErrorDetails], *, where: Sequence[str | int] = ("body",)) -> list[dict[str, Any]]:
    """Return the first of pydantic's errors in the endpoint's words."""
    return [_detail(error, where) for error in errors[:_MOST_ERRORS]]


def rejected(error: ValidationError) -> Outcome:
    """Return the outcome 422 of a request whose input is wrong."""
    return _unprocessable(details(error.errors(include_url=False)))


_MACHINE: dict[Lack, tuple[int, str]] = {
    "memory": (500, "runner_server_error"),
    "disk": (503, "runner_disconnected"),
    "network": (503, "runner_connection_error"),
    "files": (500, "runner_server_error"),
    "processes": (503, "runner_disconnected"),
    "device": (500, "runner_server_error"),
}
"""Each lack of the machine has a status code and the hosted service's word for it. Clients may try again after all."""


def outcome_of(error: Exception, payload: Any) -> Outcome:
    """Return the outcome of a run that raised `error`.

    `payload` is the request's input, from which the wrong value is shown. Faults of the machine are told without its
    folders and addresses; the owner's log has the whole story.
    """
    if isinstance(error, ValidationError):
        return rejected(error)
    if isinstance(error, InputError) and not _is_owners(error.field):
        loc = ["body", *_place(error.field)]
        return _unprocessable([detail(loc, str(error), error.type, ctx=error.ctx, input=_sent(payload, loc[1:]))])
    if isinstance(error, DivergedError):
        loc = ["body", "learning_rate"]
        return _unprocessable([detail(loc, str(error), "value_error", input=_sent(payload, loc[1:]))])
    fault = machine_fault(error)
    if fault is not None:
        return infrastructure_error(*_MACHINE[fault.lack], fault.public)
    sentence = clean(f"{type(error).__name__}: {error}")
    return Outcome(
        500,
        {"detail": [detail(["body"], "Internal server error", "internal_server_error")]},
        error=sentence,
        error_type="internal_server_error",
    )


def machine_fault(error: Exception) -> MachineError | None:
    """Return the fault that the machine's owner has to mend, or None where somebody else has to mend the error."""
    if isinstance(error, MachineError):
        return error
    if isinstance(error, InputError) and _is_owners(error.field):
        return MachineError(str(error), "device" if error.field == "device" else "files")
    if isinstance(error, OSError) and (fault := machine_error(error)).lack == "disk":
        return fault
    return None


def _is_owners(field: str | None) -> bool:
    """Return whether only the server can give a run this setting, and its clients can't."""
    known = SETTINGS.get(field or "")
    return known is not None and not known.hosted and not known.extra


def _place(field: str | None) -> list[str | int]:
    """Return the place of a field in the input, which is empty for None: `loras.0.path` becomes loras, 0, path."""
    if field is None:
        return []
    first, *inner = field.split(".")
    return [endpoint_name(first), *(int(part) if part.isdigit() else part for part in inner)]


def _sent(payload: Any, place: Sequence[str | int]) -> Any:
    """Return what the client sent at `place`, or None where it sent nothing."""
    for part in place:
        try:
            payload = payload[part]
        except (KeyError, IndexError, TypeError):
            return None
    return payload if place else None


def timed_out(seconds: float) -> Outcome:
    """Return the outcome of a run that took longer than the server allows."""
    body = {"detail": [detail(["body"], "Generation timeout", "generation_timeout")]}
    sentence = f"The run was stopped after {seconds:g} s, which is as long as this server lets one take."
    return Outcome(504, body, error=sentence, error_type="generation_timeout")


def clean(text: str) -> str:
    """Return text that every database and client takes: without NUL and lone surrogates."""
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
        ctx = {}  # It holds an exception, which is in the message already.
    loc = [clean(part) if isinstance(part, str) else part for part in (*where, *error["loc"])]
    return detail(loc, message, kind, ctx=ctx, input=error.get("input"))


def _choices(expected: str) -> list[Any]:
    """Return pydantic's "8, 16 or 32" as a list."""
    return [ast.literal_eval(part) for part in re.split(r", | or ", expected)]
