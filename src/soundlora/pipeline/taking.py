"""Functions whose arguments are the settings of a training."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, get_type_hints

from soundlora.pipeline.options import HINTS, SETTINGS, TrainingOptions, default_of
from soundlora.pipeline.presets import PRESETS
from soundlora.pipeline.settings import check_names

P = ParamSpec("P")
R = TypeVar("R")


def takes_options(options: Callable[P, TrainingOptions]) -> Callable[[Callable[[TrainingOptions], R]], Callable[P, R]]:
    """Let a function of the options take their fields as its arguments, by the same names and defaults."""

    def decorate(function: Callable[[TrainingOptions], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            check_names(function.__name__, kwargs, SETTINGS)
            preset = PRESETS.get(str(kwargs.get("preset")), {})
            return function(options(*args, **{**preset, **kwargs}))

        parameters = [
            parameter.replace(annotation=HINTS[parameter.name].__origin__)
            for parameter in inspect.signature(options).parameters.values()
        ]
        returns = get_type_hints(function)["return"]
        call.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
        call.__doc__ = f"{inspect.getdoc(function)}\n\n{_described()}"
        return call

    return decorate


def _described() -> str:
    """Return the settings for a docstring, one a line."""
    return "\n".join(
        f"{name}: {known.help}" + (f" {default_of(name)!r}: {known.unset}." if known.unset else "")
        for name, known in SETTINGS.items()
    )
