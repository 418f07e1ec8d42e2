"""Grids: that of the Try screen, and the page that `soundlora grid` writes, which opens from the disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import AXE, Visit
from playwright.sync_api import Browser, Page, expect

from soundlora.audio.spectrogram import side_by_side
from soundlora.audio.wav import write_wav
from soundlora.pipeline.grid_axes import axis_of
from soundlora.pipeline.grid_page import grid_page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two prompts by three seeds, of which the last sound is not made yet."""
    rows, columns = axis_of("rows", {"prompt": ["rain & wind", "a gate"]}), axis_of("columns", {"seed": [1, 2, 3]})
    assert rows is not None
    assert columns is not None
    entries: list[dict[str, Any]] = []
    for number in range(6):
        samples = torch.sin(torch.arange(48_000) * (0.02 + 0.01 * number))[None].repeat(2, 1)
        write_wav(tmp_path / f"{number}.wav", samples, 48_000)
        (tmp_path / f"{number}.png").write_bytes(side_by_side([(np.asarray(samples), 48_000)]))
        row, column = divmod(number, 3)
        labels = [rows.labels[row], columns.labels[column]]
        entries.append({"row": row, "column": column, "labels": labels, "seconds": None if number == 5 else 1.0})
        entries[-1] |= {"sound": f"{number}.wav", "picture": f"{number}.png"}
    page = grid_page(rows, columns, entries, {"uses": ["kit:0.5"], "duration": 1.0})
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    return tmp_path


def focused(page: Page) -> str | None:
    found: str | None = page.evaluate("document.activeElement.getAttribute('aria-label')")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_written_page_plays_by_keys_from_the_disk(browser: Browser, folder: Path, scheme: Any) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme=scheme)
    errors: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(folder.joinpath("index.html").as_uri())
    page.get_by_role("button", name="prompt rain & wind, seed 1, 1.00 s").focus()
    playing = page.locator("button.playing")
    expect(playing).to_have_count(0)
    for key, place in [
        ("ArrowRight", "prompt rain & wind, seed 2, 1.00 s"),
        ("ArrowDown", "prompt a gate, seed 2, 1.00 s"),
        ("ArrowRight", "prompt a gate, seed 2, 1.00 s"),  # what is not made is no place to go to
        ("Home", "prompt a gate, seed 1, 1.00 s"),
        ("PageUp", "prompt rain & wind, seed 1, 1.00 s"),
        ("End", "prompt rain & wind, seed 3, 1.00 s"),
    ]:
        page.keyboard.press(key)
        assert focused(page) == place
    expect(playing).to_have_attribute("data-sound", "2.wav")
    page.keyboard.press(" ")
    expect(playing).to_have_count(0)
    page.keyboard.press("Enter")
    expect(playing).to_have_attribute("data-sound", "2.wav")
    expect(playing).to_have_count(0)  # it has come to its end
    assert page.get_by_role("status").text_content() == ""
    assert page.locator("button[tabindex='0']").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    expect(page.get_by_text("5 of 6 are made so far")).to_be_visible()
    if AXE.exists():
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]] == []
    assert errors == []
    assert all(url.startswith(("file:", "blob:")) for url in requests)
    page.close()


def test_a_sound_that_is_gone_is_told_of(browser: Browser, folder: Path) -> None:
    (folder / "0.wav").unlink()
    page = browser.new_page()
    page.goto(folder.joinpath("index.html").as_uri())
    page.get_by_role("button", name="prompt rain & wind, seed 1, 1.00 s").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("can’t be played: 0.wav"))
    page.close()


def test_a_grid_is_made_and_heard_on_the_try_screen(visit: Visit) -> None:
    page = visit.page
    visit.go("try")
    page.get_by_role("slider", name="Length").fill("1")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps", exact=True).fill("8")
    visit.button("Try a grid").click()
    expect(page.get_by_role("status").filter(has_text="A prompt is needed.")).to_be_visible()
    page.get_by_label("Rows: prompts").fill("rain\na gate")
    page.get_by_label("Columns: values").fill("1-2")
    visit.button("Generate 4 sounds").click()
    cells = page.get_by_role("gridcell")
    expect(cells).to_have_count(4)
    expect(page.get_by_role("gridcell", name="a gate, 2", exact=True)).to_be_visible(timeout=240_000)
    cells.nth(0).focus()
    heard = page.locator("td.heard")
    for key, place in [
        ("ArrowRight", "rain, 2"),
        ("ArrowDown", "a gate, 2"),
        ("ArrowDown", "a gate, 2"),
        ("Home", "a gate, 1"),
    ]:
        page.keyboard.press(key)
        assert focused(page) == place
    expect(heard).to_have_attribute("aria-label", "a gate, 1")
    page.keyboard.press(" ")
    expect(heard).to_have_count(0)
    assert visit.violations() == []
    page.set_viewport_size({"width": 360, "height": 700})
    assert visit.overflow() == 0
    visit.button("Close").click()
    visit.go("settings")
    visit.go("try")
    visit.button("Try a grid").click()
    expect(page.get_by_role("gridcell", name="a gate, 2", exact=True)).to_be_visible()
    expect(page.get_by_label("Columns: values")).to_have_value("1-2")


def test_cells_are_one_request_each_and_the_rest_is_stopped(visit: Visit) -> None:
    page, sent, cancelled = visit.page, list[Any](), list[str]()

    def answer(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(body=json.dumps({"request_id": f"r{len(sent)}"}))

    def stop(route: Any) -> None:
        cancelled.append(route.request.url)
        route.fulfill(body="{}")

    page.route("**/fal-ai/ltx-2.3-quality/text-to-audio", answer)
    page.route("**/v1/runs/*/events?*", lambda route: None)  # nothing has happened yet
    page.route("**/cancel", stop)
    visit.go("try")
    page.get_by_label("Prompt", exact=True).fill("rain")
    visit.button("Try a grid").click()
    page.get_by_label("Rows", exact=True).select_option("steps")
    page.get_by_label("Columns", exact=True).select_option("guidance")
    visit.button("Generate 9 sounds").click()
    expect(page.get_by_text("0 of 9 are there")).to_be_visible()
    while len(sent) < 9:
        page.wait_for_timeout(50)
    assert [(each["num_inference_steps"], each["guidance_scale"]) for each in sent] == [
        (steps, guidance) for steps in (8, 15, 30) for guidance in (1, 4, 7)
    ]
    assert {each["seed"] for each in sent} == {1}
    visit.button("Stop").click()
    while len(cancelled) < 9:
        page.wait_for_timeout(50)
    assert sorted(url.split("/")[-2] for url in cancelled) == [f"r{number}" for number in range(1, 10)]
