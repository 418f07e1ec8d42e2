"""What the page says of dropped clips before the server has spoken, and that the server says the same."""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from browsing import Visit
from playwright.sync_api import Page, Route, expect
from support import FIXTURES

RATE = 16_000
STATES = "() => [...document.querySelectorAll('.state')].map((state) => state.textContent.trim().split(' ')[0])"


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", **how: str) -> Path:
    soundfile.write(path, samples, rate, subtype=subtype, **how)
    return path


def sounds(folder: Path) -> list[Path]:
    """Sounds around every border between kept and skipped, and those of which headers don't tell enough."""
    random = np.random.default_rng(0)

    def noise(seconds: float, rate: int = RATE) -> np.ndarray:
        return random.uniform(-0.3, 0.3, (round(seconds * rate), 2))

    late = noise(5.5)
    late[: 5 * RATE] = 0
    lacks = round(5 * RATE) - round(0.04 * RATE) - 1
    made = [
        write(folder / "a_whole.wav", noise(6)),
        write(folder / "b_lacks_a_hair.wav", noise(5)[:lacks]),
        write(folder / "c_lacks_more.wav", noise(5)[: lacks - 1]),
        write(folder / "d_of_24_bits.wav", noise(5), subtype="PCM_24"),
        write(folder / "e_silent.wav", np.zeros((6 * RATE, 2))),
        write(folder / "f_late.wav", late),
        write(folder / "g_faint.wav", np.full((6 * RATE, 2), 127 / 2**23), subtype="PCM_24"),
        write(folder / "h_less_faint.wav", np.full((6 * RATE, 2), 128 / 2**23), subtype="PCM_24"),
        write(folder / "i_extensible.wav", noise(5, 48_000), 48_000, "PCM_24", format="WAVEX"),
        write(folder / "j_floats.wav", noise(6), subtype="FLOAT"),
        write(folder / "k_at_44_056_hz.wav", noise(6, 44_056), 44_056),
        write(folder / "l_of_8_bits.wav", noise(6), subtype="PCM_U8"),
        write(folder / "m.flac", noise(6)),
    ]
    cut = folder / "n_cut_off.wav"
    cut.write_bytes(made[0].read_bytes()[:-1000])
    wide = folder / "o_wide.wav"
    wide.write_bytes((FIXTURES / "audio" / "container32_valid24.wav").read_bytes())
    empty = folder / "p_empty.wav"
    with wave.open(str(empty), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    return [*made, cut, wide, empty]


class Held:
    """The page's questions for a report, of which the first one waits until it may go on."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[Any] = []
        self._first: Route | None = None
        page.route("**/v1/datasets/inspect", self._take)

    def _take(self, route: Route) -> None:
        self.asked.append(route.request.post_data_json)
        if self._first is None:
            self._first = route
        else:
            route.continue_()

    def go_on(self) -> None:
        while self._first is None:
            self.page.wait_for_timeout(20)
        self._first.continue_()


def test_a_first_look_says_what_the_report_will_say_or_nothing(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    held = Held(page)
    paths = sounds(tmp_path)
    visit.go()
    # The table builds the rows that are seen.
    page.set_viewport_size({"width": 1280, "height": 6000})
    page.add_style_tag(content=".box { max-height: none !important }")
    page.get_by_label("Zip or audio files").set_input_files(paths)
    expect(page.get_by_text("a first look at 9 clips: 5 fill 5 s")).to_be_visible()
    expect(page.get_by_text("Listening to every clip")).to_be_visible()
    first = dict(zip((path.name for path in paths), page.evaluate(STATES), strict=True))
    assert {name[0] for name, state in first.items() if state == "Kept"} == set("abdhi")
    assert {name[0] for name, state in first.items() if state == "Skipped"} == set("cefg")
    held.go_on()
    expect(page.get_by_text(re.compile(r"\d+ of 16 clips will be trained on"))).to_be_visible()
    expect(page.get_by_text("a first look")).to_have_count(0)
    told = dict(zip((path.name for path in paths), page.evaluate(STATES), strict=True))
    assert {name for name, state in first.items() if state != "…" and state != told[name]} == set()
    # The words are the server's from here on.
    expect(page.get_by_text("shorter than the bucket of 5 s")).to_have_count(2)


def test_lengths_are_drawn_and_the_line_moved_before_the_report_which_follows_it(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    held = Held(page)
    random = np.random.default_rng(0)
    paths = [write(tmp_path / f"{n}.wav", random.uniform(-0.3, 0.3, round(n * RATE))) for n in (3, 5, 6)]
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files(paths)
    expect(page.get_by_text("2 of 3 clips long enough · 10 s of sound")).to_be_visible()
    expect(page.get_by_text("Listening to every clip")).to_be_visible()
    line = page.get_by_role("slider", name="Clip length")
    line.press("PageDown")
    line.press("PageDown")
    expect(page.get_by_text("a first look at 3 clips: 3 fill 3 s")).to_be_visible()
    assert page.evaluate(STATES) == ["Kept"] * 3
    assert visit.violations() == []
    page.wait_for_timeout(1000)
    # The answer that comes is for the length of before, so another one is asked for.
    held.go_on()
    expect(page.get_by_text("3 of 3 clips will be trained on")).to_be_visible()
    page.wait_for_timeout(1000)
    assert [each.get("audio_duration_seconds", 5) for each in held.asked] == [5, 3]


def test_nothing_is_said_where_more_than_a_length_decides(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    held = Held(page)
    random = np.random.default_rng(0)
    same = [write(tmp_path / name, random.uniform(-0.3, 0.3, 6 * RATE)) for name in ("a.wav", "a.WAV", "b.wav")]
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files(same)
    expect(page.get_by_text("Listening to every clip")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate(STATES) == ["…"] * 3
    held.go_on()
    expect(page.get_by_text("These data can’t be used yet")).to_be_visible()
