"""The draft of a training outlives reloads, closed tabs and drops beside the zone, until its run has started."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest
from browsing import Visit, fill
from example_zip import CLIPS
from playwright.sync_api import Page, Route, expect

NO_DATABASE = "indexedDB.open = () => { throw new DOMException('no', 'SecurityError') }"
FULL = "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError') }"
DROP = """
([name, content]) => {
  const transfer = new DataTransfer()
  transfer.items.add(new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], name))
  const event = (type) => new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true })
  document.body.dispatchEvent(event('dragover'))
  window.dropped = () => !document.body.dispatchEvent(event('drop'))
}
"""


def drag(page: Page, name: str, content: bytes) -> None:
    """Hold a file over the page, far from any zone; `let_go` drops it."""
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def let_go(page: Page) -> None:
    assert page.evaluate("window.dropped()"), "the browser would show the file in the place of the page"


def ready(page: Page, number: int) -> None:
    noun = "clip" if number == 1 else "clips"
    expect(page.get_by_text(f"{number} of {number} {noun} will be trained on")).to_be_visible()


def zap(number: int) -> bytes:
    return (CLIPS / f"zap_{number:02}.wav").read_bytes()


def test_a_reload_loses_nothing_until_the_run_has_started(visit: Visit, clips: Path) -> None:
    page = visit.page
    visit.go()
    visit.drop(clips)
    ready(page, 4)
    fill(visit)
    page.get_by_label("Caption of zap_03.ogg").fill("a very small dog")
    page.reload()
    ready(page, 4)
    expect(page.get_by_label("Caption of zap_03.ogg")).to_have_value("a very small dog")
    expect(page.get_by_text("captions changed, uploaded again at the start")).to_be_visible()
    expect(page.get_by_label("Trigger phrase")).to_have_value("zapgun")
    expect(page.locator("#field-number_of_steps")).to_have_value("100")
    # The files themselves are there still: they are packed again with the caption.
    with page.expect_request(lambda call: call.url.endswith("/t2a")) as posted:
        visit.button("Start training").click()
    asked = posted.value.post_data_json
    assert isinstance(asked, dict)
    with zipfile.ZipFile(io.BytesIO(page.request.get(asked["training_data_url"]).body())) as archive:
        assert archive.read("zap_03.txt") == b"a very small dog\n"
        assert archive.read("zap_03.ogg") == (CLIPS / "zap_03.ogg").read_bytes()
    page.wait_for_url("**/#/run/*")
    visit.button("Cancel").click()
    expect(page.get_by_text("This run was cancelled")).to_be_visible()
    page.goto(f"{visit.url}/#/train")
    page.reload()
    expect(page.get_by_text("Drop a folder of clips, or a zip")).to_be_visible()
    expect(page.get_by_label("Trigger phrase")).to_have_value("")


def test_each_tab_has_a_draft_of_its_own_and_a_closed_one_is_found(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files([CLIPS / "zap_01.wav"])
    ready(page, 1)
    page.get_by_label("Caption of zap_01.wav").fill("the first tab")
    other = page.context.new_page()
    other.goto(visit.url)
    expect(other.get_by_label("Trigger phrase")).to_be_visible()
    expect(other.get_by_text("Drop a folder of clips, or a zip")).to_be_visible()
    other.get_by_label("Zip or audio files").set_input_files([CLIPS / "zap_07.wav"])
    ready(other, 1)
    other.get_by_label("Caption of zap_07.wav").fill("the second tab")
    for tab, name, caption in ((page, "zap_01", "the first tab"), (other, "zap_07", "the second tab")):
        tab.reload()
        expect(tab.get_by_label(f"Caption of {name}.wav")).to_have_value(caption)
    other.close()
    third = page.context.new_page()
    third.goto(visit.url)
    expect(third.get_by_label("Caption of zap_07.wav")).to_have_value("the second tab")


def test_the_whole_window_takes_what_is_dropped_and_adds_it(visit: Visit) -> None:
    page = visit.page
    visit.go()
    expect(page.get_by_label("Trigger phrase")).to_be_visible()
    drag(page, "rain.wav", zap(1))
    expect(page.get_by_text("Drop your sounds anywhere")).to_be_visible()
    assert visit.violations() == []
    let_go(page)
    expect(page.get_by_text("Drop your sounds anywhere")).to_be_hidden()
    ready(page, 1)
    page.get_by_label("Caption of rain.wav").fill("rain on a roof")
    drag(page, "hail.wav", zap(7))
    expect(page.get_by_text("Drop to add to 1 file")).to_be_visible()
    let_go(page)
    ready(page, 2)
    expect(page.get_by_label("Caption of rain.wav")).to_have_value("rain on a roof")
    drag(page, "hail.txt", b"hail on a car")
    let_go(page)
    expect(page.get_by_label("Caption of hail.wav")).to_have_value("hail on a car")
    drag(page, "notes.pdf", b"%PDF")
    let_go(page)
    expect(page.get_by_text("Nothing in what you dropped is a sound")).to_be_visible()
    ready(page, 2)
    visit.go("history")
    expect(page.get_by_role("heading", name="History", level=1)).to_be_visible()
    drag(page, "snow.wav", zap(7))
    let_go(page)
    visit.go("train")
    ready(page, 2)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [(NO_DATABASE, "This browser keeps nothing"), (FULL, "The browser has no room")],
    ids=["private", "full"],
)
def test_a_browser_that_keeps_nothing_is_told_once_and_works(visit: Visit, script: str, sentence: str) -> None:
    page = visit.page
    page.add_init_script(script)
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files([CLIPS / "zap_01.wav"])
    ready(page, 1)
    expect(page.get_by_text(sentence)).to_be_visible()
    page.get_by_label("Caption of zap_01.wav").fill("a dog")
    expect(page.get_by_text("captions changed")).to_be_visible()
    expect(visit.button("Start training")).to_be_enabled()
    page.reload()
    expect(page.get_by_label("Trigger phrase")).to_be_visible()
    expect(page.get_by_text("Drop a folder of clips, or a zip")).to_be_visible()


def test_other_data_during_a_check_are_other_data(visit: Visit, clips: Path) -> None:
    page = visit.page
    held: list[Route] = []
    page.route("**/v1/datasets/inspect", lambda route: held.append(route))
    visit.go()
    visit.drop(clips)
    expect(page.get_by_text("Listening to every clip")).to_be_visible()
    while not held:
        page.wait_for_timeout(20)
    visit.button("Use other data").click()
    expect(page.get_by_text("Drop a folder of clips, or a zip")).to_be_visible()
    held[0].continue_()
    page.wait_for_timeout(1500)
    expect(page.get_by_text("Drop a folder of clips, or a zip")).to_be_visible()
