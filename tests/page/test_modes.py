"""The five things that a LoRA can learn, on the Train screen and, of a sound that is given, on the Try screen."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal

import pytest
from browsing import Visit
from example_zip import CLIPS
from playwright.sync_api import Request, expect

ENDPOINTS = {
    "Text to audio": "t2a",
    "Go on from a start": "audio-extend-prefix",
    "Lead into an end": "audio-extend-suffix",
    "Mend spans": "audio-inpaint",
    "Turn one sound into another": "a2a",
}


def choose(visit: Visit, title: str) -> None:
    visit.page.get_by_role("group", name=re.compile("What should it learn")).get_by_text(title, exact=True).click()
    expect(visit.page.get_by_role("radio", name=title)).to_be_checked()


def bring(visit: Visit, folder: Path, **clips: str) -> None:
    """Drop example clips under other names."""
    paths = []
    for name, clip in clips.items():
        source = next(path for path in CLIPS.glob(f"{clip}.*") if path.suffix != ".txt")
        paths.append(shutil.copy(source, folder / f"{name}{source.suffix}"))
    visit.page.get_by_label("Zip or audio files").set_input_files(paths)


def body(call: Request) -> dict[str, Any]:
    sent = call.post_data_json
    assert isinstance(sent, dict)
    return sent


def uploads(visit: Visit) -> list[Request]:
    sent: list[Request] = []
    visit.page.on("request", lambda call: sent.append(call) if "/storage/upload" in call.url else None)
    return sent


def test_the_choice_picks_the_endpoint_with_its_fields_price_and_code(visit: Visit) -> None:
    page = visit.page
    visit.go()
    expect(page.get_by_text("0.0022 × steps")).to_be_visible()
    expect(page.get_by_label("Seconds that are given")).to_have_count(0)
    page.get_by_label("Trigger phrase").fill("zapgun")
    page.get_by_role("radio", name="Text to audio").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Lead into an end")).to_be_checked()
    expect(page.get_by_text("0.0023 × steps")).to_be_visible()
    expect(page.get_by_label("Trigger phrase")).to_have_value("zapgun")
    page.get_by_label("Seconds that are given").fill("5")
    expect(page.get_by_text("It must be less than the clip length, 5 s.")).to_be_visible()
    page.get_by_label("Seconds that are given").fill("0")
    expect(page.get_by_text("It must be more than 0 and at most 60.")).to_be_visible()
    page.get_by_label("Seconds that are given").fill("1.5")
    page.get_by_role("button", name="Code").click()
    page.get_by_role("button", name="cURL").click()
    code = page.get_by_label("Code", exact=True)
    expect(code).to_contain_text('"conditioning_seconds": 1.5')
    for title, name in ENDPOINTS.items():
        choose(visit, title)
        expect(code).to_contain_text(f"fal-ai/ltx23-trainer-v2/{name} ")
    expect(code).not_to_contain_text("conditioning_seconds")
    # The choice and what was written stay while another screen is shown.
    choose(visit, "Go on from a start")
    visit.go("history")
    expect(page.get_by_role("heading", name="History", level=1)).to_be_visible()
    visit.go("train")
    expect(page.get_by_role("radio", name="Go on from a start")).to_be_checked()
    expect(page.get_by_label("Seconds that are given")).to_have_value("1.5")


@pytest.mark.parametrize("look", ["light", "dark"])
def test_the_choice_is_accessible_and_fits_a_phone(visit: Visit, look: Literal["light", "dark"]) -> None:
    visit.page.emulate_media(color_scheme=look)
    visit.go()
    expect(visit.page.get_by_label("Trigger phrase")).to_be_visible()
    for width in (1280, 360):
        visit.page.set_viewport_size({"width": width, "height": 740})
        for title in ("Mend spans", "Turn one sound into another"):
            choose(visit, title)
            assert visit.violations() == []
            assert visit.overflow() <= 0


def test_a_missing_half_is_named_before_anything_is_sent(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    sent = uploads(visit)
    visit.go()
    choose(visit, "Turn one sound into another")
    bring(visit, tmp_path, rain_start="zap_01", rain_end="zap_07", hail_end="zap_07")
    expect(page.get_by_text("a sound lacks the other half")).to_be_visible()
    expect(page.get_by_label("What is missing")).to_have_text("hail_end.wav has no hail_start beside it.")
    expect(page.get_by_text("rain_start.wav → rain_end.wav")).to_be_visible()
    expect(visit.button("Start training")).to_be_disabled()
    assert sent == []
    assert visit.violations() == []
    # In another mode nothing is missing.
    choose(visit, "Text to audio")
    expect(page.get_by_text("3 of 3 clips will be trained on")).to_be_visible()
    assert sent


def test_pairs_are_reported_as_pairs(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    choose(visit, "Turn one sound into another")
    bring(visit, tmp_path, rain_start="zap_01", rain_end="zap_07", dog_start="zap_07", dog_end="zap_01")
    expect(page.get_by_text("2 of 2 clips will be trained on")).to_be_visible()
    expect(page.get_by_text("dog_start.wav → dog_end.wav")).to_be_visible()
    expect(page.get_by_label("Caption of rain_end.wav")).to_be_visible()
    expect(page.get_by_label("Caption of rain_start.wav")).to_have_count(0)


def test_spans_are_drawn_and_packed_as_masks(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    sent = uploads(visit)
    visit.go()
    choose(visit, "Mend spans")
    bring(visit, tmp_path, rain="zap_01", hail="zap_07")
    expect(page.get_by_text("2 clips without a span yet")).to_be_visible()
    expect(visit.button("Upload and check")).to_be_disabled()
    # By hand: from a quarter to half of the clip.
    wave = page.get_by_role("slider", name="Position in rain.wav")
    expect(wave).to_have_attribute("aria-valuemax", re.compile("[1-9]"))
    wave.scroll_into_view_if_needed()
    seconds = float(wave.get_attribute("aria-valuemax") or 0)
    box = wave.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10, steps=4)
    page.mouse.up()
    start = float(page.get_by_label("Start of span 1 of rain.wav").input_value())
    end = float(page.get_by_label("End of span 1 of rain.wav").input_value())
    assert start == pytest.approx(seconds / 4, abs=0.1)
    assert end == pytest.approx(seconds / 2, abs=0.1)
    # By keyboard.
    page.get_by_role("button", name="Add a span to hail.wav").press("Enter")
    page.get_by_label("End of span 1 of hail.wav").fill("0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It must end after it starts.")).to_be_visible()
    page.get_by_label("End of span 1 of hail.wav").fill("2,25")
    page.get_by_label("Start of span 1 of hail.wav").fill("0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It must end after it starts.")).to_have_count(0)
    expect(page.get_by_text("Every clip has its spans.")).to_be_visible()
    assert sent == []
    assert visit.violations() == []

    with page.expect_request(lambda call: call.url.endswith("/v1/datasets/inspect")) as checked:
        visit.button("Upload and check").click()
    asked = body(checked.value)
    assert asked["mode"] == "inpaint"
    with zipfile.ZipFile(io.BytesIO(page.request.get(asked["training_data_url"]).body())) as archive:
        assert json.loads(archive.read("rain_mask.json")) == [[start, end]]
        assert json.loads(archive.read("hail_mask.json")) == [[0.5, 2.25]]
    expect(page.get_by_text("2 of 2 clips will be trained on")).to_be_visible()
    # A clip without spans is refused again.
    page.get_by_role("button", name="Remove span 1 of hail.wav").click()
    expect(page.get_by_text("spans changed, uploaded again at the start")).to_be_visible()
    expect(page.get_by_text("Mark what is to be mended first.")).to_be_visible()


def test_a_preview_takes_a_sound_and_spans(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    choose(visit, "Mend spans")
    visit.button("Start with example sounds").click()
    for number in range(1, 11):
        page.get_by_role("button", name=f"Add a span to zap_{number:02}.wav").click()
    visit.button("Upload and check").click()
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    page.locator("#field-number_of_steps").fill("100")
    page.get_by_label("Preview prompts 1").fill("zapgun slow laser zaps")
    expect(page.get_by_text("Each prompt needs a sound.")).to_be_visible()
    expect(visit.button("Start training")).to_be_disabled()
    page.get_by_label("Sound of prompt 1").set_input_files(CLIPS / "zap_01.wav")
    expect(page.get_by_text("Each sound needs a span that is made anew.")).to_be_visible()
    settings = page.get_by_role("region", name="Settings")
    settings.get_by_role("button", name="Add a span").click()
    expect(settings.get_by_label("End of span 1")).to_be_visible()
    assert visit.violations() == []
    with page.expect_request(lambda call: call.url.endswith("/audio-inpaint")) as posted:
        visit.button("Start training").click()
    (entry,) = body(posted.value)["validation"]
    assert sorted(entry) == ["audio_url", "prompt", "spans"]
    assert entry["audio_url"].endswith("zap_01.wav")
    page.wait_for_url("**/#/run/*")
    expect(page.get_by_text("Training · Mend spans")).to_be_visible()
    # The base's own preview is made of the sound.
    expect(page.get_by_role("region", name="All previews")).to_be_visible(timeout=120_000)
    visit.button("Cancel").click()
    expect(page.get_by_text("This run was cancelled")).to_be_visible()
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_role("radio", name="Mend spans")).to_be_checked()
    expect(page.get_by_label("Preview prompts 1")).to_have_value("zapgun slow laser zaps")
    expect(settings.get_by_label("End of span 1")).to_be_visible()


def test_a_sound_is_gone_on_from_and_mended(visit: Visit) -> None:
    page = visit.page
    visit.go("try")
    page.get_by_label("Prompt", exact=True).fill("slow laser zaps")
    expect(page.get_by_role("slider", name="Length")).to_be_visible()
    page.get_by_label("Sound to begin with").set_input_files(CLIPS / "zap_01.wav")
    becomes = page.get_by_label("What becomes of it")
    expect(becomes).to_have_value("extend-prefix")
    expect(page.get_by_role("slider", name="Length")).to_have_count(0)
    page.get_by_label("Seconds added").fill("2")
    assert visit.violations() == []
    with page.expect_request(lambda call: call.url.endswith("/text-to-audio")) as posted:
        visit.button("Generate").click()
    asked = body(posted.value)
    assert (asked["audio_mode"], asked["added_seconds"], "num_frames" in asked) == ("extend-prefix", 2, False)
    expect(page.get_by_role("link", name="Save")).to_have_count(1, timeout=120_000)

    becomes.select_option("inpaint")
    visit.button("Generate").click()
    expect(page.get_by_text("Mark at least one span that is mended.")).to_be_visible()
    page.get_by_role("button", name="Add a span").click()
    visit.button("Generate").click()
    expect(page.get_by_role("link", name="Save")).to_have_count(2, timeout=120_000)
    expect(page.get_by_text("seed 1 · Its spans are mended")).to_be_visible()
    assert visit.violations() == []
