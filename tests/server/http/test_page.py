"""The page as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from soundlora.server.http import page


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(page, "DIST", tmp_path)
    return tmp_path


def test_a_page_that_was_not_built_says_how_to_have_it(client: TestClient, dist: Path) -> None:
    answer = client.get("/")
    assert (answer.status_code, page.is_built()) == (404, False)
    assert "Install again" in answer.text


def test_the_page_may_load_nothing_from_elsewhere(client: TestClient, dist: Path) -> None:
    (dist / "index.html").write_text("<title>soundlora</title>")
    (dist / "assets").mkdir()
    (dist / "assets" / "a-1.js").write_text("1")
    (dist / "secret.txt").write_text("x")
    first = client.get("/")
    assert first.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert first.headers["Cache-Control"] == "no-cache"
    script = client.get("/assets/a-1.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in script.headers["Cache-Control"]
    for path in ("/assets/b.js", "/assets/..%2Fsecret.txt", "/assets/..%2Findex.html"):
        assert client.get(path).status_code == 404
