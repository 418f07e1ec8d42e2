"""A setting, and the check of its value in one sentence."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import or_
from types import SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin

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
    parse: what makes the value of what was given, or raises InputError; it is called with the setting's name, too.
    """

    help: str
    hosted: str = ""
    unset: str = ""
    least: float | None = None
    most: float | None = None
    kept: bool = True
    extra: bool = False
    flag: bool = True
    parse: Callable[[str, Any], Any] | None = None


class ArgumentError(InputError, TypeError):
    """An argument that a function doesn't take. Python's own error for that is a TypeError, which this is too."""


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ArgumentError for a name in `given` that is not `known`; it proposes the nearest one."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}."
            raise ArgumentError(f"{function} takes no argument {name!r}; {advice}", field=name)


def checked(name: str, value: Any, known: Setting | None, kind: Any, optional: bool) -> Any:
    """Return the value in the setting's own type. Raises InputError when it has no such type or is out of range.

    known: None where the function that is called knows the range.
    kind, optional: the type without None, and whether None is allowed; see `without_none`.
    """
    if value is None and optional:
        return None
    if known is not None and known.parse is not None:
        return known.parse(name, value)
    if (choices := _choices(kind)) and (not isinstance(value, str) or value not in choices):
        raise InputError(f"{setting(name)} is {value!r}, but it must be one of {_listed(choices)}.", field=name)
    if kind in (int, float) and isinstance(value, int | float):
        if known is not None and not _within(value, known):
            raise InputError(f"{setting(name)} is {value}, but it must be {_range(known)}.", field=name)
        if known is None and kind is float and not isinstance(value, bool):
            return value
    if known is None and kind is str and isinstance(value, str):
        return value
    if kind in _WORDS:
        try:
            value = _ADAPTERS[kind].validate_python(value)
        except ValidationError:
            must = f"must be {_WORDS[kind]}"
            raise InputError(f"{setting(name)} is {_short(value)}, but it {must}.", field=name) from None
    if get_origin(kind) is Sequence:
        one = get_args(kind)[0]
        if one is float:
            return _checked_numbers(name, value, known)
        return _checked_list(name, value, _choices(one)) if one is str or _choices(one) else value
    if kind not in _WORDS and not choices:
        _check_instance(name, value, kind)
    return value


def _check_instance(name: str, value: Any, kind: Any) -> None:
    """Raise InputError unless the value is of a class, of one of several, or a function where a function is wanted."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    classes = tuple(get_origin(member) or member for member in members)
    if Callable in classes:
        fits, must = callable(value), "a function"
    else:
        fits = isinstance(value, classes)
        words = {os.PathLike: "a path", str: "text", Mapping: "values by their names, as in {'name': …}"}
        must = next((said for kind, said in words.items() if kind in classes), f"a {classes[0].__name__}")
    if not fits:
        raise InputError(f"{setting(name)} is {_short(value)}, but it must be {must}.", field=name)
    # Such as a variable that was never set. As a path it would be the folder that one stands in.
    if os.PathLike in classes and value == "":
        raise InputError(f"{setting(name)} is empty; name a file or a folder.", field=name)


def _checked_list(name: str, value: Any, choices: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (value,)  # one text is a list of one, and not of its letters
    if not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{setting(name)} is {_short(value)}, but it must be a list of texts.", field=name)
    for one in value:
        if choices and one not in choices:
            raise InputError(f"{setting(name)} is {one!r}, but it must be one of {_listed(choices)}.", field=name)
    return tuple(value)


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(choice or '""' for choice in choices)


def _checked_numbers(name: str, value: Any, known: Setting | None) -> tuple[float, ...]:
    try:
        numbers = _NUMBERS.validate_python(value)
    except ValidationError:
        raise InputError(f"{setting(name)} is {_short(value)}, but it must be a list of numbers.", field=name) from None
    for number in numbers:
        if known is not None and not _within(number, known):
            raise InputError(f"{setting(name)} has {number:g}, but each must be {_range(known)}.", field=name)
    return tuple(numbers)


def decimal(value: float) -> str:
    """Return a number as text that is read again: with nine places, no exponent and no needless zeros."""
    return f"{value:.9f}".rstrip("0").removesuffix(".")


def _within(value: float, known: Setting) -> bool:
    high_enough = value > 0 if known.least is None else value >= known.least
    return high_enough and (known.most is None or value <= known.most)


def _range(known: Setting) -> str:
    if known.least is None:
        return "positive" if known.most is None else f"positive, and at most {known.most}"
    return f"at least {known.least}" if known.most is None else f"from {known.least} to {known.most}"


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


class _TorchDevice(type):
    def __instancecheck__(cls, value: object) -> bool:
        return (type(value).__module__, type(value).__name__) == ("torch", "device")


TORCH = SimpleNamespace(device=_TorchDevice("device", (), {"__module__": "torch"}))
"""It stands for torch's class, by name and for isinstance. torch takes a second to import, and no setting computes."""
_NUMBERS: TypeAdapter[list[float]] = TypeAdapter(list[Number])
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {
    int: TypeAdapter(WholeNumber),
    float: TypeAdapter(Number),
    bool: TypeAdapter(bool),
    str: TypeAdapter(str),
}
