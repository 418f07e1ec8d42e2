"""From a drop to A and B in Firefox and in WebKit, heard on a sound card that is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Server
from other_browsers import FIREFOX, WEBKIT, Browser, SoundCard, firefox, sound_card, webkit
from support import BaseNames
from waiting import wait_until

from soundlora.server.http.page import is_built

pytestmark = [
    pytest.mark.browsers,
    pytest.mark.skipif(not is_built(), reason="the page was not built"),
    pytest.mark.skipif(
        not shutil.which("pulseaudio"), reason="PulseAudio is missing (Debian: apt-get install pulseaudio)"
    ),
]


@pytest.fixture(scope="module")
def service(quick_base_25: BaseNames, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It trains the quick base, since with nano a busy machine takes minutes."""
    server = Server(tmp_path_factory.mktemp("service"), quick_base_25.checkpoint)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoundCard]:
    with sound_card(tmp_path_factory.mktemp("card")) as found:
        yield found


@pytest.mark.skipif(FIREFOX is None, reason="Firefox is missing (Debian: apt-get install firefox-esr)")
def test_from_a_drop_to_a_and_b_in_firefox(service: Server, card: SoundCard, clips: Path, tmp_path: Path) -> None:
    with firefox(tmp_path, card.environment) as browser:
        from_a_drop_to_a_and_b(Tab(browser, service.url), card, clips)


@pytest.mark.skipif(WEBKIT is None, reason="WebKit is missing (Debian: apt-get install webkit2gtk-driver xvfb)")
def test_from_a_drop_to_a_and_b_in_webkit(service: Server, card: SoundCard, clips: Path) -> None:
    with webkit(card.environment) as browser:
        from_a_drop_to_a_and_b(Tab(browser, service.url), card, clips)


def from_a_drop_to_a_and_b(tab: Tab, card: SoundCard, clips: Path) -> None:
    tab.browser.go(f"{tab.url}/#/")
    tab.wait_for("Zip or audio files", within="document.body.innerHTML")
    tab.browser.choose("[aria-label='Zip or audio files']", [clips])
    tab.wait_for("4 of 4 clips will be trained on")
    tab.type("#field-trigger_phrase", "zapgun")
    tab.type("[aria-label='Preview prompts 1']", "zapgun fast laser zaps")
    tab.type("#field-number_of_steps", "100")
    tab.type("#field-audio_duration_seconds", "1")
    tab.press("Start training")
    tab.wait_for("Files", within="[...document.querySelectorAll('h2')].map((h) => h.textContent).join()", seconds=240)
    assert not card.hears(seconds=0.5)

    # In WebKitGTK a sound that stood there while others came stays silent until the page is loaded again.
    tab.browser.value("location.reload()")
    tab.wait_for("Play in step")
    # One sound alone plays by an <audio> element, and several in step do not.
    one = "document.querySelector('[aria-label=\"All previews\"] .play:enabled')"
    assert card.hears(lambda: tab.act(one))
    wait_until(lambda: not card.hears(seconds=0.5))
    assert card.hears(lambda: tab.press("Play in step"))
    # B is heard at first, and after your clip it goes round.
    tab.press("Switch to C")
    tab.press("Switch to A")
    tab.wait_for("Switch to B")
    assert "can’t be shown" not in tab.text()


class Tab:
    """What a reader of the page does, by its words."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def text(self) -> str:
        return str(self.browser.value("document.body.innerText"))

    def wait_for(self, words: str, *, within: str = "document.body.innerText", seconds: float = 60) -> None:
        wait_until(lambda: self.browser.value(f"({within}).includes({json.dumps(words)})"), seconds)

    def press(self, name: str) -> None:
        found = (
            "[...document.querySelectorAll('button')]"
            f".find((one) => !one.disabled && one.innerText.trim() === {json.dumps(name)})"
        )
        self.act(found)

    def act(self, found: str) -> None:
        """Click the element that the expression finds, once it is there."""
        wait_until(lambda: self.browser.value(f"Boolean({found})"))
        self.browser.value(f"({found}).setAttribute('data-clicked', '')")
        self.browser.click("[data-clicked]")
        self.browser.value("document.querySelector('[data-clicked]')?.removeAttribute('data-clicked')")

    def type(self, selector: str, text: str) -> None:
        field = f"document.querySelector({json.dumps(selector)})"
        self.browser.value(f"{field}.value = {json.dumps(text)}")
        for kind in ("input", "change"):
            self.browser.value(f"{field}.dispatchEvent(new Event('{kind}', {{bubbles: true}}))")
