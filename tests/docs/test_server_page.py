"""docs/server.md says what is so: every setting with its variable, flag and default, and the sample for webhooks."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.exceptions import InvalidSignature
from documentation import PAGES, blocks, page, rows, section

from soundlora.cli.app import app
from soundlora.server.http.signature import Signer
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database

PAGE = page("server.md")
# By the field's name.
ROWS = {cells[0].strip("`").removeprefix("SOUNDLORA_").lower(): cells for cells in rows(section(PAGE, "Settings"))}
FIELDS = {field.name: field.default for field in dataclasses.fields(Settings)}
# Of every command: where bases lie.
_ELSEWHERE = {"CACHE", "MODELS"}


def test_every_setting_is_in_the_table_and_no_other() -> None:
    named = set(re.findall(r"SOUNDLORA_([A-Z_]+)", PAGE))

    assert named == {name.upper() for name in FIELDS}


def test_the_sample_that_checks_webhooks_works(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    database.migrate()
    signer = Signer(database)
    database.close()
    sample: dict[str, Any] = {}
    exec(blocks(PAGE, "python")[0], sample)
    body = b"{}"
    headers = signer.headers("r", "k", body, int(time.time()))

    sample["verify"](headers, body, signer.jwks()["keys"])
    with pytest.raises(InvalidSignature):
        sample["verify"](headers, body + b" ", signer.jwks()["keys"])


class Stopped(Exception):  # noqa: N818  (it ends a command, nothing is wrong)
    """Ends `soundlora serve` once its settings are known."""


def setting_of(flag: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The field of Settings that a flag of `soundlora serve` fills."""
    given: dict[str, Any] = {}

    def take(cls: type[Settings], *arguments: Any, **values: Any) -> Settings:
        given.update({name: value for name, value in values.items() if value is not None})
        raise Stopped

    monkeypatch.setattr(Settings, "from_environment", classmethod(take))
    arguments = ["serve", flag] if flag == "--allow-anonymous" else ["serve", flag, "1"]
    with pytest.raises(Stopped):
        typer.main.get_command(app)(arguments, standalone_mode=False)
    (name,) = given
    return name


def flags_of_serve() -> set[str]:
    """The flags of settings. `--open` is none: a server that is started as a service shows nothing."""
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return {name for each in serve.params for name in each.opts} - {"--open"}


def test_every_setting_has_a_row() -> None:
    assert set(ROWS) == set(FIELDS)


def test_every_flag_stands_in_one_row() -> None:
    named = [flag for cells in ROWS.values() for flag in re.findall(r"--[a-z-]+", cells[1])]

    assert sorted(named) == sorted(flags_of_serve())


@pytest.mark.parametrize("flag", sorted(flags_of_serve()))
def test_the_flag_stands_beside_the_variable_of_the_same_setting(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert flag in ROWS[setting_of(flag, monkeypatch)][1]


@pytest.mark.parametrize("name", FIELDS)
def test_a_default_in_code_is_the_default(name: str) -> None:
    literal = re.fullmatch(r"`(.*)`", ROWS[name][2])
    default = FIELDS[name]
    if literal:
        assert literal[1] == (str(default).lower() if isinstance(default, bool) else f"{default}".removesuffix(".0"))
    else:
        assert default in ("", 0, (), None) or name == "max_upload_bytes"


def test_no_page_names_a_variable_that_does_not_exist() -> None:
    known = {name.upper() for name in FIELDS} | _ELSEWHERE
    for path in PAGES:
        named = set(re.findall(r"SOUNDLORA_([A-Z_]+)", path.read_text(encoding="utf-8")))
        assert named - known == set(), path.name
