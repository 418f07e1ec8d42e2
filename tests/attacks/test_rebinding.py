"""Two attacks by pages that somebody has open, in a real browser: a name that comes to lead here, and plain calls.

The server has no keys, as on a laptop. Chromium is told where the attackers' names lead.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from fastapi import FastAPI
from live_server import live

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings

pytest.importorskip("playwright.sync_api")

from playwright import sync_api

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
READ = """
async ([url, headers]) => {
  try {
    const answer = await fetch(url, {headers})
    return {status: answer.status, text: await answer.text()}
  } catch (error) { return {status: 0, text: String(error)} }
}
"""
SUBMIT = """
async (url) => {
  try {
    await fetch(url, {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain'},
                      body: JSON.stringify({training_data_url: 'https://example.com/clips.zip'})})
  } catch (error) { return String(error) }
  return ''
}
"""


class _Page(BaseHTTPRequestHandler):
    """The attacker's own server: an empty page at every address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>attacker</title>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path / "data"), executor=False)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with live(app) as found:
        yield found


@pytest.fixture
def attacker() -> Iterator[str]:
    """Where the attacker's page is."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://attacker.example:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page() -> Iterator[sync_api.Page]:
    if CHROMIUM is None:
        pytest.skip("Chromium is missing (Debian, Ubuntu: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        yield browser.new_page()
        browser.close()


def test_a_page_under_a_rebound_name_reads_nothing(app: FastAPI, url: str, page: sync_api.Page) -> None:
    """Its name leads here now, so the browser takes it for the server's own page, and lets it send any header."""
    port = url.rpartition(":")[2]
    answer = page.goto(f"http://rebound.example:{port}/health")
    assert answer is not None
    assert answer.status == 403
    for headers in (
        {},
        {"X-Forwarded-Host": "localhost"},
        {"X-Forwarded-For": "127.0.0.1", "Forwarded": "host=localhost"},
    ):
        found = page.evaluate(READ, ["/v1/runs", headers])
        assert found["status"] == 403, headers
        assert "runs" not in found["text"].replace("programs", "")
    page.evaluate(SUBMIT, f"/{TRAINING}")
    assert app.state.service.requests.queued() == []


def test_a_page_from_elsewhere_neither_reads_nor_submits(
    app: FastAPI, url: str, attacker: str, page: sync_api.Page
) -> None:
    """It may send what a form could send; nothing comes of it, and it can't read the answer."""
    page.goto(attacker)
    for address in (url, url.replace("127.0.0.1", "localhost")):
        page.evaluate(SUBMIT, f"{address}/{TRAINING}")
        assert page.evaluate(READ, [f"{address}/v1/runs", {}])["status"] == 0
        assert page.evaluate(READ, [f"{address}/v1/runs", {"X-Forwarded-Host": "attacker.example"}])["status"] == 0
    assert app.state.service.requests.queued() == []


def test_the_servers_own_page_does_both(app: FastAPI, url: str, page: sync_api.Page) -> None:
    page.goto(f"{url}/health")
    assert page.evaluate(READ, ["/v1/runs", {}])["status"] == 200
    assert page.evaluate(SUBMIT, f"/{TRAINING}") == ""
    assert len(app.state.service.requests.queued()) == 1
