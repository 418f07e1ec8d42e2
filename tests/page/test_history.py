"""The history: what each row says, and that the rows are one table."""

from __future__ import annotations

from pathlib import Path

from browsing import Visit
from made_up_runs import LIVE, SOUND, know, made_up
from playwright.sync_api import expect


def test_rows_say_how_far_they_are_and_what_a_sound_was_made_with(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    loras = [{"path": "/files/aaaaaaaa/zapgun-300.safetensors", "scale": 0.5}]
    made = SOUND | {"input": {"prompt": "slow zaps", "seed": 7, "loras": loras}}
    know(page, tmp_path, made_up("aaaaaaaa"), made_up("bbbbbbbb", **LIVE), made_up("cccccccc", **made))
    visit.go("history")
    expect(page.get_by_text("Training 50 %", exact=True)).to_be_visible()
    expect(page.get_by_text("zapgun-300.safetensors at 0.5 · seed 7", exact=True)).to_be_visible()
    # The states are under each other, however many buttons a row has.
    places = page.locator("p.state").evaluate_all("states => states.map((one) => one.getBoundingClientRect().x)")
    assert len(places) == 3
    assert len(set(places)) == 1
    visit.check_looks()
    page.unroute_all(behavior="ignoreErrors")
