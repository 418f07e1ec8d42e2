"""The check of arguments that people type in Python: an error is one sentence that names the argument.

A function that is checked shows the types themselves in `help`, and not their names as text.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, get_type_hints

from soundlora.dataset import inspect_dataset as _inspect_dataset
from soundlora.dataset.recordings import prepare_recordings as _prepare_recordings
from soundlora.pipeline.settings import check_names, checked, without_none

P = ParamSpec("P")
R = TypeVar("R")


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's arguments be checked by their annotations, and turned into those types.

    The function raises InputError for a value of another type, ArgumentError for an argument that it doesn't take.
    """
    signature, hints = inspect.signature(function), get_type_hints(function)
    name = function.__qualname__.removesuffix(".__init__").removesuffix(".__call__")
    kinds = {each: without_none(hints[each]) for each in signature.parameters if each in hints}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names(name, kwargs, kinds)
        bound = signature.bind(*args, **kwargs)
        for each, value in bound.arguments.items():
            if each in kinds:
                bound.arguments[each] = checked(each, value, None, *kinds[each])
        return function(*bound.args, **bound.kwargs)

    parameters = [
        parameter.replace(annotation=hints.get(each, parameter.annotation))
        for each, parameter in signature.parameters.items()
    ]
    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=hints.get("return", signature.return_annotation)
    )
    return call


inspect_dataset = checked_arguments(_inspect_dataset)
prepare_recordings = checked_arguments(_prepare_recordings)
