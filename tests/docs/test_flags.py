"""The documentation names every flag of `soundlora train`, and no command or flag that does not exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from documentation import PAGES, blocks, page, prose, rows, section, spans

from soundlora.cli.app import app

_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?![\w…-])")
_CALL = re.compile(r"(?:^|(?<=[\s/]))soundlora (?!soundlora)(?=[a-z-])(.*)")
# Of other programs, where a page speaks of them outside of a code block.
_OF_OTHERS = {
    "tensorboard": {"--logdir"},
    "scripts/fuzz": {"--inputs", "--seconds", "--seed"},
    "scripts/docs": {"--serve"},
    "scripts/gpu": {"--folder", "--dry"},
    "scripts/test": {"--lowest", "--newest"},
    "benchmarks": {"--record", "--dry"},
}

Commands = dict[str, Any]


@cache
def commands() -> Commands:
    """Every command by what is typed for it: "soundlora train", "soundlora keys list"."""
    found: Commands = {}

    def walk(command: Any, name: str) -> None:
        found[name] = command
        for inner, each in getattr(command, "commands", {}).items():
            walk(each, f"{name} {inner}")

    walk(typer.main.get_command(app), "soundlora")
    return found


def flags(command: Any) -> set[str]:
    """All spellings, the negative ones too."""
    spellings = [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
    return {name for name in spellings if name.startswith("--")} | {"--help"}


def meant(command: Any) -> set[str]:
    """The flags that do something: the negative of a switch that is off anyway does not."""
    found = set()
    for each in command.params:
        if each.param_type_name == "option":
            found |= {*each.opts, *(() if each.default is False else each.secondary_opts)}
    return found


def typed(text: str) -> list[tuple[str, list[str]]]:
    """(command, its flags) of every call of soundlora in lines that a shell is given."""
    known = commands()
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        match = _CALL.search(re.split(r" #| && ", line)[0])
        if match is None:
            continue
        name, rest = "soundlora", match[1].split()
        while rest and hasattr(known.get(name), "commands") and not rest[0].startswith("-"):
            name += f" {rest.pop(0)}"
        found.append((name, [word for word in rest if word.startswith("--")]))
    return found


def wrong_calls(text: str) -> list[str]:
    """Calls of commands that don't exist, and flags that a command does not take."""
    known = commands()
    found = []
    for name, given in typed(text):
        if name not in known:
            found.append(name)
        else:
            found += [f"{name} {flag}" for flag in given if flag not in flags(known[name])]
    return found


def test_the_table_has_every_flag_of_train_and_no_other() -> None:
    table = rows(section(page("training.md"), "Flags"))
    named = {flag for cells in table for flag in _FLAG.findall(cells[0])}

    assert named == meant(commands()["soundlora train"])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_flag_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    every = set.union(*map(flags, commands().values()), *_OF_OTHERS.values())

    unknown = {flag for flag in _FLAG.findall(prose(text)) if flag not in every}

    assert unknown == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_exists_and_takes_its_flags(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert wrong_calls("\n".join(spans(text) + blocks(text))) == []


def test_wrong_calls_are_found() -> None:
    text = (
        "soundlora train DATA --out DIR --rnk 8\n.venv/bin/soundlora keys make me\nsoundlora keys list --json # --x\n"
    )
    assert wrong_calls(text) == ["soundlora train --rnk", "soundlora keys make"]
