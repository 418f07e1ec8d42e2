"""This benchmark times the page in a browser without a window: a long table of captions, and a drop until its report.

    .venv/bin/python benchmarks/page.py [--table 2000] [--clips 200] [--seconds 5] [--record]

Browser and server share the machine. It needs Chromium (Debian, Ubuntu: apt-get install chromium) and the built page.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
from history import Figure
from playwright.sync_api import Browser, Page, expect, sync_playwright
from service_load import ADDRESS, Server
from table import add_record, report

RATE = 44_100
FRAMES = 300
PIXELS = 200
"""A frame, which is more than two rows of the table: as fast as a wheel is turned."""
MINUTES_MS = 600_000

# A frame that comes later than one and a half of the usual ones has dropped at least one.
SCROLL = """
async ([frames, pixels]) => {
  const box = document.querySelector('[aria-label=Clips]').parentElement
  const next = () => new Promise(requestAnimationFrame)
  const still = []
  let before = await next()
  for (let n = 0; n < 60; n += 1) { const now = await next(); still.push(now - before); before = now }
  const moving = []
  let empty = 0
  for (let n = 0; n < frames; n += 1) {
    box.scrollTop += pixels
    const now = await next()
    moving.push(now - before)
    before = now
    const { top, height } = box.getBoundingClientRect()
    const rows = [...box.querySelectorAll('li')].map((row) => row.getBoundingClientRect())
    const middle = top + height / 2
    if (!rows.some((row) => row.top <= middle && middle <= row.bottom)) empty += 1
  }
  return { still, moving, empty }
}
"""
# When each word of the status is first read, in ms after the files were chosen.
WATCH = """
(number) => {
  const words = {
    look: new RegExp(`a first look at ${number} clips`),
    checking: /Listening/, report: /will be trained on/,
  }
  window.seen = {}
  addEventListener('change', (event) => { if (event.target.type === 'file') window.began = performance.now() }, true)
  new MutationObserver(() => {
    const said = document.querySelector('section[aria-label="Data set"] [role=status]')?.textContent ?? ''
    const now = performance.now() - window.began
    for (const [name, word] of Object.entries(words)) if (word.test(said)) window.seen[name] ??= now
  }).observe(document.body, { subtree: true, childList: true, characterData: true })
}
"""


def write_clips(folder: Path, number: int, seconds: float, channels: int) -> list[Path]:
    """Write stereo or mono noise of 16 bits, each clip another one, with a caption beside each."""
    random = np.random.default_rng(0)
    paths = []
    for clip in range(number):
        path = folder / f"clip_{clip:04}.wav"
        samples = random.integers(-8000, 8000, (round(seconds * RATE), channels)).astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setparams((channels, 2, RATE, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        path.with_suffix(".txt").write_text(f"noise number {clip}, as it comes")
        paths += [path, path.with_suffix(".txt")]
    return paths


def opened(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(MINUTES_MS)
    page.goto(ADDRESS)
    expect(page.get_by_label("Trigger phrase")).to_be_visible()
    return page


def measure_table(browser: Browser, clips: int) -> dict[str, Any]:
    """Scroll through a table of short clips that are never sent."""
    page = opened(browser)
    page.route("**/storage/upload/**", lambda route: None)
    with tempfile.TemporaryDirectory() as folder:
        page.get_by_label("Zip or audio files").set_input_files(write_clips(Path(folder), clips, 0.2, 1))
        expect(page.get_by_label("Caption of clip_0000.wav")).to_be_visible()
        page.wait_for_timeout(2000)
        found: dict[str, Any] = page.evaluate(SCROLL, [FRAMES, PIXELS])
    page.close()
    usual = statistics.median(found["still"])
    late = sum(time > 1.5 * usual for time in found["moving"])
    return found | {"usual_ms": usual, "late_percent": 100 * late / len(found["moving"])}


def measure_drop(browser: Browser, clips: int, seconds: float) -> dict[str, float]:
    """Return the seconds from the drop to each stage, and to the report."""
    page = opened(browser)
    page.evaluate(WATCH, f"{clips:,}")
    with tempfile.TemporaryDirectory() as folder:
        page.get_by_label("Zip or audio files").set_input_files(write_clips(Path(folder), clips, seconds, 2))
        expect(page.get_by_text(f"{clips} of {clips} clips will be trained on")).to_be_visible()
        seen: dict[str, float] = page.evaluate("window.seen")
    page.close()
    return {name: time / 1000 for name, time in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=int, default=2000, help="clips of the table that is scrolled")
    parser.add_argument("--clips", type=int, default=200, help="clips that are dropped until their report")
    parser.add_argument("--seconds", type=float, default=5, help="length of each of these")
    add_record(parser)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    server = Server()
    try:
        expect.set_options(timeout=MINUTES_MS)
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            table = measure_table(browser, arguments.table)
            drop = measure_drop(browser, arguments.clips, arguments.seconds)
            browser.close()
    finally:
        server.stop()
    rows, clips = f"{arguments.table:,} captions", f"{arguments.clips:,} clips of {arguments.seconds:g} s"
    figures = [
        Figure(f"{rows}: a frame of scrolling, median", statistics.median(table["moving"]), "ms", 17),
        Figure(f"{rows}: frames that came late", table["late_percent"], "%", 1),
        Figure(f"{rows}: frames without rows", 100 * table["empty"] / len(table["moving"]), "%", 0),
        Figure(f"{clips}, from the drop to the first look", drop["look"], "s", 2),
        Figure(f"{clips}, from the drop to the report", drop["report"], "s", 2),
        Figure(f"{clips}: until it is uploaded", drop["checking"], "s"),
    ]
    print(
        f"The machine's load was {load:.1f} before; with other work on it, frames come late for no fault of the page."
    )
    report("page", "The page", figures, {"load": load, "table": table, "drop": drop}, arguments.record)


if __name__ == "__main__":
    main()
