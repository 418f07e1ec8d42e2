"""A recording whose windows are all trained on, as the page shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from browsing import Visit
from playwright.sync_api import expect


def test_the_plot_counts_a_recording_once_and_its_windows_as_clips(visit: Visit, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = []
    for name, seconds in (("long", 17), ("short", 6), ("shorter", 3)):
        paths.append(tmp_path / f"{name}.wav")
        soundfile.write(paths[-1], random.uniform(-0.3, 0.3, seconds * 8000), 8000, subtype="PCM_16")
    page = visit.page
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files(paths)
    expect(page.get_by_text("2 of 3 clips will be trained on")).to_be_visible()
    expect(page.get_by_text("2 of 3 clips long enough · 10 s of sound")).to_be_visible()
    page.get_by_text("Additional settings").click()
    page.get_by_role("group", name="Windows").get_by_text("all", exact=True).click()
    # The report agrees with the plot: of 17 s come three clips, of 6 s one.
    expect(page.get_by_text("4 of 5 clips will be trained on")).to_be_visible()
    expect(page.get_by_text("All 5 s that fit")).to_be_visible()
    expect(page.get_by_text("4 clips of 3 recordings · 20 s of sound")).to_be_visible()
    assert page.locator(".plot .rest").count() == 3
    line = page.get_by_role("slider", name="Clip length")
    line.press("PageDown")
    expect(page.get_by_text("5 clips of 3 recordings · 20 s of sound")).to_be_visible()
    expect(line).to_have_attribute("aria-valuetext", "4 seconds, 5 clips")
