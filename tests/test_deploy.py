"""What docs/server.md and deploy/ give to whoever runs a server: proxies, a unit for systemd, a container file."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from live_server import live, working
from local_http import free_port
from waiting import wait_until

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests

ROOT = Path(__file__).parents[1]
PAUSE = 1.0  # seconds between two events of a run
UPLOAD = 8_000_000  # bytes, above what nginx lets through by itself

Proxy = Callable[[Path, str], contextlib.AbstractContextManager[str]]


def documented(start: str) -> str:
    """The code block of docs/server.md that begins so."""
    blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / "docs" / "server.md").read_text(), re.DOTALL)
    found: str
    (found,) = [block for block in blocks if block.startswith(start)]
    return found


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Every left side must be there, or the test would test another configuration."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def nginx(folder: Path, server: str) -> Iterator[str]:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        pytest.skip("there is no nginx on this machine; Debian's package is called nginx-light")
    port = free_port()
    block = replaced(
        documented("server {"), ("listen 443 ssl", f"listen 127.0.0.1:{port}"), ("http://127.0.0.1:8420", server)
    )
    block = re.sub(r"ssl_certificate.*\n", "", block)
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder / name};\n" for name in names)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/errors; events {{}}\n"
        f"http {{ access_log off; {places} {block} }}\n"
    )
    with running([program, "-c", str(config), "-p", str(folder)], port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def caddy(folder: Path, server: str) -> Iterator[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("there is no caddy on this machine; Debian's package is called caddy")
    port = free_port()
    block = replaced(
        documented("sound.example {"),
        ("sound.example", f"http://127.0.0.1:{port}"),
        ("127.0.0.1:8420", server.removeprefix("http://")),
    )
    config = folder / "Caddyfile"
    config.write_text("{\n    admin off\n}\n" + block)
    with running([program, "run", "--config", str(config), "--adapter", "caddyfile"], port):
        yield f"http://127.0.0.1:{port}"


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: process.poll() is not None or listens(port), 20)
        assert process.poll() is None, process.communicate()[1]
        yield
    finally:
        process.terminate()
        process.communicate()


def slow_work(request: object, beat: Callable[..., bool]) -> Outcome:
    beat(lines=[(1.0, "INFO", "begun")])
    time.sleep(PAUSE)
    beat(lines=[(2.0, "INFO", "going on")])
    time.sleep(PAUSE)
    return Outcome(200, {"audio": {"url": "/files/x"}})


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_the_documented_proxy_lets_everything_through(proxy: Proxy, tmp_path: Path) -> None:
    public = "https://sound.example"
    app = create_app(Settings(data_dir=tmp_path / "data", public_url=public), executor=False)
    service: Service = app.state.service
    requests: Requests = service.requests
    with live(app) as server, proxy(tmp_path, server) as address, httpx2.Client(base_url=address, timeout=30) as client:
        accepted = client.post(f"/{TRAINING}", json={"training_data_url": "https://example.com/a.zip"}).json()
        id = accepted["request_id"]
        assert accepted["status_url"].startswith(f"{public}/fal-ai/ltx23-trainer-v2/requests/{id}")

        arrived: list[tuple[float, str]] = []
        with (
            working(requests, slow_work),
            client.stream("GET", f"/fal-ai/ltx23-trainer-v2/requests/{id}/status/stream?logs=1") as stream,
        ):
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    arrived.append((time.monotonic(), json.loads(line[6:])["status"]))
        assert arrived[-1][1] == "COMPLETED"
        # Events come as they happen, not collected at the end.
        first_news = next(at for at, status in arrived if status == "IN_PROGRESS")
        assert arrived[-1][0] - first_news > PAUSE

        token = client.post("/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
        body = bytes(range(250)) * (UPLOAD // 250)
        sent = client.post(
            "/files/upload",
            content=body,
            headers={"Authorization": f"Bearer {token['token']}", "X-Fal-File-Name": "a.zip"},
        )
        assert sent.status_code == 200, sent.text
        path = sent.json()["access_url"].removeprefix(public)
        assert client.get(path).content == body
        part = client.get(path, headers={"Range": "bytes=1000-1003"})
        assert (part.status_code, part.content) == (206, body[1000:1004])


def test_the_unit_is_what_systemd_understands(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd on this machine")
    unit = tmp_path / "soundlora.service"
    text = (ROOT / "deploy" / "soundlora.service").read_text()
    # The program is where the documentation puts it, which is nowhere on this machine.
    unit.write_text(replaced(text, ("/opt/soundlora/bin/soundlora", sys.executable)))
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert [line for line in found.stderr.splitlines() if "soundlora.service" in line] == []
    assert found.returncode == 0


def test_the_container_gets_all_that_the_package_is_built_from() -> None:
    lines = (ROOT / "deploy" / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in shlex.split(line)[1:-1]}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (readme,) = settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    license_files = settings["project"]["license-files"]
    assert copied >= {"pyproject.toml", "hatch_build.py", "src", readme["path"], *license_files}
    (install,) = [line for line in lines if "pip install" in line]
    assert "--constraint constraints.txt" in install
    assert "constraints.txt" in copied
