"""docs/server.md has every route of the server, and the pages name none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from documentation import PAGES, page, rows, section, spans
from support import routes_of

from soundlora.server.http.app import create_app
from soundlora.server.http.middleware import PROXY_PATH
from soundlora.server.settings import Settings

_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")
_NAMED = re.compile(rf"(?:({'|'.join(_METHODS)}) )?(/[^\s?]*)(\?\S*)?")


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Every route, those of included routers as their own."""
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")), executor=False)
    app.state.service.database.close()

    return routes_of(app)


def documented(text: str) -> set[tuple[str, str]]:
    """(method, path) of the rows "`GET /health` | …"; several routes of one purpose share a row."""
    found = set()
    for cells in rows(text):
        for span in re.findall(r"`([^`]+)`", cells[0]):
            method, path = span.split()
            found.add((method, path))
    return found


def test_the_table_has_every_route_and_no_other(routes: list[Any]) -> None:
    # A HEAD is a GET without its body.
    expected = {
        (method, re.sub(r":\w+}", "}", route.path)) for route in routes for method in route.methods - {"HEAD"}
    } | {(method, PROXY_PATH) for method in ("GET", "POST", "PUT")}

    assert documented(section(page("server.md"), "All routes")) == expected


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_address_that_a_page_names_is_answered(path: Path, routes: list[Any]) -> None:
    assert unanswered(path.read_text(encoding="utf-8"), routes) == []


def unanswered(text: str, routes: list[Any]) -> list[str]:
    """Addresses in code that no route answers; without a method, those that begin as one of the routes does."""
    first = {route.path.split("/")[1] for route in routes} - {""}
    found = []
    for span in spans(text):
        match = _NAMED.fullmatch(span)
        if match is None or (match[1] is None and match[2].split("/")[1] not in first):
            continue
        address = re.sub(r"{(\w+)}", r"\1", match[2])
        methods = {method for route in routes if route.path_regex.fullmatch(address) for method in route.methods}
        if address == PROXY_PATH:
            methods = {"GET", "POST", "PUT"}
        if match[1] is None:
            below = any(route.path.startswith(address.rstrip("/") + "/") for route in routes)
            good = bool(methods) or below
        else:
            good = match[1] in methods
        if not good:
            found.append(span)
    return found


def test_addresses_without_a_route_are_found(routes: list[Any]) -> None:
    text = (
        "`/v1`, `GET /v1/models`, `POST /v1/models`, `/v1/nothing`, `GET /helth`, "
        "`/etc/soundlora.env`, `GET /v1/runs?limit=1`"
    )
    assert unanswered(text, routes) == ["POST /v1/models", "/v1/nothing", "GET /helth"]
