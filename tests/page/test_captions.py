"""The table of clips: captions by keyboard and in bulk, advice as one types, and thousands of rows."""

from __future__ import annotations

import io
import re
import wave
from pathlib import Path

from browsing import Visit
from example_zip import CLIPS
from playwright.sync_api import Page, expect

MANY = 2000
ROWS = "document.querySelectorAll('[aria-posinset]').length"


def bring(visit: Visit, folder: Path, *names: str) -> None:
    """Drop copies of one example clip, none of which has a caption."""
    sound = (CLIPS / "zap_01.wav").read_bytes()
    for name in names:
        (folder / name).write_bytes(sound)
    visit.page.get_by_label("Zip or audio files").set_input_files([folder / name for name in names])
    expect(visit.page.get_by_text(f"{len(names)} of {len(names)} clips will be trained on")).to_be_visible()


def focused(page: Page) -> str:
    label: str = page.evaluate("document.activeElement.labels?.[0]?.textContent ?? document.activeElement.ariaLabel")
    return label


def test_the_keyboard_goes_from_caption_to_caption_and_starts_nothing(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    bring(visit, tmp_path, "a.wav", "b.wav", "c.wav")
    asked: list[str] = []
    page.on("request", lambda call: asked.append(call.url) if call.url.endswith("/t2a") else None)
    page.get_by_label("Caption of a.wav").focus()
    steps = "Enter b, Enter c, Enter c, Shift+Enter b, ArrowUp a, Tab b, Tab c, Shift+Tab b"
    for keys, caption in (step.split() for step in steps.split(", ")):
        page.keyboard.press(keys)
        expect(page.get_by_label(f"Caption of {caption}.wav")).to_be_focused()
    page.get_by_label("Caption of a.wav").fill("a dog")
    page.get_by_label("Caption of b.wav").press("Control+d")
    expect(page.get_by_label("Caption of b.wav")).to_have_value("a dog")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Pause b.wav")).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Play b.wav")).to_be_visible()
    page.keyboard.press("Escape")
    assert focused(page) == "Trigger phrase"
    # Enter in the other fields of the form starts nothing either.
    page.keyboard.press("Enter")
    page.locator("#field-number_of_steps").press("Enter")
    page.wait_for_timeout(300)
    assert asked == []
    assert "#/run" not in page.url


def test_what_is_said_of_captions_follows_the_typing(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    bring(visit, tmp_path, "a.wav", "b.wav", "c.wav")
    advice = page.get_by_label("Advice")
    expect(advice).to_contain_text("All captions are alike")
    expect(page.get_by_text("it has no caption: it is trained with an empty caption")).to_have_count(3)
    page.get_by_label("Trigger phrase").fill("woof")
    expect(page.get_by_text("woof", exact=True)).to_have_count(3)
    expect(page.get_by_text("it has no caption: the trigger phrase stands alone")).to_have_count(3)
    page.get_by_label("Caption of a.wav").fill("a dog")
    expect(advice).not_to_contain_text("All captions are alike")
    expect(advice).to_contain_text("2 clips of 3 have no caption")
    expect(page.get_by_text("it has no caption")).to_have_count(2)
    # The phrase does not stand in front of itself.
    page.get_by_label("Caption of b.wav").fill("Woof of a dog")
    expect(page.get_by_text("woof", exact=True)).to_have_count(2)
    page.get_by_label("Caption of c.wav").fill("a cat")
    expect(page.get_by_text("no caption")).to_have_count(0)
    assert visit.violations() == []


def test_many_captions_are_written_at_once_and_taken_back(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go()
    bring(visit, tmp_path, "RAINConc_Rain On Concrete_ABC.wav", "dog_bark_01.wav", "dog_bark_02.wav", "07.wav")
    page.get_by_text("Captions of many clips").first.click()
    one, two, three, nameless = (
        page.get_by_label(f"Caption of {name}.wav")
        for name in ("RAINConc_Rain On Concrete_ABC", "dog_bark_01", "dog_bark_02", "07")
    )
    two.fill("a small dog")
    visit.button("Write 2 empty ones from file names").click()
    expect(one).to_have_value("rain on concrete")
    expect(two).to_have_value("a small dog")
    expect(three).to_have_value("dog bark")
    expect(nameless).to_have_value("")
    visit.button("Undo").click()
    expect(three).to_have_value("")
    # The files lie in the order of their names: 07, RAIN, dog, dog.
    visit.button("Fill 1 empty one from above").click()
    expect(three).to_have_value("a small dog")
    page.get_by_label("Find in captions").fill("SMALL")
    page.get_by_label("Replace with").fill("very large")
    page.get_by_label("Replace with").press("Enter")
    for caption in (two, three):
        expect(caption).to_have_value("a very large dog")
    assert "#/run" not in page.url
    assert visit.violations() == []


def test_thousands_of_clips_are_a_few_rows_at_a_time(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(bytes(4_800))
    paths = [tmp_path / f"{number:04}.wav" for number in range(MANY)]
    for path in paths:
        path.write_bytes(sound.getvalue())
    # What the server makes of them is no matter here.
    page.route("**/storage/upload/**", lambda route: None)
    visit.go()
    expect(page.get_by_label("Trigger phrase")).to_be_visible()
    page.get_by_label("Zip or audio files").set_input_files(paths)
    expect(page.get_by_label("Caption of 0000.wav")).to_be_visible()
    rows = page.get_by_role("list", name="Clips")
    box = rows.locator("..")
    # Rows that were never built count as high as those that are, also once a first look has made these higher.
    expect(page.get_by_text("Skipped").first).to_be_visible()
    high = rows.evaluate("rows => rows.querySelector('li').getBoundingClientRect().height")
    expect(rows).to_have_css("height", re.compile(rf"{int(MANY * high)}(\.\d+)?px"))
    for share in (0.25, 0.5, 1):
        box.evaluate(f"box => box.scrollTop = box.scrollHeight * {share}")
        page.wait_for_timeout(100)
        assert page.evaluate(ROWS) < 40
    last = page.get_by_label(f"Caption of {MANY - 1:04}.wav")
    expect(last).to_be_visible()
    last.focus()
    page.keyboard.press("Shift+Enter")
    expect(page.get_by_label(f"Caption of {MANY - 2:04}.wav")).to_be_focused()
    # A row in use stays when it is scrolled away, so that nothing that is typed is lost.
    box.evaluate("box => box.scrollTop = 0")
    expect(page.get_by_label("Caption of 0000.wav")).to_be_visible()
    page.keyboard.type("quiet")
    expect(page.get_by_label(f"Caption of {MANY - 2:04}.wav")).to_have_value("quiet")
    # Nothing lies below the page, and nothing beside it.
    assert page.evaluate("document.documentElement.scrollHeight - document.querySelector('main').offsetHeight") < 200
    visit.check_looks()
