"""Stars, names and notes on the page, with requests that have ended at once on a real server."""

from __future__ import annotations

import itertools
import json
import urllib.request
from typing import Any

import pytest
from browsing import Server, Visit
from playwright.sync_api import Page, expect

TRAINING = "fal-ai/ltx23-trainer-v2/t2a"
SOUND = "fal-ai/ltx-2.3-quality/text-to-audio"
_NUMBERS = itertools.count()


def asked(server: Server, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, data, headers, method=method)) as answer:
        return json.loads(answer.read())


@pytest.fixture
def words() -> str:
    """What no other test's requests are called."""
    return f"phrase{next(_NUMBERS)}x"


def ended(server: Server, trigger: str) -> str:
    """A training that was refused, so that nothing is computed: its clips are worth nothing."""
    body = {"training_data_url": "https://data.example/a.zip", "trigger_phrase": trigger, "number_of_steps": 1}
    return str(asked(server, "POST", f"/{TRAINING}", body)["request_id"])


def mark_of(server: Server, id: str) -> tuple[bool, str, str]:
    run = asked(server, "GET", f"/v1/runs/{id}")
    return run["starred"], run["name"], run["note"]


def wait_for(page: Page, server: Server, id: str, mark: tuple[bool, str, str]) -> None:
    for _ in range(100):
        if mark_of(server, id) == mark:
            return
        page.wait_for_timeout(50)
    assert mark_of(server, id) == mark


def test_a_run_is_named_where_it_is_looked_at_and_called_so_everywhere(
    visit: Visit, server: Server, words: str
) -> None:
    page, id = visit.page, ended(server, words)
    visit.go(f"run/{id}")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(words)
    page.get_by_label("Name", exact=True).fill("Soft  <b>kick</b> ")
    page.get_by_label("Note").fill("first line\nsecond 100%_line")
    page.get_by_role("button", name="Star").click()
    expect(page.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    expect(heading).to_have_text("Soft <b>kick</b>")
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    wait_for(page, server, id, (True, "Soft <b>kick</b>", "first line\nsecond 100%_line"))
    visit.check_looks()
    page.reload()
    expect(heading).to_have_text("Soft <b>kick</b>")
    expect(page.get_by_label("Note")).to_have_value("first line\nsecond 100%_line")
    page.get_by_role("navigation").get_by_role("link", name="History").click()
    for found in (words, "<B>KICK", "second 100%_"):
        page.get_by_placeholder("Search by text or id").fill(found)
        expect(page.get_by_role("listitem").get_by_role("heading")).to_have_text(["Soft <b>kick</b>"])
    page.get_by_placeholder("Search by text or id").fill("1%0")
    expect(page.get_by_text("No run matches.")).to_be_visible()
    # Without its name it is called after what it was asked for again.
    visit.go(f"run/{id}")
    page.get_by_label("Name", exact=True).fill("")
    expect(heading).to_have_text(words)
    wait_for(page, server, id, (True, "", "first line\nsecond 100%_line"))


def test_what_is_typed_last_is_saved_when_the_page_goes(visit: Visit, server: Server, words: str) -> None:
    page, id = visit.page, ended(server, words)
    visit.go(f"run/{id}")
    page.get_by_label("Note").fill("before another screen")
    page.get_by_role("navigation").get_by_role("link", name="Settings").click()
    wait_for(page, server, id, (False, "", "before another screen"))
    visit.go(f"run/{id}")
    page.get_by_label("Note").fill("before another page")
    page.goto("about:blank")
    wait_for(page, server, id, (False, "", "before another page"))


def test_a_save_that_fails_says_so_and_keeps_the_text(visit: Visit, server: Server, words: str) -> None:
    page, id = visit.page, ended(server, words)
    visit.go(f"run/{id}")
    note, star = page.get_by_label("Note"), page.get_by_role("button", name="Star")
    expect(note).to_be_visible()
    server.stop()
    try:
        note.fill("mine")
        expect(page.get_by_text("Not saved: The server can’t be reached. Your text is kept here.")).to_be_visible()
        expect(note).to_have_value("mine")
        star.click()
        expect(page.get_by_text("Not saved: The server can’t be reached.", exact=True)).to_be_visible()
        expect(star).to_have_attribute("aria-pressed", "false")
        visit.check_looks()
    finally:
        server.start()
    # It arrives by itself once the server is back.
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    assert mark_of(server, id) == (False, "", "mine")


def test_what_never_arrived_comes_back(visit: Visit, server: Server, words: str) -> None:
    """From the browser's own store: its computer went down while the server was away."""
    page, id = visit.page, ended(server, words)
    kept = json.dumps({"note": {"had": "", "typed": "mine"}})
    visit.go("settings")
    page.evaluate("([id, kept]) => localStorage.setItem(`soundlora.unsaved.${id}`, kept)", [id, kept])
    visit.go(f"run/{id}")
    expect(page.get_by_label("Note")).to_have_value("mine")
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    assert mark_of(server, id) == (False, "", "mine")
    assert page.evaluate("localStorage.length") == 0


def test_two_tabs_change_what_each_has_changed(visit: Visit, server: Server, words: str) -> None:
    page, id = visit.page, ended(server, words)
    other = page.context.new_page()
    for each in (page, other):
        each.goto(f"{server.url}/#/run/{id}")
        expect(each.get_by_role("heading", level=1)).to_have_text(words)
    page.get_by_label("Note").fill("of one tab")
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    other.get_by_label("Name", exact=True).fill("Of the other")
    expect(other.get_by_text("Saved", exact=True)).to_be_visible()
    assert mark_of(server, id) == (False, "Of the other", "of one tab")


def test_favourites_come_first_and_alone_when_asked(visit: Visit, server: Server, words: str) -> None:
    page = visit.page
    ids = [ended(server, f"{words} {name}") for name in ("one", "two", "three")]
    visit.go("history")
    page.get_by_placeholder("Search by text or id").fill(words)
    headings = page.get_by_role("listitem").get_by_role("heading")
    expect(headings).to_have_text([f"{words} three", f"{words} two", f"{words} one"])
    star = page.get_by_role("button", name=f"Star {words} one")
    star.focus()
    page.keyboard.press("Enter")
    expect(headings).to_have_text([f"{words} one", f"{words} three", f"{words} two"])
    expect(star).to_be_focused()
    expect(page.get_by_text("All others")).to_be_visible()
    wait_for(page, server, ids[0], (True, "", ""))
    visit.check_looks()
    page.set_viewport_size({"width": 1280, "height": 900})
    visit.button("Starred").click()
    expect(headings).to_have_text([f"{words} one"])
    visit.go("settings")
    visit.go("history")
    page.get_by_placeholder("Search by text or id").fill(words)
    expect(headings).to_have_text([f"{words} one", f"{words} three", f"{words} two"])
    page.get_by_role("button", name=f"Star {words} one").click()
    expect(headings).to_have_text([f"{words} three", f"{words} two", f"{words} one"])


def test_a_sound_is_named_where_it_was_made_and_its_settings_come_back(visit: Visit, words: str) -> None:
    page = visit.page
    visit.go("try")
    page.get_by_label("Prompt", exact=True).fill(f"{words} rain")
    page.get_by_label("Seed").fill("77")
    page.get_by_role("slider", name="Length").fill("1.5")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps", exact=True).fill("8")
    page.get_by_label("Negative prompt").fill("wind")
    visit.button("Generate").click()
    page.get_by_label(f"Name of {words} rain").fill(f"{words} named")
    page.get_by_role("button", name=f"Star {words}").click()
    visit.check_looks()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("navigation").get_by_role("link", name="History").click()
    page.get_by_label("Kind").select_option("sound")
    page.get_by_placeholder("Search by text or id").fill(f"{words} named")
    settings = page.get_by_role("link", name=f"Use these settings of {words} named")
    expect(settings).to_be_visible()
    id = str(settings.get_attribute("href")).rpartition("=")[2]
    visit.check_looks()
    for way in (f"try?from={id}", None):
        if way is None:
            page.reload()
        else:
            page.goto("about:blank")
            visit.go(way)
        expect(page.get_by_label("Prompt", exact=True)).to_have_value(f"{words} rain")
        expect(page.get_by_label("Seed")).to_have_value("77")
        expect(page.get_by_role("slider", name="Length")).to_have_value("1.5")
        page.get_by_text("More", exact=True).click()
        expect(page.get_by_label("Steps", exact=True)).to_have_value("8")
        expect(page.get_by_label("Negative prompt")).to_have_value("wind")
    visit.go(f"run/{id}")
    page.get_by_role("link", name="Use these settings").click()
    expect(page).to_have_url(f"{visit.url}/#/try?from={id}")


def test_a_lora_from_elsewhere_is_shown_as_it_is(visit: Visit, server: Server, words: str) -> None:
    page = visit.page
    path = "https://loras.example/some%20where.safetensors"
    body = {"prompt": words, "loras": [{"path": path, "scale": 0.7}], "stg_scale": 9}
    id = asked(server, "POST", f"/{SOUND}/lora", body)["request_id"]
    visit.go(f"try?from={id}")
    lora = page.get_by_role("checkbox", name=f"some where.safetensors {path}")
    expect(lora).to_be_checked()
    expect(page.get_by_role("slider", name="Strength of some where.safetensors")).to_have_value("0.7")
    expect(page.get_by_text("That sound had settings that have no field here: stg_scale.")).to_be_visible()
    visit.check_looks()
    lora.click()
    expect(lora).to_have_count(0)
    training = ended(server, words)
    visit.go(f"try?from={training}")
    expect(page.get_by_text("This is a training, not a sound.")).to_be_visible()
