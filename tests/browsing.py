"""A browser in front of a real server with real runs, for the tests of the page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

from playwright import sync_api

AXE = Path(__file__).parents[1] / "src" / "soundlora" / "web" / "node_modules" / "axe-core" / "axe.min.js"


class Server:
    """`soundlora serve` in a process of its own; it can be stopped and started again at the same address."""

    def __init__(self, folder: Path, base: str = "nano") -> None:
        self.folder, self.base, self.url = folder, base, ""
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "serve"]
        self._process = subprocess.Popen(
            [*command, "--port", port, "--data-dir", str(self.folder), "--base", self.base],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "SOUNDLORA_CACHE": str(self.folder / "cache")},
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        self.url = first.split()[2].rstrip(";")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=60)
            self._process = None


class Visit:
    """A tab, what it has complained of, and where its requests went."""

    def __init__(self, page: sync_api.Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: sync_api.Request) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.elsewhere.append(request.url)

    def go(self, to: str = "") -> None:
        self.page.goto(f"{self.url}/#/{to}")

    def button(self, name: str) -> sync_api.Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def drop(self, path: Path) -> None:
        """Choose the file as the button does."""
        self.page.get_by_label("Zip or audio files").set_input_files(path)

    def violations(self) -> list[str]:
        """What axe finds; the sounds' canvases are part of it."""
        if not AXE.exists():
            return []
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]

    def overflow(self) -> int:
        """Pixels that stick out at the side."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    def check_looks(self) -> None:
        """Assert that nothing sticks out and axe finds nothing, wide and light, narrow and dark."""
        looks: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1280, "light"), (360, "dark"))
        for width, look in looks:
            self.page.set_viewport_size({"width": width, "height": 740})
            self.page.emulate_media(color_scheme=look)
            assert self.overflow() <= 0
            assert self.violations() == []


def fill(visit: Visit, *, steps: int = 100, prompt: str = "zapgun fast laser zaps") -> None:
    page = visit.page
    page.get_by_label("Trigger phrase").fill("zapgun")
    page.get_by_label("Preview prompts 1").fill(prompt)
    page.locator("#field-number_of_steps").fill(str(steps))
    page.get_by_text("8", exact=True).first.click()
