"""This script visits every screen of a running server and takes pictures. scripts/screenshots starts the server."""

from __future__ import annotations

import io
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

MINUTES = 10
Look = Literal["light", "dark"]
LOOKS: tuple[Look, ...] = ("light", "dark")
WIDTH, HEIGHT = 1200, 860
COLOURS = 128
STEPS = "240"


def main(url: str, folder: Path) -> None:
    wait_for(url)
    expect.set_options(timeout=MINUTES * 60_000)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = {look: tab(browser, url, look) for look in LOOKS}
        for look, page in pages.items():
            prepare(page)
            picture(page, folder / f"page_train_{look}.png", height=1560)
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
            picture(each, folder / f"page_done_{look}.png", height=1560)
            each.get_by_role("link", name="Try it here").click()
            each.get_by_role("button", name="Without and with the LoRA").click()
            expect(each.get_by_role("link", name="Save")).to_have_count(2)
            picture(each, folder / f"page_try_{look}.png")
            each.goto(f"{url}/#/history")
            each.wait_for_timeout(3000)
            picture(each, folder / f"page_history_{look}.png", height=480)
            each.goto(f"{url}/#/settings")
            expect(each.get_by_text("Processor", exact=True)).to_be_visible()
            picture(each, folder / f"page_settings_{look}.png")
        browser.close()


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


def picture(page: Page, path: Path, height: int = HEIGHT) -> None:
    """Take a picture with few colours, which keep the file small."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    image = Image.open(io.BytesIO(page.screenshot()))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
