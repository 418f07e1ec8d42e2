"""Each screen and dialog that a finger or a screen reader meets: axe finds nothing, wide and narrow, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visit
from made_up_runs import CANCELLED, LIVE, SOUND, know, made_up
from playwright.sync_api import expect


@pytest.fixture
def known(visit: Visit, tmp_path: Path) -> Iterator[Visit]:
    """A run that is done, one under way, a sound, and a run that was cancelled."""
    runs = (
        made_up("aaaaaaaa"),
        made_up("bbbbbbbb", **LIVE),
        made_up("cccccccc", **SOUND),
        made_up("dddddddd", **CANCELLED),
    )
    know(visit.page, tmp_path, *runs)
    visit.page.route("**/text-to-audio/lora", lambda route: route.fulfill(json={"request_id": "cccccccc"}))
    yield visit
    visit.page.unroute_all(behavior="ignoreErrors")


def test_a_grid(known: Visit) -> None:
    page = known.page
    known.go("try")
    page.get_by_role("checkbox", name="My a").check()
    known.button("Try a grid").click()
    known.check_looks()
    page.get_by_label("Rows: prompts").fill("rain on a roof and a gate that is never shut\na gate")
    page.get_by_label("Columns: values").fill("0, 0.5, 1, 1.5")
    known.button("Generate 8 sounds").click()
    expect(page.locator("td .picture.ready").first).to_be_visible()
    expect(page.get_by_role("gridcell", name="a gate, 1.5", exact=True)).to_be_attached()
    known.check_looks()
    # On a phone what is wider scrolls within its frame, and the way out stays on the screen.
    frame = page.locator("dialog .frame")
    assert frame.evaluate("box => box.scrollWidth > box.clientWidth")
    assert page.locator("dialog").evaluate("box => box.scrollWidth - box.clientWidth") == 0
    expect(known.button("Close")).to_be_in_viewport()


def test_sounds_with_stars_that_are_compared(known: Visit) -> None:
    page = known.page
    known.go("try")
    page.get_by_role("checkbox", name="My a").check()
    known.button("Without and with the LoRA").click()
    expect(page.get_by_role("link", name="Save")).to_have_count(2)
    expect(page.get_by_role("button", name=re.compile("^Star "))).to_have_count(2)
    page.get_by_text("Compare two of them").click()
    expect(page.locator(".compare canvas")).to_have_count(3)
    known.check_looks()


def test_a_blind_test(known: Visit) -> None:
    page = known.page
    known.go("run/aaaaaaaa")
    expect(page.locator(".compare canvas")).to_have_count(3)
    page.get_by_text("Difference and blind test").click()
    known.check_looks()
    known.button("Begin a blind test").click()
    expect(page.get_by_text("Trial 1 of 10.")).to_be_visible()
    known.check_looks()
    page.keyboard.press("1")
    expect(page.get_by_text("Trial 2 of 10.")).to_be_visible()


@pytest.mark.parametrize(
    ("id", "named"), [("bbbbbbbb", "Stop and keep"), ("dddddddd", "Keep what it learnt"), ("aaaaaaaa", "Train on…")]
)
def test_a_run_that_ends_or_goes_on(known: Visit, id: str, named: str) -> None:
    known.go(f"run/{id}")
    expect(known.button(named)).to_be_visible()
    if id == "aaaaaaaa":
        known.button(named).click()
        expect(known.page.get_by_role("form", name="Train on")).to_be_visible()
    known.check_looks()


def test_favourites_of_which_two_are_picked(known: Visit) -> None:
    page = known.page
    known.go("history")
    page.get_by_role("checkbox", name="Compare My a").check()
    page.get_by_role("checkbox", name="Compare My b").check()
    expect(page.get_by_role("region", name="To compare").get_by_role("link", name="Compare")).to_be_visible()
    known.check_looks()


def test_two_runs_side_by_side(known: Visit) -> None:
    page = known.page
    known.go("compare?runs=aaaaaaaa,bbbbbbbb")
    expect(page.get_by_text("All other settings are the same.")).to_be_visible()
    expect(page.locator(".compare canvas")).to_have_count(3)
    known.check_looks()
