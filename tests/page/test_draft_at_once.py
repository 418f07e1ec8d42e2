"""What is typed just before the page goes is there when it comes back."""

from __future__ import annotations

from browsing import Visit
from example_zip import CLIPS
from playwright.sync_api import Page, expect

# In one task, so that no timer and no database has its turn between the key and the reload.
TYPE_AND_RELOAD = """
([label, text]) => {
  const field = document.querySelector(`[aria-label="${label}"]`) ??
    [...document.querySelectorAll('label')].find((one) => one.textContent.trim() === label).control
  field.value = text
  field.dispatchEvent(new Event('input', { bubbles: true }))
  location.reload()
}
"""
# A database that never ends a transaction which writes: what it is given is lost when the page goes.
NEVER_ENDS = """
const put = IDBObjectStore.prototype.put
IDBObjectStore.prototype.put = function (...given) {
  const again = () => { if (window.endless) this.get('nothing').onsuccess = again }
  again()
  return put.apply(this, given)
}
"""


def type_and_reload(page: Page, label: str, text: str) -> None:
    with page.expect_navigation():
        page.evaluate(TYPE_AND_RELOAD, [label, text])


def dropped(visit: Visit) -> None:
    page = visit.page
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files([CLIPS / "zap_01.wav"])
    expect(page.get_by_text("1 of 1 clip will be trained on")).to_be_visible()
    page.wait_for_timeout(500)


def test_a_caption_typed_as_the_page_is_reloaded_is_there_after_two_reloads(visit: Visit) -> None:
    page = visit.page
    dropped(visit)
    type_and_reload(page, "Caption of zap_01.wav", "a very small dog")
    caption = page.get_by_label("Caption of zap_01.wav")
    expect(caption).to_have_value("a very small dog")
    # The page that has just come back has not written to its database yet, either.
    page.reload()
    expect(caption).to_have_value("a very small dog")
    type_and_reload(page, "Caption of zap_01.wav", "a large dog")
    expect(caption).to_have_value("a large dog")


def test_a_caption_typed_before_the_form_is_there_is_not_lost(visit: Visit) -> None:
    page = visit.page
    dropped(visit)
    # The clips come back from the browser; the form waits for a server that gives no answer.
    page.route("**/openapi.json*", lambda route: None)
    page.reload()
    caption = page.get_by_label("Caption of zap_01.wav")
    expect(caption).to_be_visible()
    type_and_reload(page, "Caption of zap_01.wav", "a very small dog")
    expect(caption).to_have_value("a very small dog")
    caption.fill("a large dog")
    page.wait_for_timeout(600)
    page.reload()
    expect(caption).to_have_value("a large dog")


def test_what_was_set_is_not_lost_while_the_form_is_awaited(visit: Visit) -> None:
    page = visit.page
    visit.go()
    page.get_by_label("Trigger phrase").fill("zapgun")
    page.wait_for_timeout(500)
    page.route("**/openapi.json*", lambda route: None)
    page.reload()
    page.wait_for_timeout(600)
    page.unroute("**/openapi.json*")
    page.reload()
    expect(page.get_by_label("Trigger phrase")).to_have_value("zapgun")


def test_what_the_database_had_no_time_for_is_not_lost(visit: Visit) -> None:
    page = visit.page
    page.add_init_script(NEVER_ENDS)
    dropped(visit)
    page.evaluate("window.endless = true")
    page.get_by_label("Caption of zap_01.wav").fill("a very small dog")
    page.wait_for_timeout(600)
    page.reload()
    expect(page.get_by_label("Caption of zap_01.wav")).to_have_value("a very small dog")


def test_a_setting_that_is_the_first_thing_typed_is_there_after_a_reload(visit: Visit) -> None:
    page = visit.page
    visit.go()
    expect(page.get_by_label("Trigger phrase")).to_be_visible()
    type_and_reload(page, "Trigger phrase", "zapgun")
    expect(page.get_by_label("Trigger phrase")).to_have_value("zapgun")
    expect(page.get_by_text("Drop a folder of clips, or a zip")).to_be_visible()


def test_a_draft_that_was_begun_and_emptied_leaves_nothing(visit: Visit) -> None:
    page = visit.page
    visit.go()
    page.get_by_label("Trigger phrase").fill("zapgun")
    page.wait_for_timeout(500)
    page.get_by_label("Trigger phrase").fill("")
    page.wait_for_timeout(500)
    page.reload()
    expect(page.get_by_label("Trigger phrase")).to_have_value("")
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('soundlora.draft'))") == []
