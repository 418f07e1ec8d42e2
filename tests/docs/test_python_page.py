"""docs/python.md has every argument of the public functions with its default, and no other."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from documentation import blocks, page, rows, section

import soundlora

PAGE = page("python.md")
NOTHING = inspect.Parameter.empty

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "inspect_dataset": soundlora.inspect_dataset,
    "prepare_recordings": soundlora.prepare_recordings,
    "train": soundlora.train,
    "generate": soundlora.generate,
    "grid": soundlora.grid,
    "figures": soundlora.figures,
    "Generator": soundlora.Generator,
    "Generator.__call__": soundlora.Generator.__call__,
}
HEADINGS = {
    "inspect_dataset": "Arguments of `inspect_dataset`",
    "prepare_recordings": "Arguments of `prepare_recordings`",
    "train": "Arguments of `train`",
    "generate": "Arguments of `generate`",
    "grid": "Arguments of `grid`",
    "figures": "Arguments of `figures`",
    "Generator": "Arguments of `Generator`",
    "Generator.__call__": "Arguments of calling a `Generator`",
}


def documented(text: str) -> dict[str, Any]:
    """Name → default of the rows `name` | default; several names in a row share a default, or have one each."""
    found: dict[str, Any] = {}
    for cells in rows(text):
        names, defaults = (re.findall(r"`([^`]+)`", cell) for cell in cells[:2])
        values = [ast.literal_eval(default) for default in defaults] or [NOTHING]
        assert names, cells
        found |= dict(zip(names, values * len(names) if len(values) == 1 else values, strict=True))
    return found


def wanted(function: Callable[..., Any]) -> dict[str, Any]:
    signature = inspect.signature(function)
    return {name: each.default for name, each in signature.parameters.items() if name != "self"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_table_has_every_argument_with_its_default(name: str) -> None:
    assert documented(section(PAGE, HEADINGS[name])) == wanted(FUNCTIONS[name])


def test_every_result_and_error_that_is_imported_exists() -> None:
    imported = set()
    for block in blocks(PAGE, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "soundlora":
                imported |= {each.name for each in node.names}

    assert imported == set(soundlora.__all__) - {"__version__"}
