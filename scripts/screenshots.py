"""This script visits every screen of a running server and takes pictures. scripts/screenshots starts the server."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

MINUTES = 10
Look = Literal["light", "dark"]
LOOKS: tuple[Look, ...] = ("light", "dark")
WIDTH = 1200
COLOURS = 128
STEPS = "240"
MODE_STEPS = "100"
TO_TOP = "element => scrollTo(0, element.getBoundingClientRect().top + scrollY - 90)"
CLIPS = Path(__file__).parents[1] / "examples" / "clips"


def main(url: str, folder: Path) -> None:
    wait_for(url)
    expect.set_options(timeout=MINUTES * 60_000)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for look in LOOKS:
            before_training(browser, url, folder, look)
        a_run_of_another_mode(browser, url)
        pages = {look: tab(browser, url, look) for look in LOOKS}
        for look, page in pages.items():
            prepare(page)
            picture(page, folder / f"page_train_{look}.png", height=1560)
            additional(page, folder / f"page_additional_{look}.png")
        page = pages["light"]
        page.get_by_role("button", name="Start training").click()
        page.wait_for_url("**/#/run/*")
        pages["dark"].goto(page.url)
        expect(page.get_by_text("steps/s", exact=True)).to_be_visible()
        expect(page.get_by_role("slider", name="Step 120").first).to_be_visible()
        for look, each in pages.items():
            each.wait_for_timeout(3000)
            picture(each, folder / f"page_run_{look}.png", height=1180)
        expect(page.get_by_role("heading", name="Files")).to_be_visible()
        for look, each in pages.items():
            each.wait_for_timeout(3000)
            picture(each, folder / f"page_done_{look}.png")
            compared(each, folder / f"page_compare_{look}.png")
            each.get_by_role("link", name="Try it here").click()
            each.get_by_role("button", name="Without and with the LoRA").click()
            expect(each.get_by_role("link", name="Save")).to_have_count(2)
            picture(each, folder / f"page_try_{look}.png")
            each.goto(f"{url}/#/history")
            each.wait_for_timeout(3000)
            picture(each, folder / f"page_history_{look}.png")
            each.goto(f"{url}/#/settings")
            expect(each.get_by_text("Processor", exact=True)).to_be_visible()
            picture(each, folder / f"page_settings_{look}.png")
        browser.close()


def additional(page: Page, path: Path) -> None:
    """Picture what else can be set, from the file's name on: sliders, adapters, how they learn."""
    page.set_viewport_size({"width": WIDTH, "height": 900})
    page.get_by_text("Additional settings").click()
    page.locator(".field:has(#field-name)").evaluate(TO_TOP)
    picture(page, path, height=900)


def compared(page: Page, path: Path) -> None:
    """Picture the voices of a run that has ended, of which a part is looped."""
    expect(page.locator(".compare canvas")).to_have_count(3)
    page.get_by_role("button", name="Equally loud").click()
    page.get_by_text("Difference and blind test").click()
    page.set_viewport_size({"width": WIDTH, "height": 900})
    page.get_by_role("heading", name="Hear it learn").evaluate(TO_TOP)
    box = page.get_by_role("slider", name="Position in A").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.26 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    picture(page, path, height=900)


def before_training(browser: Browser, url: str, folder: Path, look: Look, width: int = WIDTH) -> None:
    """Picture what is done with clips before they are trained on: cut, captioned, marked."""
    page = tab(browser, url, look)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "zaps_in_one_take.wav")
        recording(path)
        page.get_by_label("Zip or audio files").set_input_files(path)
        page.get_by_role("button", name=f"Cut {path.name}").click()
        page.get_by_role("button", name="Clip 2,").click()
        picture(page, folder / f"page_cuts_{look}.png", height=520, width=width)
    page.close()

    page = tab(browser, url, look)
    page.get_by_role("button", name="Start with example sounds").click()
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    page.get_by_text("Captions of many clips").first.click()
    page.get_by_label("Find in captions").fill("laser")
    page.get_by_label("Replace with").fill("ray gun")
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_label("Caption of zap_02.wav").focus()
    page.get_by_role("list", name="Clips").locator("..").evaluate("box => box.scrollIntoView({block: 'center'})")
    picture(page, folder / f"page_captions_{look}.png", height=800, width=width)
    page.close()

    page = tab(browser, url, look)
    marked(page)
    page.get_by_role("list", name="Clips").locator("..").evaluate("box => box.scrollTop = 0")
    page.evaluate("scrollTo(0, 0)")
    picture(page, folder / f"page_modes_{look}.png", height=1180, width=width)
    page.close()


def recording(path: Path) -> None:
    """Write the example sounds as one recording, with silence between them."""
    parts: list[np.ndarray] = []
    for clip in 3 * sorted(CLIPS.glob("*.wav")):
        samples, rate = soundfile.read(clip, always_2d=True)
        parts += [samples.mean(axis=1), np.zeros(round(1.5 * rate))]
    soundfile.write(path, np.concatenate(parts), rate)


def marked(page: Page) -> None:
    """Choose to mend spans, and mark one on each example clip."""
    page.get_by_role("group", name="What should it learn").get_by_text("Mend spans", exact=True).click()
    page.get_by_role("button", name="Start with example sounds").click()
    for number in range(1, 11):
        name = f"zap_{number:02}.wav"
        page.get_by_role("button", name=f"Add a span to {name}").click()
        page.get_by_label(f"End of span 1 of {name}").fill(f"{2.5 + number / 5:g}")
        page.get_by_label(f"Start of span 1 of {name}").fill(f"{1 + number / 7:.2f}")
        page.keyboard.press("Enter")


def a_run_of_another_mode(browser: Browser, url: str) -> None:
    """Train to mend spans, so that the history has a run of another mode too."""
    page = tab(browser, url, "light")
    marked(page)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    page.locator("#field-number_of_steps").fill(MODE_STEPS)
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", name="Files")).to_be_visible()
    page.close()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url)
            return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def tab(browser: Browser, url: str, look: Look) -> Page:
    page = browser.new_page(color_scheme=look, reduced_motion="reduce")
    page.set_default_timeout(MINUTES * 60_000)
    page.goto(url)
    return page


def prepare(page: Page) -> None:
    page.get_by_role("button", name="Start with example sounds").click()
    page.locator("#field-number_of_steps").fill(STEPS)
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")  # Writing into a field brings it into view.


def all_of_it(page: Page, width: int) -> None:
    """Make the window as high as the page, which grows when sounds come into view and are drawn."""
    height = 0
    while (found := page.evaluate("document.documentElement.scrollHeight")) > height:
        height = found
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(3000)


def picture(page: Page, path: Path, height: int | None = None, width: int = WIDTH) -> None:
    """Take a picture with few colours, which keep the file small. Without a height all of the screen is in it."""
    page.set_viewport_size({"width": width, "height": height or 100})
    if height is None:
        all_of_it(page, width)
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    image = Image.open(io.BytesIO(page.screenshot()))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
