"""A setting, and the check of its value in one sentence."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import or_
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from soundlora.contract.fields import Number, WholeNumber
from soundlora.errors import InputError
from soundlora.wording import setting


@dataclass(frozen=True)
class Setting:
    """The properties of a setting beside its name, type and default.

    hosted: the hosted endpoint's name for it, "" where that has none. unset: the meaning of None, in words.
    least: the smallest value; a number must be above 0 where that is None. most: the largest, None for any.
    kept: it shapes the LoRA or the run folder, so that a run only goes on with the same value.
    extra: the server takes it, too, as a field of our own beside the endpoint's.
    flag: the command line has it.
    """

    help: str
    hosted: str = ""
    unset: str = ""
    least: float | None = None
    most: float | None = None
    kept: bool = True
    extra: bool = False
    flag: bool = True


def checked(name: str, value: Any, known: Setting, kind: Any, optional: bool) -> Any:
    """Return the value in the setting's own type. Raises InputError when it has no such type or is out of range.

    kind, optional: the type without None, and whether None is allowed; see `without_none`.
    """
    if value is None and optional:
        return None
    if (choices := _choices(kind)) and (not isinstance(value, str) or value not in choices):
        raise InputError(f"{setting(name)} is {value!r}, but it must be one of {', '.join(choices)}.", field=name)
    if kind in (int, float) and isinstance(value, int | float) and not _within(value, known):
        raise InputError(f"{setting(name)} is {value}, but it must be {_range(known)}.", field=name)
    if kind in _WORDS:
        try:
            value = _ADAPTERS[kind].validate_python(value)
        except ValidationError:
            must = f"must be {_WORDS[kind]}"
            raise InputError(f"{setting(name)} is {_short(value)}, but it {must}.", field=name) from None
    if get_origin(kind) is Sequence:
        if get_args(kind)[0] is float:
            return _checked_numbers(name, value, known)
        return _checked_list(name, value, _choices(get_args(kind)[0]))
    return value


def _checked_list(name: str, value: Any, choices: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{setting(name)} is {_short(value)}, but it must be a list of texts.", field=name)
    for one in value:
        if choices and one not in choices:
            raise InputError(f"{setting(name)} is {one!r}, but it must be one of {', '.join(choices)}.", field=name)
    return tuple(value)


def _checked_numbers(name: str, value: Any, known: Setting) -> tuple[float, ...]:
    try:
        numbers = _NUMBERS.validate_python(value)
    except ValidationError:
        raise InputError(f"{setting(name)} is {_short(value)}, but it must be a list of numbers.", field=name) from None
    for number in numbers:
        if not _within(number, known):
            raise InputError(f"{setting(name)} has {number:g}, but each must be {_range(known)}.", field=name)
    return tuple(numbers)


def _within(value: float, known: Setting) -> bool:
    high_enough = value > 0 if known.least is None else value >= known.least
    return high_enough and (known.most is None or value <= known.most)


def _range(known: Setting) -> str:
    if known.least is None:
        return "positive"
    return f"at least {known.least:g}" if known.most is None else f"from {known.least:g} to {known.most:g}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return the type without None, and whether None is allowed."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    optional = get_origin(hint) is not Literal and type(None) in get_args(hint)
    return (functools.reduce(or_, parts) if optional else hint), optional


def _choices(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


_NUMBERS: TypeAdapter[list[float]] = TypeAdapter(list[Number])
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {
    int: TypeAdapter(WholeNumber),
    float: TypeAdapter(Number),
    bool: TypeAdapter(bool),
    str: TypeAdapter(str),
}
