"""What takes long: cancelling and resuming, a server that goes away, two tabs, a key, the keyboard alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from browsing import Server, Visit, fill
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow


def begin(visit: Visit, clips: Path, steps: int) -> None:
    visit.go()
    visit.drop(clips)
    expect(visit.page.get_by_text("4 of 4 clips will be trained on")).to_be_visible()
    fill(visit, steps=steps)
    visit.button("Start training").click()
    visit.page.wait_for_url(re.compile(r"#/run/"))


def test_a_cancelled_run_is_resumed_and_watched_in_two_tabs(visit: Visit, clips: Path) -> None:
    page = visit.page
    begin(visit, clips, 300)
    expect(page.get_by_text("steps/s", exact=True)).to_be_visible(timeout=120_000)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_text("steps/s", exact=True)).to_be_visible()
    visit.button("Cancel").click()
    for tab in (page, other):
        expect(tab.get_by_text("This run was cancelled")).to_be_visible()
    first = page.url
    visit.button("Resume").click()
    page.wait_for_url(lambda url: "#/run/" in url and url != first)
    expect(page.get_by_text("Going on with the run")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", name="Files")).to_be_visible(timeout=240_000)
    expect(page.get_by_role("img", name=re.compile(r"^Loss from \S+ at step 1 to \S+ at step 300\b"))).to_be_visible()


def test_a_run_outlives_its_server(visit: Visit, server: Server, clips: Path) -> None:
    page = visit.page
    begin(visit, clips, 300)
    expect(page.get_by_text("steps/s", exact=True)).to_be_visible(timeout=120_000)
    server.stop()
    expect(page.get_by_text("The server can’t be reached.")).to_be_visible()
    server.start()
    expect(page.get_by_text("The server can’t be reached.")).to_be_hidden()
    expect(page.get_by_role("heading", name="Files")).to_be_visible(timeout=240_000)


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page = visit.page
    visit.go()
    expect(page.get_by_label("Trigger phrase")).to_be_visible()

    def tab_to(name: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if name in page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel || ''"):
                return
        raise AssertionError(f"{name} is not reached by Tab")

    tab_to("Start with example sounds")
    page.keyboard.press("Enter")
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    tab_to("Start training")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"#/run/"))
    tab_to("Cancel")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This run was cancelled")).to_be_visible()


def test_a_server_with_keys_asks_for_one(browser: Browser, server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "keys", "create", "me"]
    made = subprocess.run([*command, "--data-dir", tmp_path], capture_output=True, text=True, check=True)
    locked = Server(tmp_path)
    try:
        page = browser.new_page()
        page.goto(locked.url)
        expect(page.get_by_text("This server asks for a key.")).to_be_visible()
        page.goto(locked.url + "/#/settings")
        page.get_by_label("Key", exact=True).fill(made.stdout.split()[0])
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("This server asks for a key.")).to_be_hidden()
        page.goto(locked.url + "/#/train")
        expect(page.get_by_label("Trigger phrase")).to_be_visible()
        page.close()
    finally:
        locked.stop()
