"""The rooms of the package, and which of them may import from which. docs/architecture.md draws the same ladder."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
ABOVE = {
    "errors": [],
    "wording": [],
    "version": [],
    "progress": [],
    "system": ["errors", "wording"],
    "net": ["errors", "version", "system"],
    "contract": ["errors"],
    "model": ["errors", "wording"],
    "weights": ["errors", "wording", "system", "net", "model"],
    "lora": ["errors", "wording", "system", "model", "weights"],
    "audio": ["system"],
    "dataset": ["errors", "wording", "system", "net", "audio"],
    "sampling": ["errors", "model"],
    "training": [
        "errors", "wording", "progress", "system", "model", "weights", "lora", "audio", "sampling",
    ],
    "pipeline": [
        "errors", "wording", "version", "progress", "system", "net", "contract", "model", "weights", "lora", "audio",
        "dataset", "sampling", "training",
    ],
    "server.settings": ["errors"],
    "server.endpoints": ["errors", "system", "net", "contract", "pipeline", "server.settings"],
    "server.store": ["errors", "system", "net", "server.settings"],
    "server.work": [
        "errors", "wording", "progress", "system", "net", "contract", "dataset", "pipeline", "server.settings",
        "server.endpoints", "server.store",
    ],
    "server.http": [
        "errors", "version", "system", "net", "contract", "pipeline", "server.settings", "server.endpoints",
        "server.store", "server.work",
    ],
    "cli": [
        "errors", "wording", "version", "progress", "system", "net", "contract", "model", "weights", "lora", "dataset",
        "training", "pipeline", "server.settings", "server.store", "server.work", "server.http",
    ],
    "__main__": ["cli"],
    "client": ["errors"],
    "": ["errors", "version", "progress", "pipeline"],
}  # fmt: skip
"""Each room, and the ones it may import from. Rooms stand in the order of the ladder: the arrows lead upwards only."""

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules["av"] = None  # importing it fails
for name in ("model", "lora", "training", "sampling"):
    package = importlib.import_module(f"soundlora.{name}")
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
"""


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, and its file."""
    found = {}
    for path in sorted((SOURCE / "soundlora").rglob("*.py")):
        if "node_modules" not in path.parts:
            name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports, within functions and for types alone, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in known else node.module for name in whole}
    return {name for name in found if name in known}


@cache
def graph() -> dict[str, set[str]]:
    """Of each module those that it imports."""
    return {name: imports(path, modules()) - {name} for name, path in modules().items()}


def room(module: str) -> str:
    """`soundlora.server.http.app` → server.http; the package itself is ""."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[:1] == ["server"] else parts[:1])


def test_rooms_import_from_those_below_alone() -> None:
    arrows = {(room(name), room(other)) for name, others in graph().items() for other in others}
    arrows = {(one, other) for one, other in arrows if one != other and other not in ("", "server")}
    assert arrows - {(one, other) for one, others in ABOVE.items() for other in others} == set()


def test_the_list_of_arrows_has_none_too_many_and_leads_upwards() -> None:
    """An arrow that is not used any more is taken out of the list, so that nobody relies on it."""
    arrows = {(room(name), room(other)) for name, others in graph().items() for other in others}
    assert {(one, other) for one, others in ABOVE.items() for other in others} - arrows == set()
    order = list(ABOVE)
    assert [(one, other) for one in order for other in ABOVE[one] if order.index(other) >= order.index(one)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    open_: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> None:
        assert name not in open_, f"a circle: {' → '.join([*open_[open_.index(name) :], name])}"
        if name not in done:
            open_.append(name)
            for other in sorted(graph()[name]):
                visit(other)
            done.add(open_.pop())

    for name in graph():
        visit(name)


@pytest.mark.parametrize("name", sorted(ABOVE))
def test_each_room_is_there(name: str) -> None:
    assert any(room(module) == name for module in graph())


def test_no_file_is_much_longer_than_four_hundred_lines() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > 420} == {}


def test_training_and_sampling_need_no_audio_decoder() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {"soundlora.training.evaluation", "soundlora.sampling.guidance"} <= set(run.stdout.split())
