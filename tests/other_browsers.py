"""Firefox by WebDriver BiDi and WebKit by classic WebDriver, over a sound card that is none.

Playwright drives builds of its own of these browsers; these are the ones that people have.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from local_http import free_port
from waiting import wait_until
from websockets.sync.client import ClientConnection, connect

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
WEBKIT = shutil.which("WebKitWebDriver")
SINK_RATE = 48_000
_PREFERENCES = {
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


class Browser(Protocol):
    """What the test asks of a browser. A selector is one of CSS, and names one element."""

    def go(self, url: str) -> None: ...
    def value(self, expression: str) -> Any: ...
    def click(self, selector: str) -> None: ...
    def choose(self, selector: str, files: list[Path]) -> None: ...


class Firefox:
    """A headless Firefox, spoken to over one WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last = socket, 0
        self._ask("session.new", capabilities={})
        self._context = self._ask("browsingContext.getTree")["contexts"][0]["context"]

    def go(self, url: str) -> None:
        self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def value(self, expression: str) -> Any:
        found = self._ask(
            "script.evaluate",
            expression=f"JSON.stringify(({expression}) ?? null)",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        origin = {"type": "element", "element": self._node(selector)}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        source = {"type": "pointer", "id": "mouse", "actions": actions}
        self._ask("input.performActions", context=self._context, actions=[source])

    def choose(self, selector: str, files: list[Path]) -> None:
        self._ask(
            "input.setFiles", context=self._context, element=self._node(selector), files=[str(file) for file in files]
        )

    def _node(self, selector: str) -> dict[str, str]:
        found = self._ask(
            "browsingContext.locateNodes", context=self._context, locator={"type": "css", "value": selector}
        )["nodes"]
        assert len(found) == 1, f"{len(found)} elements match {selector}"
        return {"sharedId": found[0]["sharedId"]}

    def _ask(self, method: str, **params: Any) -> Any:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said.get("id") == self._last:
                assert said["type"] == "success", f"{method}: {said}"
                return said["result"]


class WebKit:
    """WebKitGTK's MiniBrowser on a screen that is none, spoken to over HTTP."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}/session"
        self._root += "/" + self._ask("", {"capabilities": {}})["sessionId"]

    def go(self, url: str) -> None:
        self._ask("/url", {"url": url})

    def value(self, expression: str) -> Any:
        return json.loads(
            self._ask("/execute/sync", {"script": f"return JSON.stringify(({expression}) ?? null)", "args": []})
        )

    def click(self, selector: str) -> None:
        self._ask(f"{self._element(selector)}/click", {})

    def choose(self, selector: str, files: list[Path]) -> None:
        self._ask(f"{self._element(selector)}/value", {"text": "\n".join(map(str, files))})

    def close(self) -> None:
        urllib.request.urlopen(urllib.request.Request(self._root, method="DELETE"), timeout=60).close()

    def _element(self, selector: str) -> str:
        found = self._ask("/element", {"using": "css selector", "value": selector})
        return f"/element/{next(iter(found.values()))}"

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._root + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextlib.contextmanager
def firefox(folder: Path, environment: dict[str, str]) -> Iterator[Firefox]:
    port = free_port()
    profile = folder / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    assert FIREFOX is not None
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), f"--remote-debugging-port={port}"]
    with _running(command, environment):
        socket = wait_until(lambda: _connected(port))
        assert socket is not None
        with socket:
            yield Firefox(socket)


@contextlib.contextmanager
def webkit(environment: dict[str, str]) -> Iterator[WebKit]:
    port = free_port()
    assert WEBKIT is not None
    # A container has no user namespaces for WebKit's sandbox, and this browser visits one server of ours.
    own = environment | {"WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1", "LIBGL_ALWAYS_SOFTWARE": "1"}
    with _running(["xvfb-run", "--auto-servernum", WEBKIT, f"--port={port}"], own):
        wait_until(lambda: _answers(port))
        browser = WebKit(port)
        yield browser
        browser.close()


class SoundCard:
    """A sink of PulseAudio that plays to nobody; what is played can be recorded."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def hears(self, action: Callable[[], None] = lambda: None, seconds: float = 20) -> bool:
        """Say whether anything is played from just before the action on; whoever waits is told at once."""
        command = ["parec", "--device=none.monitor", "--format=float32le", "--channels=1", f"--rate={SINK_RATE}"]
        tenth = SINK_RATE // 10
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as recorder:
            assert recorder.stdout is not None
            recorder.stdout.read(4)  # it has begun
            action()
            # The card's silence is exactly 0.
            found = any(
                np.abs(np.frombuffer(recorder.stdout.read(4 * tenth), np.float32)).max() > 0.01
                for _ in range(int(10 * seconds))
            )
            recorder.terminate()
        return found


@contextlib.contextmanager
def sound_card(folder: Path) -> Iterator[SoundCard]:
    home = folder / "home"
    home.mkdir()
    folder.chmod(0o700)
    environment = os.environ | {
        "HOME": str(home), "XDG_RUNTIME_DIR": str(folder), "PULSE_SERVER": f"unix:{folder}/card",
    }  # fmt: skip
    command = [
        "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
        f"--load=module-null-sink sink_name=none rate={SINK_RATE}",
        f"--load=module-native-protocol-unix socket={folder}/card auth-anonymous=1",
    ]  # fmt: skip
    with _running(command, environment):
        wait_until((folder / "card").exists)
        yield SoundCard(environment)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _connected(port: int) -> ClientConnection | None:
    with contextlib.suppress(OSError):
        return connect(f"ws://127.0.0.1:{port}/session", max_size=None, proxy=None)
    return None


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5).close()
        return True
    return False
