"""From a zip to a LoRA that is tried, in the browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Server, Visit, fill
from playwright.sync_api import expect

from soundlora.lora.file import read_lora


@pytest.fixture(scope="module")
def server(_page: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It trains nano, as a new one does."""
    server = Server(tmp_path_factory.mktemp("page-of-nano"))
    yield server
    server.stop()


def test_from_a_zip_to_a_lora_that_is_tried(visit: Visit, clips: Path, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    expect(visit.button("Start training")).to_be_disabled()
    visit.drop(clips)
    expect(page.get_by_text("4 of 4 clips will be trained on")).to_be_visible()
    expect(page.get_by_label("Caption of zap_03.ogg")).to_have_value("slow high laser zaps in a large hall")
    fill(visit)
    expect(page.get_by_text("0.0022 × steps; with 100 steps: $0.22")).to_be_visible()
    assert visit.violations() == []
    visit.button("Start training").click()

    page.wait_for_url(re.compile(r"#/run/"))
    run = page.url.rpartition("#")[2]
    expect(page.get_by_role("region", name="All previews")).to_be_visible()
    expect(page.get_by_text("Base", exact=True)).to_be_visible()
    # Nothing depends on this tab: it may be closed and opened again in mid-run.
    page.reload()
    expect(page).to_have_title(re.compile(r"zapgun · soundlora"))
    expect(page.get_by_role("heading", name="Files")).to_be_visible(timeout=120_000)
    expect(page).to_have_title("Done · zapgun · soundlora")
    # Told whole after the reload, and a few points at a time from then on.
    expect(page.get_by_role("img", name=re.compile(r"^Loss from \S+ at step 1 to \S+ at step 100\b"))).to_be_visible()
    expect(page.get_by_role("slider", name=re.compile("Step 100, "))).to_be_visible()
    visit.button("Play in step").click()
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Switch to A")).to_be_visible()
    assert visit.violations() == []

    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict.get_by_text("No clip was kept out")).to_be_visible()
    expect(verdict.get_by_text("show what it learns")).to_be_visible()
    expect(verdict.get_by_role("link")).to_have_count(0)

    page.get_by_text("ComfyUI, diffusers").click()
    expect(page.get_by_text("This LoRA belongs to nano")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("download LoRA")).click()
    saved = tmp_path / "lora.safetensors"
    download.value.save_as(saved)
    assert read_lora(saved).metadata["trigger_phrase"] == "zapgun"

    page.get_by_role("link", name="Try it here").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("zapgun fast laser zaps")
    visit.button("Without and with the LoRA").click()
    expect(page.get_by_role("link", name="Save")).to_have_count(2, timeout=120_000)
    assert visit.violations() == []

    visit.go("history")
    expect(page.locator(f'a[href="#{run}"]')).to_have_text("zapgun")
    page.get_by_label("Search by text or id").fill("nothing like it")
    expect(page.get_by_text("No run matches.")).to_be_visible()
