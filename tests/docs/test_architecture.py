"""docs/architecture.md names files, functions and rooms that exist, and the rooms import as it says."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from documentation import ROOT, page, rows, section, spans

PAGE = page("architecture.md")
SOURCE = ROOT / "src" / "soundlora"
ROOMS = [cells[0].strip("`") for cells in rows(section(PAGE, "The rooms"))]
# Where the page's paths are meant from: the package, or the repository.
_HOMES = (SOURCE, ROOT)
# Of a run folder, and of LoRA files.
_ENDINGS = ("json", "jsonl", "safetensors", "wav", "weight")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+|\w+\.(?:py|md)")
_NAME = re.compile(r"[a-z_]\w*(?:\.\w+)+")


def paths(text: str) -> set[str]:
    """What looks like a file or a folder in code, commands included."""
    words = {word for span in spans(text) for word in span.split()}
    return {word for word in words if _PATH.fullmatch(word)}


def names(text: str) -> set[str]:
    """What looks like room.module.function in code."""
    found = {span for span in spans(text) if _NAME.fullmatch(span) and not span.endswith((".py", ".md"))}
    return {name for name in found if name.split(".")[0] in ROOMS and name.rsplit(".", 1)[1] not in _ENDINGS}


def exists(name: str) -> bool:
    """Whether soundlora has room.module.Class.method; the fields of a class count."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(["soundlora", *parts[:count]])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


def rooms_here() -> set[str]:
    """Packages and modules of soundlora; `__main__`, `client` and `nano` lie beside them."""
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    return (packages | {path.stem for path in SOURCE.glob("*.py")}) - {"__init__", "__main__", "client"}


def imports() -> set[tuple[str, str, str]]:
    """(room, the room that it imports from, file) of everything in the package."""
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if parts[0] in ("__init__.py", "__main__.py", "client.py", "web"):
            continue
        room = parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "soundlora":
                inner = (node.module or "").split(".")[1:2] or [each.name for each in node.names]
                found |= {(room, other, str(path.relative_to(SOURCE))) for other in inner if other != room}
    return found


def test_every_path_and_every_name_exists() -> None:
    missing = {path for path in paths(PAGE) if not any((home / path).exists() for home in _HOMES)}
    missing |= {name for name in names(PAGE) if not exists(name)}
    missing |= set(ROOMS) - rooms_here()

    assert missing == set(), "the page names what does not exist"


def test_the_page_is_read_as_it_is_meant() -> None:
    assert {"pipeline/train.py", "tests/docs/test_architecture.py", "tests/lora"} <= paths(PAGE)
    assert {"training.trainer.Trainer.step", "weights.base.Codec.decode"} <= names(PAGE)
    assert len(names(PAGE)) > 60
    assert not exists("training.trainer.Trainer.stop")
    assert not exists("training.trainers")


def test_every_room_has_a_row() -> None:
    assert rooms_here() - set(ROOMS) == set()


def test_a_room_imports_only_from_rooms_above_it_in_the_table() -> None:
    place = {room: number for number, room in enumerate(ROOMS)}
    assert {(room, other, path) for room, other, path in imports() if place[other] >= place[room]} == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_door_leads_to_the_page(name: str) -> None:
    assert "(docs/architecture.md)" in Path(ROOT, name).read_text(encoding="utf-8")
