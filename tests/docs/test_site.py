"""The site of docs/: every page, every public name and every route has its place; nothing comes from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import site_http
import site_pages
import site_python
from documentation import ROOT, rows, section
from support import routes_of

import soundlora
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings

HTTP = site_http.reference()
PYTHON = site_python.reference()
_OUTSIDE = re.compile(r"""(?:src=|<link[^>]*href=|url\(|@import\s+)["']?(?:https?:)?//[^"'\s)>]+""")


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [target for entries in site_pages.navigation(site_pages.start()).values() for _, target in entries]
    pages = {site_pages.site_path(source) for source in site_pages.sources()} | set(site_pages.REFERENCES)

    assert sorted(listed) == sorted(str(page) for page in pages - {"index.md"})


def test_the_start_leads_to_every_page_of_the_folder_and_the_readme_to_the_start() -> None:
    here = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {target for entries in site_pages.navigation(index).values() for _, target in entries}

    assert {target for target in linked if not target.startswith("../")} == here
    assert "(docs/index.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_sound_of_the_folder_is_played_on_a_page() -> None:
    pages = "".join(site_pages.page(source) for source in site_pages.sources())
    played = set(re.findall(r'<audio [^>]*src="(?:\.\./)*sounds/([^"]+)"', pages))

    assert played == {path.name for path in (ROOT / "docs" / "sounds").iterdir()}


def test_links_that_leave_the_site_lead_to_the_repository_and_the_others_stay() -> None:
    log, training = site_pages.page("dev/log.md"), site_pages.page("docs/training.md")

    assert "[nano](../nano.md)" in log
    assert "(project/log.md#verdicts)" in training
    assert f"({site_pages.REPOSITORY}/examples/request.json)" in training
    assert "(datasets.md#the-template)" in training


def test_a_link_to_a_sound_gets_a_player_and_stays_a_link() -> None:
    page = site_pages.page("docs/nano.md")

    (player,) = re.findall(r'<span class="sound"><a href="sounds/tabla_lora.wav">LoRA</a>.*?</span>', page)
    assert '<audio controls preload="none" src="sounds/tabla_lora.wav" aria-label="LoRA"></audio>' in player
    assert "](sounds/" not in page


def test_code_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("`[a](../b.md)`\n\n```\n[a](../b.md)\n```\n\n[a](../b.md)\n")
    monkeypatch.setattr(site_pages, "ROOT", tmp_path)

    assert site_pages.page("docs/a.md").count("[a](../b.md)") == 2


# ----------------------------------------------------------------------------------------------------------------------
# the references


@pytest.mark.parametrize("name", dir(soundlora))
def test_every_public_name_has_its_place(name: str) -> None:
    assert f"\n## `{name}`\n" in PYTHON


def test_arguments_stand_with_type_default_and_meaning() -> None:
    train = section(PYTHON, "`train`")

    assert ["`rank`", "`int`", "8, 16, 32, 64 or 128."] in rows(train)
    assert "    rank=32,\n" in train
    assert "(../python.md#arguments-of-train)" in train
    assert "save(path) -> Path" in section(PYTHON, "`Generation`")
    assert "**options" in section(PYTHON, "`train_request`")


def test_a_sentence_that_names_an_argument_is_not_torn() -> None:
    assert 'mode: "extend-prefix" goes on from its end' in section(PYTHON, "`Source`")


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")), executor=False)
    app.state.service.database.close()
    return routes_of(app)


def test_every_route_has_its_place(routes: list[Any]) -> None:
    headings = "\n".join(re.findall(r"^#### (.*)$", HTTP, re.MULTILINE))
    for route in routes:
        path = re.sub(r":\w+}", "}", route.path)
        assert [method for method in route.methods - {"HEAD"} if f"`{method} {path}`" not in headings] == [], path


def test_a_field_stands_with_type_default_and_range() -> None:
    table = {cells[0]: cells[1:4] for cells in rows(section(HTTP, "`fal-ai/ltx23-trainer-v2/t2a`"))}

    assert table["`number_of_steps`"] == ["integer", "`2000`", "100 to 20,000"]
    assert table["`rank`"][0] == "`8` or `16` or `32` or `64` or `128`"
    assert table["`training_data_url`"][1] == "required"
    assert table["`validation.prompt`"][:2] == ["string", "required"]
    other = {cells[0] for cells in rows(section(HTTP, "`fal-ai/ltx23-trainer-v2/audio-extend-prefix`"))}
    assert "`conditioning_seconds`" in other
    assert "`number_of_steps`" not in other


def test_a_route_stands_with_its_parameters_and_answers() -> None:
    runs = section(HTTP, "`GET /v1/runs`")

    assert ["`limit`", "integer", "`30`", "1 to 100", ""] in rows(runs)
    assert "- **429**: The queue is full." in section(HTTP, "`POST /fal-ai/{path}`")


# ----------------------------------------------------------------------------------------------------------------------
# the built site


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link to nowhere would be an error."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="scripts/setup docs installs what builds the site")
    out = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, str(ROOT / "scripts" / "docs_site" / "build.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    return out


def test_the_site_is_built_without_a_warning_and_has_all_pages_and_sounds(built: Path) -> None:
    pages = {str(site_pages.site_path(source)) for source in site_pages.sources()} | set(site_pages.REFERENCES)
    missing = [page for page in pages if not (built / page.replace(".md", ".html")).is_file()]
    heard = re.findall(r'<audio [^>]*src="([^"]+)"', (built / "nano.html").read_text(encoding="utf-8"))

    assert missing == []
    assert 'role="heading">' not in (built / "nano.html").read_text(encoding="utf-8")
    assert len(heard) == 9
    assert all((built / address).is_file() for address in heard)


def test_the_site_loads_nothing_from_elsewhere(built: Path) -> None:
    files = [path for path in built.rglob("*") if path.suffix in (".html", ".css")]
    found = {
        f"{path.relative_to(built)}: {match}"
        for path in files
        for match in _OUTSIDE.findall(path.read_text(encoding="utf-8"))
    }

    assert len(files) > 30
    assert found == set()


def test_what_comes_from_elsewhere_is_found() -> None:
    text = '<script src="https://a.example/x.js"></script><link rel="a" href="//b.example/x.css"> @import "https://c.example"'
    assert len(_OUTSIDE.findall(text)) == 3
    assert _OUTSIDE.findall('<a href="https://a.example">a</a><img src="x.png">') == []
