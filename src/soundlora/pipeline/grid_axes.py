"""What varies along the rows and the columns of a grid: the axes, their values, and the settings of each cell."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from soundlora.errors import InputError
from soundlora.pipeline.generate import check_sampling
from soundlora.pipeline.lora_use import LoraFile, LoraUse, chosen_loras
from soundlora.system.file_names import short_stem, steps_of
from soundlora.training.run_folder import RunFolder
from soundlora.wording import setting

MOST_CELLS = 400
AXES = ("prompt", "seed", "strength", "checkpoint", "lora", "steps", "cfg", "stg")
_WHOLE, _NUMBERS = ("seed", "steps"), ("strength", "cfg", "stg")
BASE_ALONE = "base alone"


@dataclass(frozen=True)
class Axis:
    """One setting, the values that it takes, and what each is called."""

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One sound of a grid: where it stands, and what it is made with. `settings` go to a call of a generator."""

    row: int
    column: int
    labels: tuple[str, str]  # of the row and the column; "" where there is but one
    settings: Mapping[str, Any]
    loras: tuple[LoraUse, ...]

    @property
    def stem(self) -> str:
        """The names of its files without their endings: `r01-heavy-rain_c02-0.5`."""
        row, column = (short_stem(label) for label in self.labels)
        return f"r{self.row + 1:02d}{row and '-'}{row}_c{self.column + 1:02d}{column and '-'}{column}"


def axis_of(which: str, given: Mapping[str, Sequence[Any]] | None) -> Axis | None:
    """Return the axis that `rows` or `columns` is, as in {"strength": [0, 0.5, 1]}; None where there is none.

    which: "rows" or "columns". Raises InputError for a setting that can't vary, and for values that it can't have.
    """
    if not given:
        return None
    if not isinstance(given, Mapping) or len(given) != 1:
        raise InputError(
            f"{setting(which)} is {given!r}, but it must be one setting with its values, as in "
            "{'strength': [0, 0.5, 1]}.",
            field=which,
        )
    ((name, values),) = given.items()
    if name not in AXES:
        raise InputError(f"{setting(which)} is {name!r}, but what can vary is {', '.join(AXES)}.", field=which)
    if isinstance(values, str | os.PathLike | LoraUse):
        values = (values,)
    if not isinstance(values, Sequence) or not values:
        raise InputError(f"{setting(which)} has no values of {name}; name some.", field=which)
    if name == "checkpoint":
        values = [path for each in values for path in _checkpoints(which, each)]
    found = tuple(_value(which, name, value) for value in values)
    one_run = len({Path(value.path).parent for value in found}) == 1 if name == "checkpoint" else False
    labels = tuple(_label(name, value, one_run) for value in found)
    twice = next((label for number, label in enumerate(labels) if found[number] in found[:number]), None)
    if twice is not None:
        raise InputError(f"{setting(which)} has the {name} {twice} twice; leave one out.", field=which)
    return Axis(name, found, labels)


def cells_of(
    rows: Axis | None, columns: Axis | None, fixed: Mapping[str, Any], lora: Any, loras: Sequence[LoraFile]
) -> list[Cell]:
    """Return the cells, row by row. fixed: the settings that were given, None where nothing was.

    Raises InputError for what varies twice or not at all, for too many cells, and for values out of range.
    """
    axes = [axis for axis in (rows, columns) if axis is not None]
    names = [axis.name for axis in axes]
    if not names:
        raise InputError(f"Nothing varies; name rows or columns with {setting('rows')} or {setting('columns')}.")
    if len(set(names)) < len(names):
        raise InputError(f"The {names[0]} varies in the rows and in the columns; choose another for one of them.")
    for name in names:
        if fixed.get(name) is not None:
            raise InputError(
                f"{setting(name)} is given, and the {name} varies in the grid, too; leave one of the two out.",
                field=name,
            )
    if "prompt" not in names and fixed.get("prompt") is None:
        raise InputError(f"{setting('prompt')} is missing, and no prompts vary; name one.", field="prompt")
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST_CELLS:
        raise InputError(f"The grid has {count} cells, but {MOST_CELLS} at most are made; name fewer values.")
    given = _uses(lora, loras)
    _check_strength(names, [*given, *(use for axis in axes for use in axis.values if isinstance(use, LoraUse))])
    cells = []
    for (row, below), (column, beside) in product(_places(rows), _places(columns)):
        settings = {**fixed, **below, **beside}
        strength = settings.pop("strength")
        settings["seed"] = 42 if settings["seed"] is None else settings["seed"]
        check_sampling(**{name: settings[name] for name in ("duration", "steps", "cfg", "stg", "seed")})
        own = [settings.pop(name, None) for name in ("checkpoint", "lora")]
        uses = chosen_loras(
            None, 1.0 if strength is None else strength, [*given, *(use for use in own if use is not None)]
        )
        labels = (rows.labels[row] if rows else "", columns.labels[column] if columns else "")
        cells.append(Cell(row, column, labels, settings, tuple(uses)))
    return cells


def _places(axis: Axis | None) -> list[tuple[int, dict[str, Any]]]:
    """Return the places along an axis with what is set there."""
    return [(0, {})] if axis is None else [(place, {axis.name: value}) for place, value in enumerate(axis.values)]


def _check_strength(names: Sequence[str], uses: Sequence[LoraUse]) -> None:
    if "strength" in names and all(use.strength is not None for use in uses):
        having = "each LoRA has a strength of its own" if uses else "there is no LoRA"
        raise InputError(
            f"The strength varies, but {having}; name one without a strength with {setting('lora')}.", field="lora"
        )


def _uses(lora: str | os.PathLike[str] | None, loras: Sequence[LoraFile]) -> list[LoraUse]:
    """Return how LoRAs are used; those that say no strength have None. Raises InputError as `chosen_loras` does."""
    chosen = chosen_loras(lora, 1.0, loras)
    if lora is not None:
        return [replace(chosen[0], strength=None)]
    given = [loras] if isinstance(loras, str | os.PathLike | LoraUse) else loras
    return [
        replace(use, strength=None)
        if isinstance(each, str | os.PathLike)
        else each
        if isinstance(each, LoraUse)
        else use
        for each, use in zip(given, chosen, strict=True)
    ]


def _checkpoints(which: str, given: Any) -> list[LoraFile]:
    """Return the LoRA files of a run folder in the order of their steps, or the file that is given."""
    if not isinstance(given, str | os.PathLike) or not Path(given).is_dir():
        return [given]
    found: list[LoraFile] = [*RunFolder(Path(given)).checkpoint_loras().values()]
    if not found:
        raise InputError(
            f"{setting(which)} has the folder {given}, but no checkpoints lie in it; name a run folder, or files of "
            "LoRAs.",
            field=which,
        )
    return found


def _value(which: str, name: str, value: Any) -> Any:
    if name == "prompt":
        fits, must = isinstance(value, str) and bool(value.strip()), "a text"
    elif name in _WHOLE:
        fits, must = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif name in _NUMBERS:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        must = "a number"
    else:
        return None if value is None and name == "lora" else _uses(None, [value])[0]
    if not fits:
        raise InputError(f"{setting(which)} has the {name} {value!r}, but it must be {must}.", field=which)
    return value


def _label(name: str, value: Any, one_run: bool) -> str:
    """one_run: all checkpoints lie in one folder, so that their steps alone tell them apart."""
    if name in ("lora", "checkpoint"):
        if value is None:
            return BASE_ALONE
        step = steps_of(Path(value.path).name) if one_run else None
        return value.label if step is None else f"step {step}"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
