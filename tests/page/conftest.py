"""Skipped where Chromium, Playwright or the built page is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from soundlora.server.http.page import is_built

pytest.importorskip("playwright.sync_api")

from browsing import Server, Visit
from playwright import sync_api
from support import BaseNames

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def _page() -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is missing (Debian, Ubuntu: apt-get install chromium)")
    if not is_built():
        pytest.skip("the page was not built")


@pytest.fixture(scope="session")
def server(_page: None, quick_base_25: BaseNames, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It trains the quick base, so that a run takes seconds."""
    server = Server(tmp_path_factory.mktemp("page"), quick_base_25.checkpoint)
    yield server
    server.stop()


# Not the session's: while Playwright runs, no other test of the process can run an event loop of its own.
@pytest.fixture(scope="module")
def browser(server: Server) -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=60_000)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: sync_api.Browser, server: Server) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    visit = Visit(context.new_page(), server.url)
    yield visit
    context.close()
    assert visit.errors == []
    assert visit.elsewhere == []


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of four example clips."""
    examples = Path(__file__).parents[2] / "examples" / "clips"
    folder = tmp_path_factory.mktemp("clips") / "zaps"
    folder.mkdir()
    for stem in ("zap_03", "zap_04", "zap_05", "zap_06"):
        for path in examples.glob(f"{stem}.*"):
            shutil.copy(path, folder)
    return Path(shutil.make_archive(str(folder), "zip", folder))
