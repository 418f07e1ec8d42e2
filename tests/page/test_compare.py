"""Comparing by ear on a run's screen and on the Try screen, with a real run and its clips."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from typing import Any

import pytest
from browsing import Server, Visit
from example_zip import some_clips
from playwright.sync_api import Locator, expect

ENDPOINT = "fal-ai/ltx23-trainer-v2/t2a"
STARTS = """
window.started = []
const start = AudioBufferSourceNode.prototype.start
AudioBufferSourceNode.prototype.start = function (when, offset) {
  const { loop, loopStart, loopEnd } = this
  window.started.push({ when, offset, loop, loopStart, loopEnd, seconds: this.buffer.duration })
  return start.call(this, when, offset)
}
"""
NO_OUTPUT = """
AudioContext.prototype.resume = () => new Promise(() => {})
Object.defineProperty(AudioContext.prototype, 'state', { get: () => 'suspended' })
"""


def call(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, data, headers, method=method)) as answer:
        return json.loads(answer.read() or b"null")


def train(server: Server, **fields: Any) -> str:
    request = {
        "training_data_url": some_clips(5),
        "number_of_steps": 100,
        "rank": 8,
        "audio_duration_seconds": 1,
        "trigger_phrase": "zapgun",
        "validation": [{"prompt": "zapgun fast low laser zaps in a hall"}],
    }
    request_id: str = call(server, "POST", f"/{ENDPOINT}", request | fields)["request_id"]
    deadline = time.monotonic() + 240
    while (run := call(server, "GET", f"/v1/runs/{request_id}"))["state"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert run["outcome"] == "succeeded", run["result"]
    return request_id


@pytest.fixture(scope="module")
def run(server: Server) -> str:
    return train(server)


def shown(visit: Visit, run: str) -> Locator:
    visit.go(f"run/{run}")
    expect(visit.button("Play in step")).to_be_visible()
    expect(visit.page.get_by_role("slider", name="Position in C, Your clip")).to_be_visible()
    # Each picture is drawn when its sound has been decoded.
    expect(visit.page.locator(".compare canvas")).to_have_count(3)
    return visit.page.get_by_role("region", name="Previews", exact=True)


def started(visit: Visit) -> list[dict[str, float]]:
    """The sounds that were started last, together."""
    found: list[dict[str, float]] = visit.page.evaluate("window.started.slice(-3)")
    return found


def test_your_clip_is_a_third_voice_in_step(visit: Visit, run: str) -> None:
    page = visit.page
    page.add_init_script(STARTS)
    previews = shown(visit, run)
    choice = page.get_by_label("What C is")
    # Of all clips, the one whose caption shares most words with the preview's prompt.
    assert choice.locator("option:checked").inner_text().startswith("zap_04")
    expect(previews.get_by_text("zapgun fast low laser zaps in a large hall")).to_be_visible()
    expect(page.get_by_role("button", name="Heard B, Step 100")).to_be_visible()
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Heard C, Your clip")).to_be_visible()
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Heard A, Base, before training")).to_be_visible()

    visit.button("Loop").click()
    visit.button("Play in step").click()
    expect(visit.button("Pause")).to_be_visible()
    one, two, three = started(visit)
    assert one == two == three, "same moment, same place, same length"
    assert (one["loop"], one["loopStart"], one["loopEnd"]) == (True, 0, one["seconds"])
    count = page.evaluate("window.started.length")
    page.keyboard.press("c")
    page.keyboard.press("b")
    assert page.evaluate("window.started.length") == count, "switching starts nothing anew"

    choice.select_option(index=0)
    expect(page.locator(".compare canvas")).to_have_count(3)
    visit.button("Pause").click()
    expect(visit.button("Play in step")).to_be_visible()


def test_a_part_is_looped_by_dragging_and_by_keys(visit: Visit, run: str) -> None:
    page = visit.page
    page.add_init_script(STARTS)
    previews = shown(visit, run)
    picture = page.get_by_role("slider", name="Position in A, Base")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    length = float(picture.get_attribute("aria-valuemax") or 0)
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 30, steps=4)
    page.mouse.up()
    expect(previews.get_by_text(re.compile(r"round from 0\.2\d s to 0\.7\d s"))).to_be_visible()
    visit.button("Play in step").click()
    expect(visit.button("Pause")).to_be_visible()
    one, two, three = started(visit)
    assert one == two == three
    assert one["loopStart"] == pytest.approx(0.25 * length, abs=0.02)
    assert one["loopEnd"] == pytest.approx(0.75 * length, abs=0.02)
    assert one["offset"] == pytest.approx(one["loopStart"], abs=0.02)
    visit.button("Pause").click()

    visit.button("Loop").click()
    expect(previews.get_by_text("round from")).to_have_count(0)
    picture.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    expect(previews.get_by_text("round from 0 s to 0.5 s")).to_be_visible()


def test_all_are_equally_loud_and_on_one_scale_on_request(visit: Visit, run: str) -> None:
    page = visit.page
    shown(visit, run)
    first = page.locator(".compare canvas").first
    drawn = "canvas => canvas.toDataURL()"
    expect(page.get_by_text(re.compile(r"^-?[\d.]+ LUFS"))).to_have_count(0)
    before = first.evaluate(drawn)
    visit.button("One scale").click()
    expect(page.get_by_text("the loudest of each")).to_be_visible()
    own = [canvas.evaluate(drawn) for canvas in page.locator(".compare canvas").all()]
    visit.button("One scale").click()
    shared = [canvas.evaluate(drawn) for canvas in page.locator(".compare canvas").all()]
    assert shared[0] == before
    assert sum(one != other for one, other in zip(own, shared, strict=True)) == 2, "the loudest stays as it is"

    visit.button("Equally loud").click()
    levels = page.get_by_text(re.compile(r"^-?[\d.]+ LUFS, turned down by [\d.]+ dB$"))
    expect(levels).to_have_count(3)
    found = [[float(number) for number in re.findall(r"-?[\d.]+", text)] for text in levels.all_inner_texts()]
    assert min(gain for _, gain in found) == 0, "none is turned up"
    for loudness, gain in found:
        assert loudness - gain == pytest.approx(min(level for level, _ in found), abs=0.11)
    assert visit.violations() == []


def test_the_difference_of_two_is_a_picture(visit: Visit, run: str) -> None:
    page = visit.page
    shown(visit, run)
    page.get_by_text("Difference and blind test").click()
    picture = page.get_by_role("img", name="Difference of A and B")
    expect(picture).to_be_visible()
    expect(page.get_by_text("B 24 dB louder")).to_be_visible()
    drawn = picture.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    page.get_by_label("Second of the two").select_option("C")
    other = page.get_by_role("img", name="Difference of A and C")
    expect(other).to_be_visible()
    assert other.locator("canvas").evaluate("canvas => canvas.toDataURL()") != drawn
    page.get_by_label("Second of the two").select_option("A")
    expect(page.get_by_role("img", name="Difference of A and A: 0 dB on average")).to_be_visible()
    expect(visit.button("Begin a blind test")).to_be_disabled()
    page.get_by_label("Second of the two").select_option("C")
    visit.check_looks()


def test_a_blind_test_tells_its_score_at_the_end(visit: Visit, run: str) -> None:
    page = visit.page
    shown(visit, run)
    page.get_by_text("Difference and blind test").click()
    page.get_by_label("Trials").select_option("5")
    page.evaluate("Math.random = () => 0.1")  # X is A each time
    visit.button("Begin a blind test").click()
    expect(page.get_by_text("Trial 1 of 5.")).to_be_visible()
    expect(page.locator(".compare canvas")).to_have_count(0)
    visit.button("Play").click()
    for key in "abx":
        page.keyboard.press(key)
        expect(page.get_by_role("button", name=f"Listen to {key.upper()}", pressed=True)).to_be_visible()
    assert visit.violations() == []
    for trial in range(2, 6):
        page.keyboard.press("1")
        expect(page.get_by_text(f"Trial {trial} of 5.")).to_be_visible()
        expect(page.get_by_text(re.compile("of 5:"))).to_have_count(0)
    visit.button("X is A").click()
    results = page.get_by_role("list", name="Blind tests of this visit")
    expect(
        results.get_by_text("5 of 5: you hear a difference. Guessing does as well in one of 32 tests.")
    ).to_be_visible()
    expect(results.get_by_text("A, Base, before training and B, Step 100")).to_be_visible()
    expect(page.get_by_role("button", name="Heard B, Step 100")).to_be_visible()
    # It outlives a visit to another screen, and is followed by the next test.
    visit.go("history")
    shown(visit, run)
    page.get_by_text("Difference and blind test").click()
    expect(results.get_by_role("listitem")).to_have_count(1)
    visit.button("Begin a blind test").click()
    visit.button("Stop the test").click()
    expect(results.get_by_role("listitem")).to_have_count(1)


def test_without_a_sound_output_the_page_says_so_and_draws(visit: Visit, run: str) -> None:
    visit.page.add_init_script(NO_OUTPUT)
    shown(visit, run)
    visit.button("Play in step").click()
    expect(visit.page.get_by_text("Your browser finds no sound output")).to_be_visible()
    expect(visit.button("Play in step")).to_be_visible()
    assert visit.violations() == []


def test_a_sound_output_that_comes_late_plays_and_takes_the_word_back(visit: Visit, run: str) -> None:
    """As on a busy machine, where opening it takes seconds."""
    visit.page.add_init_script(
        "const resume = AudioContext.prototype.resume; "
        "const opened = new Promise((now) => (window.open_output = now)); "
        "AudioContext.prototype.resume = function () { return opened.then(() => resume.call(this)) }"
    )
    shown(visit, run)
    visit.button("Play in step").click()
    said = visit.page.get_by_text("Your browser finds no sound output")
    expect(said).to_be_visible()
    visit.page.evaluate("window.open_output()")
    expect(visit.button("Pause")).to_be_visible()
    expect(said).to_be_hidden()


def test_takes_are_compared_with_each_other_and_with_a_clip(visit: Visit, run: str) -> None:
    page = visit.page
    visit.go(f"try?lora={run}")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("zapgun fast low laser zaps in a hall")
    visit.button("Without and with the LoRA").click()
    expect(page.get_by_role("link", name="Save")).to_have_count(2, timeout=120_000)
    page.get_by_text("Compare two of them").click()
    expect(page.locator(".compare canvas")).to_have_count(3)
    expect(page.get_by_role("button", name="Heard B, zapgun at 1, seed 1")).to_be_visible()
    expect(page.get_by_role("button", name="Listen to A, zapgun at 0, seed 1")).to_be_visible()
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Heard C, Your clip")).to_be_visible()
    page.get_by_label("What A is").select_option(index=0)
    expect(page.get_by_role("button", name="Listen to A, zapgun at 1, seed 1")).to_be_visible()
    visit.check_looks()


def test_clips_go_with_the_run(visit: Visit, server: Server) -> None:
    """As its previews do; until then its clips are among its files."""
    gone = train(server, validation=[])
    files = call(server, "GET", f"/v1/runs/{gone}")["files"]
    clips = [file["url"] for file in files if file["role"] in ("clip", "clips")]
    assert len(clips) == 6
    for url in clips:
        assert visit.page.request.get(url).ok
    call(server, "DELETE", f"/v1/models/requests/{gone}/payloads")
    for url in clips:
        assert visit.page.request.get(url).status == 404


def test_the_best_checkpoint_is_one_click_away(visit: Visit, run: str) -> None:
    """As a run whose loss has turned names it."""
    page = visit.page
    visit.go(f"run/{run}")
    report = page.locator('a[download="report.json"]').get_attribute("href")
    assert report is not None
    told = page.request.get(report).json()
    told["fit"] |= {
        "verdict": "overfitting",
        "advice": ["Use checkpoints/zapgun-50.safetensors."],
        "best_file": "checkpoints/zapgun-50.safetensors",
    }
    page.route("**" + report.split("?")[0], lambda route: route.fulfill(json=told))
    page.reload()
    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict.get_by_role("heading", name="Next")).to_be_visible()
    with page.expect_download() as download:
        verdict.get_by_role("link", name="Save the LoRA of step 50, the best").click()
    assert download.value.suggested_filename == "zapgun-50.safetensors"
    assert visit.violations() == []
