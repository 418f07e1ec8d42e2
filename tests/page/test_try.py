"""The Try screen, with runs that are made up."""

from __future__ import annotations

import json

from browsing import Visit
from playwright.sync_api import Page, expect


def finished(page: Page, **lengths: float) -> None:
    """Let the server list finished trainings, each by its trigger phrase and the length of its clips in seconds."""
    runs = [
        {
            "id": trigger,
            "lora": {"url": f"http://127.0.0.1/{trigger}.safetensors"},
            "input": {"trigger_phrase": trigger, "audio_duration_seconds": seconds, "validation": []},
        }
        for trigger, seconds in lengths.items()
    ]
    page.route("**/v1/runs?*", lambda route: route.fulfill(body=json.dumps({"runs": runs, "next": None})))


def test_a_lora_brings_its_trigger_phrase_and_the_length_of_its_clips(visit: Visit) -> None:
    page = visit.page
    finished(page, drip=0.5, gong=12, hum=1.3)
    visit.go("try")
    prompt, length = page.get_by_label("Prompt", exact=True), page.get_by_role("slider", name="Length")
    expect(length).to_have_value("5")
    for trigger, seconds in (("hum", "1.5"), ("gong", "12"), ("drip", "1")):
        prompt.fill("")
        page.get_by_role("checkbox", name=trigger).check()
        expect(prompt).to_have_value(f"{trigger} ")
        expect(length).to_have_value(seconds)
        page.get_by_role("checkbox", name=trigger).uncheck()
    # The second of two changes the length no more.
    page.get_by_role("checkbox", name="gong").check()
    page.get_by_role("checkbox", name="drip").check()
    expect(length).to_have_value("12")
    expect(prompt).to_have_value("gong drip ")
