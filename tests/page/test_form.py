"""The form and the report, before anything is trained."""

from __future__ import annotations

import json
import re
import wave
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from browsing import Visit
from playwright.sync_api import Route, expect


def test_a_bad_zip_is_told_in_words(visit: Visit, tmp_path: Path) -> None:
    bad = tmp_path / "broken.zip"
    bad.write_bytes(b"PK\3\4 and then nothing that could be read")
    visit.go()
    visit.drop(bad)
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text("These data can’t be used yet")
    expect(alert).to_contain_text("Make the zip again")
    expect(visit.button("Try again")).to_be_visible()
    # It is called as it was dropped, not as the server calls its copy.
    expect(alert).not_to_contain_text("training_data")
    assert visit.violations() == []


def test_a_bucket_too_long_for_every_clip_can_not_be_started(visit: Visit, clips: Path) -> None:
    visit.go()
    visit.drop(clips)
    slider = visit.page.get_by_role("slider", name="Clip length")
    slider.focus()
    slider.press("End")
    expect(visit.page.get_by_text("0 of 4 clips long enough")).to_be_visible()
    expect(visit.page.get_by_text("Skipped", exact=True).first).to_be_visible()
    expect(visit.page.get_by_text("Training would refuse this")).to_be_visible()
    expect(visit.button("Start training")).to_be_disabled()
    visit.page.get_by_role("button", name="most clips").click()
    expect(visit.page.get_by_text("4 of 4 clips will be trained on")).to_be_visible()
    expect(visit.button("Start training")).to_be_enabled()


def test_clips_that_are_dropped_before_the_form_is_there_are_used(visit: Visit, clips: Path) -> None:
    forms: list[Route] = []
    uploads: list[Route] = []
    visit.page.route("**/openapi.json*", lambda route: forms.append(route))
    visit.page.route("**/storage/upload/**", lambda route: uploads.append(route), times=1)
    visit.go()
    visit.drop(clips)
    while not (forms and uploads):
        visit.page.wait_for_timeout(20)
    forms[0].continue_()
    expect(visit.page.get_by_label("Trigger phrase")).to_be_visible()
    uploads[0].continue_()
    expect(visit.page.get_by_text("4 of 4 clips will be trained on")).to_be_visible()


def test_form_and_json_are_two_views_of_one_request(visit: Visit, clips: Path) -> None:
    page = visit.page
    visit.go()
    visit.drop(clips)
    steps = page.locator("#field-number_of_steps")
    steps.fill("50")
    expect(page.get_by_text("It must be from 100 to 20,000.")).to_be_visible()
    expect(page.get_by_text("Mend Steps first.")).to_be_visible()
    steps.fill("250")
    page.get_by_role("button", name="JSON").click()
    box = page.get_by_label("Request as JSON")
    request = json.loads(box.input_value())
    assert request["number_of_steps"] == 250
    box.fill("{")
    expect(page.get_by_text("This is not JSON yet")).to_be_visible()
    box.fill(json.dumps(request | {"rank": 64, "frame_rate": 30}))
    page.get_by_role("button", name="Code").click()
    expect(page.get_by_label("Code", exact=True)).to_contain_text('"rank": 64')
    page.get_by_role("button", name="cURL").click()
    expect(page.get_by_label("Code", exact=True)).to_contain_text('"frame_rate": 30')
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("64")).to_be_checked()
    expect(page.get_by_text("without a field here: frame_rate")).to_be_visible()


def test_a_changed_caption_is_what_is_uploaded(visit: Visit) -> None:
    page = visit.page
    visit.go()
    visit.button("Start with example sounds").click()
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    page.get_by_label("Caption of zap_01.wav").fill("a very small dog")
    expect(page.get_by_text("captions changed")).to_be_visible()
    page.locator("#field-number_of_steps").fill("100")
    with page.expect_request(lambda call: call.url.endswith("/v1/datasets/inspect")) as checked:
        visit.button("Start training").click()
    answer = checked.value.response()
    assert answer is not None
    report = answer.json()
    assert "a very small dog" in report["clips"][0]["caption"]
    page.wait_for_url("**/#/run/*")
    visit.button("Cancel").click()
    expect(page.get_by_text("This run was cancelled")).to_be_visible()


def test_what_the_base_decides_is_neither_shown_as_set_nor_sent(visit: Visit) -> None:
    page = visit.page
    visit.go()
    page.get_by_text("Additional settings").click()
    scale = page.get_by_label("STG scale")
    for field in (scale, page.get_by_label("Negative prompt for previews")):
        expect(field).to_have_value("")
        expect(field).to_have_attribute("placeholder", "the base’s own")
    page.get_by_role("button", name="JSON").click()
    assert (
        not {"stg_scale", "validation_negative_prompt"}
        & json.loads(page.get_by_label("Request as JSON").input_value()).keys()
    )
    # What is the schema's default is sent where somebody wants it.
    page.get_by_role("button", name="Form").click()
    page.get_by_text("Additional settings").click()
    scale.fill("1")
    page.get_by_role("button", name="JSON").click()
    assert json.loads(page.get_by_label("Request as JSON").input_value())["stg_scale"] == 1


def test_price_and_time_are_those_of_this_machine(visit: Visit) -> None:
    page = visit.page
    nano = {"name": "nano", "milliseconds_per_step": 30, "milliseconds_per_preview": 2000}
    page.route("**/v1/machine", lambda route: route.fulfill(body=json.dumps({"base": "nano", "bases": [nano]})))
    visit.go()
    start = page.get_by_label("Start", exact=True)
    for words in ("Free on your machine", "hosted: 0.0022 × steps; with 2,000 steps: $4.40"):
        expect(start).to_contain_text(words)
    # 8 s until the first step, 60 s of steps; 10 s a prompt.
    expect(start).to_contain_text("about 1:08 min")
    page.get_by_label("Preview prompts 1").fill("a dog")
    expect(start).to_contain_text("about 1:18 min")
    page.get_by_role("button", name="JSON").click()
    box = page.get_by_label("Request as JSON")
    request = json.loads(box.input_value())
    for seconds, words in ((0.5, "about 1:18 min"), (10, "about 2:28 min")):
        box.fill(json.dumps(request | {"audio_duration_seconds": seconds}))
        expect(start).to_contain_text(words)


def test_windows_of_a_long_recording_say_where_they_begin(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 17 * 8000)
    with wave.open(str(tmp_path / "rain.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((noise * 32767).astype("<i2").tobytes())
    visit.go()
    visit.drop(tmp_path / "rain.wav")
    status, advice = page.get_by_text(re.compile("clips? will be trained on ·")), page.get_by_label("Advice")
    expect(status).to_have_text("1 of 1 clip will be trained on · 5 s of 17 s of sound")
    expect(advice).to_contain_text("windows all takes all that fits")
    expect(advice).not_to_contain_text("--")
    page.get_by_text("Additional settings").click()
    page.get_by_role("group", name="Windows").get_by_text("all", exact=True).click()
    expect(status).to_have_text("3 of 3 clips will be trained on · 15 s of 17 s of sound")
    for words in ("From 5 s on, of the recording above", "From 10 s on, of the recording above"):
        expect(page.get_by_text(words)).to_be_visible()
    expect(page.get_by_text("3 clips of 1 recording · 15 s of sound")).to_be_visible()
    expect(page.get_by_role("button", name="Cut rain.wav")).to_have_count(0)
    visit.check_looks()


def test_a_long_and_a_very_short_clip_are_drawn_within_their_card(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    random = np.random.default_rng(0)
    for name, seconds in (("long.wav", 720), ("hit.wav", 0.45)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((random.uniform(-0.3, 0.3, round(seconds * 8000)) * 32767).astype("<i2").tobytes())
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files([tmp_path / "long.wav", tmp_path / "hit.wav"])
    expect(page.get_by_text("1 of 2 clips will be trained on")).to_be_visible()
    expect(page.get_by_text("hit.wav · 0.45 s")).to_be_visible()
    for name in ("long.wav", "hit.wav"):
        wide = page.get_by_role("listitem").filter(has_text=name).locator("canvas").first
        wide.scroll_into_view_if_needed()
        drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
        expect(page.get_by_role("slider", name=f"Position in {name}")).not_to_have_attribute("aria-valuemax", "0")
        page.wait_for_timeout(300)
        assert wide.evaluate(drawn), name
    card = page.get_by_role("region", name="Data set").bounding_box()
    assert card is not None
    for bar in page.get_by_role("slider", name="Clip length").locator("xpath=..").locator("span").all():
        box = bar.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= card["x"] + card["width"]
    visit.check_looks()


@pytest.mark.parametrize("look", ["light", "dark"])
def test_every_screen_is_accessible_and_fits_a_phone(visit: Visit, look: Literal["light", "dark"]) -> None:
    visit.page.emulate_media(color_scheme=look)
    visit.page.set_viewport_size({"width": 360, "height": 740})
    for screen, heading in (("train", "Teach"), ("try", "Try"), ("history", "History"), ("settings", "Settings")):
        visit.go(screen)
        expect(visit.page.get_by_role("heading", name=heading, level=1)).to_be_visible()
        if screen == "train":
            expect(visit.page.get_by_label("Trigger phrase")).to_be_visible()
        assert visit.violations() == []
        assert visit.overflow() <= 0


@pytest.mark.parametrize("screen", ["train", "try", "history", "settings"])
def test_a_screen_is_accessible_while_it_waits_for_its_answers(visit: Visit, screen: str) -> None:
    visit.page.route(lambda url: "/v1/" in url or "/api/" in url, lambda route: None)  # none ever comes
    visit.go(screen)
    expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    assert visit.violations() == []
