"""The Python reference: every public name of soundlora with its signature, its arguments and its docstring."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import is_dataclass
from typing import Any

from site_pages import ROOT

import soundlora

_ARGUMENT = re.compile(r"([a-z_]+(?:, [a-z_]+)*): (.+)", re.DOTALL)
_PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
_INTRODUCTION = """# Python reference

Every name that `import soundlora` offers, as its docstring describes it. [The Python API](../python.md) shows how they
are used together.
"""


def names() -> list[str]:
    """Return the public names: functions and classes first, then errors."""

    def is_error(name: str) -> bool:
        found = getattr(soundlora, name)
        return isinstance(found, type) and issubclass(found, BaseException)

    return sorted(dir(soundlora), key=lambda name: (is_error(name), name.startswith("_"), name.lower()))


def reference() -> str:
    """Return the page as Markdown."""
    return "\n".join([_INTRODUCTION, *(_entry(name, getattr(soundlora, name)) for name in names())])


def _entry(name: str, found: Any) -> str:
    if isinstance(found, str):
        return f"## `{name}`\n\nThe version, `{found!r}`.\n"
    parts = [f"## `{name}`\n", _described(name, found)]
    if isinstance(found, type):
        parts += [
            f"### `{name}.{inner}`\n\n{_described(inner, member)}"
            for inner, member in vars(found).items()
            if not inner.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
        ]
        if "__call__" in vars(found):
            parts.append(f"### Calling a `{name}`\n\n{_described(name.lower(), vars(found)['__call__'])}")
    return "\n".join(parts)


def _described(name: str, found: Any) -> str:
    """Return the signature in a block, the words, and a table of the arguments."""
    if isinstance(found, property):
        kind = inspect.signature(found.fget).return_annotation if found.fget else ""
        return f"Property, `{_type(kind)}`. {_words(found, {})[0]}"
    if isinstance(found, type) and issubclass(found, BaseException):
        return _words(found, {})[0]
    arguments = {
        argument: each
        for argument, each in inspect.signature(found).parameters.items()
        if argument != "self" and not argument.startswith("_")
    }
    words, meanings = _words(found, arguments)
    table = _table(found, arguments, meanings)
    return "\n".join([_call(name, found, arguments), words, table, _elsewhere(name)])


def _elsewhere(name: str) -> str:
    """Return a link to where the Python API's page has the arguments in words."""
    for heading, anchor in (
        (f"Arguments of `{name}`", name),
        (f"Arguments of calling a `{name.title()}`", f"calling-a-{name}"),
    ):
        if f"### {heading}\n" in _PAGE:
            return f"[{heading}](../python.md#arguments-of-{anchor.lower()}), with defaults and meanings.\n"
    return ""


def _call(name: str, found: Any, arguments: dict[str, inspect.Parameter]) -> str:
    """Return how it is called, an argument a line where they don't fit into one."""
    shown = [
        _bare(each) if each.default is each.empty else f"{argument}={_default(each.default)}"
        for argument, each in arguments.items()
    ]
    line = f"{name}({', '.join(shown)})"
    if len(line) > 88:
        line = f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + ")"
    result = "" if isinstance(found, type) else _type(inspect.signature(found).return_annotation)
    return f"```python\n{line}{f' -> {result}' if result else ''}\n```\n"


def _table(found: Any, arguments: dict[str, inspect.Parameter], meanings: dict[str, str]) -> str:
    if not arguments:
        return ""
    with_words = any(meanings.values())
    lines = ["| field | type |" if is_dataclass(found) else "| argument | type |", "|---|---|"]
    if with_words:
        lines = [line + each for line, each in zip(lines, (" meaning |", "---|"), strict=True)]
    for argument, each in arguments.items():
        cells = [f"`{argument}`", f"`{_type(each.annotation)}`".replace("|", "\\|")]
        lines.append("| " + " | ".join(cells + [meanings.get(argument, "")] * with_words) + " |")
    return "\n".join(lines) + "\n"


def _words(found: Any, arguments: dict[str, inspect.Parameter]) -> tuple[str, dict[str, str]]:
    """Return a docstring's paragraphs without the list of arguments, and what that says by argument."""
    prose: list[str] = []
    meanings: dict[str, str] = {}
    for paragraph in (inspect.getdoc(found) or "").split("\n\n"):
        listed = _listed(paragraph, set(arguments))
        if listed is None:
            prose.append(paragraph)
            continue
        rest, said = listed
        prose += [rest] * bool(rest)
        meanings |= said
    return "\n\n".join(prose) + "\n", meanings


def _listed(paragraph: str, arguments: set[str]) -> tuple[str, dict[str, str]] | None:
    """Return what a list of arguments says of each, and the rest of it; None where a paragraph is no such list."""
    if not _ARGUMENT.match(paragraph):
        return None
    rest: list[str] = []
    said: dict[str, str] = {}
    here: list[str] = []  # the arguments that the line before was about
    for line in paragraph.splitlines():
        match = _ARGUMENT.fullmatch(line)
        if match and set(match[1].split(", ")) <= arguments:
            here = match[1].split(", ")
            said |= dict.fromkeys(here, match[2].replace("|", "\\|"))
        elif here and line.startswith(" "):
            said |= {each: f"{said[each]} {line.strip()}" for each in here}
        elif here and not match and not line.startswith("Raises"):
            return None  # a sentence that goes on in the next line
        else:
            here = []
            rest.append(line)
    return "\n".join(rest), said


def _type(annotation: Any) -> str:
    """Return an annotation as it is written in code, without the modules that its names come from."""
    if annotation in (inspect.Parameter.empty, "", None):
        return "" if annotation is not None else "None"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text)


def _bare(argument: inspect.Parameter) -> str:
    return f"**{argument.name}" if argument.kind is argument.VAR_KEYWORD else argument.name


def _default(value: Any) -> str:
    """Return a default as it is typed, strings in the quotes of the other pages."""
    return json.dumps(value) if isinstance(value, str) else repr(value)
