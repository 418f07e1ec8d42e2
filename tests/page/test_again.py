"""A run that is done again with changes: its clips come back, and their captions can be edited."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from browsing import Visit
from playwright.sync_api import Request, expect

ZIP = re.compile(r"/files/[0-9a-f]{32}/[^/]*\.zip$")


def data_of(call: Request) -> str:
    asked: Any = call.post_data_json
    return str(asked["training_data_url"])


def start(visit: Visit) -> str:
    """Start the training, cancel it, and return where its clips are."""
    with visit.page.expect_request(lambda call: call.url.endswith("/t2a")) as posted:
        visit.button("Start training").click()
    visit.page.wait_for_url("**/#/run/*")
    visit.button("Cancel").click()
    expect(visit.page.get_by_text("This run was cancelled")).to_be_visible()
    return data_of(posted.value)


def test_captions_of_a_former_run_are_edited_and_trained_on(visit: Visit) -> None:
    page = visit.page
    visit.go()
    visit.button("Start with example sounds").click()
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    page.locator("#field-number_of_steps").fill("100")
    first = start(visit)
    # Who cancelled knows that it is no fault.
    expect(page.get_by_role("alert")).to_have_count(0)
    assert visit.violations() == []

    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    expect(page.locator("#field-number_of_steps")).to_have_value("100")
    caption = page.get_by_label("Caption of zap_01.wav")
    assert caption.input_value()
    caption.fill("a very small dog")
    expect(page.get_by_text("captions changed, uploaded again at the start")).to_be_visible()
    # As any draft it outlives a reload.
    page.reload()
    expect(caption).to_have_value("a very small dog")
    expect(page.get_by_text("10 of 10 clips will be trained on")).to_be_visible()
    second = start(visit)
    assert second != first
    with (
        zipfile.ZipFile(io.BytesIO(page.request.get(first).body())) as before,
        zipfile.ZipFile(io.BytesIO(page.request.get(second).body())) as after,
    ):
        assert after.namelist() == before.namelist()
        assert after.read("zap_01.txt") == b"a very small dog\n"
        assert all(after.read(name) == before.read(name) for name in before.namelist() if name != "zap_01.txt")

    # Where the clips are gone, that is said, and what the report knows is shown.
    page.route(ZIP, lambda route: route.fulfill(status=404))
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_text("The clips of that run are not kept here any more.")).to_be_visible()
    expect(page.get_by_text("zapgun a very small dog", exact=True)).to_be_visible()
    expect(caption).to_have_count(0)
