"""What the server serves to browsers loads nothing from elsewhere."""

from __future__ import annotations

import re

from fastapi import FastAPI
from fastapi.testclient import TestClient
from support import routes_of

from soundlora.server.http.page import DIST

# What makes a browser fetch something; namespaces and links that a person may follow do not.
_LOADS = re.compile(
    r"""(?:\bsrc|\bhref|\baction|\bposter)\s*=\s*["']?\s*((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(\s*["']?((?:https?:)?//[^)"']+)"""
    r"""|(?:import|importScripts|fetch|EventSource|WebSocket)\s*\(?\s*["'`]((?:https?:|wss?:)?//[^"'`]+)""",
    re.I,
)
_LINK = re.compile(r"<a\b[^>]*>", re.I)


def loads(text: str) -> list[str]:
    """Addresses on other hosts that a page, a style or a script would fetch."""
    return [next(filter(None, found)) for found in _LOADS.findall(_LINK.sub("", text))]


def test_the_pattern_sees_what_browsers_would_fetch() -> None:
    assert loads('<script src="https://cdn.example/a.js"></script>') == ["https://cdn.example/a.js"]
    assert loads("<link rel=stylesheet href=//cdn.example/a.css>") == ["//cdn.example/a.css"]
    assert loads("a{background:url(https://cdn.example/a.png)}") == ["https://cdn.example/a.png"]
    assert loads('import "https://cdn.example/a.js"; fetch("https://api.example")') == [
        "https://cdn.example/a.js",
        "https://api.example",
    ]
    assert loads('<a href="https://docs.example">read</a><img src="/icon.svg">') == []


def test_no_route_names_another_host(app: FastAPI, client: TestClient) -> None:
    asked = []
    for route in routes_of(app):
        if "GET" in route.methods and "{" not in route.path:
            answer = client.get(route.path)
            asked.append(route.path)
            assert loads(answer.text) == [], route.path
    assert {"/health", "/metrics", "/openapi.json"} <= set(asked)
    assert not {"/docs", "/redoc"} & set(asked)
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_no_file_of_the_page_names_another_host() -> None:
    files = [path for path in DIST.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg")]
    assert files
    assert {path.name: loads(path.read_text()) for path in files if loads(path.read_text())} == {}
