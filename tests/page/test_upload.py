"""A large set goes to the server in parts, several at a time, and nothing of it is lost on the way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile
from browsing import Visit
from playwright.sync_api import Route, expect

PARTS = re.compile(r"/storage/upload/[0-9a-f]{32}/\d+\?")
END = re.compile(r"/storage/upload/[0-9a-f]{32}/complete\?")


def clips(folder: Path) -> list[Path]:
    """Three clips, 52 MB in all: five parts."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.wav" for number in range(3)]
    for path in paths:
        soundfile.write(path, random.uniform(-0.3, 0.3, (45 * 48_000, 4)), 48_000, subtype="PCM_16")
    return paths


def number_of(route: Route) -> int:
    return int(route.request.url.partition("?")[0].rpartition("/")[2])


def test_parts_go_three_at_a_time_and_what_is_lost_is_sent_again(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    held: list[Route] = []
    seen: list[int] = []
    ended: list[str] = []

    def take(route: Route) -> None:
        number = number_of(route)
        seen.append(number)
        if len(seen) <= 3:
            held.append(route)
        elif number == 4 and seen.count(4) == 1:
            route.abort()
        elif number == 5 and seen.count(5) == 1:
            route.fulfill(status=503)
        else:
            route.continue_()

    def end(route: Route) -> None:
        ended.append(route.request.method)
        if len(ended) == 1:
            route.fulfill(status=503)
        else:
            route.continue_()

    page.route(PARTS, take)
    page.route(END, end)
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files(clips(tmp_path))
    while len(held) < 3:
        page.wait_for_timeout(20)
    page.wait_for_timeout(500)
    assert sorted(seen) == [1, 2, 3]
    for route in reversed(held):
        route.continue_()
    expect(page.get_by_text("3 of 3 clips will be trained on")).to_be_visible()
    assert {number: seen.count(number) for number in seen} == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}
    assert ended == ["POST", "POST"]


def test_a_part_that_is_refused_ends_the_upload_with_its_sentence(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    seen: list[int] = []
    sentence = "The file is larger than the 5 bytes that this server takes."

    def take(route: Route) -> None:
        seen.append(number_of(route))
        if len(seen) == 2:
            route.fulfill(status=413, json={"detail": sentence, "error_type": "filetoo_large"})

    page.route(PARTS, take)
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files(clips(tmp_path))
    expect(page.get_by_text(sentence)).to_be_visible()
    page.wait_for_timeout(500)
    assert len(seen) == 3
