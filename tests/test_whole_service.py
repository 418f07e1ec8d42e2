"""The whole service for real: both official clients bring a zip, and take a LoRA home that generates.

It is one of the quick base, or, for the client of JavaScript, one of nano.
"""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fal_client
import httpx2
import pytest
from example_zip import some_clips
from fastapi import FastAPI
from live_server import live
from rows import found
from safetensors.torch import load
from support import BaseNames
from test_node_client import FOLDER, node  # noqa: F401  (a fixture)
from waiting import wait_until

import soundlora.client
from soundlora.server.endpoints import GENERATION_WITH_LORA, TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings

FIELDS: dict[str, Any] = {"number_of_steps": 100, "rank": 8, "audio_duration_seconds": 1}


@pytest.fixture
def app(
    request: pytest.FixtureRequest, quick_base_25: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FastAPI:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    base = getattr(request, "param", quick_base_25.checkpoint)
    return create_app(Settings(data_dir=tmp_path / "data", base=base))


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with live(app) as found:
        yield found


@pytest.fixture
def connected(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("QUEUE_URL_FORMAT", "RUN_URL_FORMAT", "REST_URL", "CDN_URL"):
        monkeypatch.setattr(fal_client.client, name, getattr(fal_client.client, name))
    monkeypatch.setenv("FAL_KEY", "local")
    soundlora.client.connect(url)
    yield url
    fal_client.sync_client._client.close()  # it has no way of its own to do that


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        content: bytes = answer.read()
    return content


# fal_client leaves the connections of its uploads open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_python_trains_hears_previews_and_generates(app: FastAPI, connected: str, tmp_path: Path) -> None:
    archive = tmp_path / "clips.zip"
    archive.write_bytes(fetched(some_clips()))
    fields = FIELDS | {
        "training_data_url": fal_client.upload_file(archive),
        "trigger_phrase": "zapgun",
        "validation": [{"prompt": "zapgun fast high laser zaps"}],
    }
    told: list[Any] = []
    result = fal_client.subscribe(TRAINING, fields, with_logs=True, on_queue_update=told.append)
    assert any(line["message"].startswith("Step 100 of 100") for line in told[-1].logs)
    assert len(load(fetched(result["lora_file"]["url"]))) == 2 * 10 * 2
    assert result["lora_file"]["file_name"] == "zapgun-100.safetensors"
    with urllib.request.urlopen(result["lora_file"]["url"]) as answer:
        assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''zapgun-100.safetensors"
    assert b'instance_prompt: "zapgun"' in fetched(result["card"]["url"])
    config = json.loads(fetched(result["config_file"]["url"]))
    assert config["trigger_phrase"] == "zapgun"
    assert [preview["file_name"] for preview in result["previews"]] == [
        f"step_{step:06d}_prompt_0.wav" for step in (0, 25, 50, 75, 100)
    ]
    assert fetched(result["audio"]["url"])[:4] == b"RIFF"
    with app.state.service.database.read() as connection:
        billed = connection.exec_driver_sql("SELECT units, unit_nano_usd FROM ledger").all()
    assert billed == [(100, 2_200_000)]

    heard = {}
    for scale in (0.0, 1.0):
        loras = [{"path": result["lora_file"]["url"], "scale": scale}]
        wishes = {"prompt": "zapgun laser zaps", "num_frames": 25, "seed": 5, "loras": loras}
        answer = fal_client.run(GENERATION_WITH_LORA, wishes)
        assert answer["seed"] == 5
        heard[scale] = fetched(answer["audio"]["url"])
    assert heard[0.0] != heard[1.0]


@pytest.mark.slow
def test_a_cancelled_run_goes_on_in_the_folder_of_a_new_request(app: FastAPI, url: str) -> None:
    """Its data lie in that folder, and have moved along."""
    with httpx2.Client(base_url=url) as client:
        fields = FIELDS | {"number_of_steps": 200, "training_data_url": some_clips()}
        requests = app.state.service.requests
        first = client.post(f"/{TRAINING}", json=fields, headers={"X-Fal-Store-IO": "0"}).json()["request_id"]

        def said(request_id: str) -> list[str]:
            return [line.message for line in requests.log_lines(request_id)]

        wait_until(lambda: any(line.startswith("Step ") for line in said(first)), 120)
        client.put(f"/fal-ai/ltx23-trainer-v2/requests/{first}/cancel")
        wait_until(lambda: found(requests, first).state == "completed", 60)
        again = client.post(f"/v1/runs/{first}/resume").json()["request_id"]
        wait_until(lambda: found(requests, again).state == "completed", 240)
        ended = found(requests, again)
        assert (ended.status_code, ended.keep_payloads, ended.error) == (200, False, None)
        assert "Going on with the run of an earlier worker" in said(again)
        assert min(point.step for point in requests.points(again) if point.name == "loss") == 1


@pytest.mark.slow
@pytest.mark.parametrize("app", ["nano"], indirect=True)
def test_javascript_trains(app: FastAPI, url: str, node: Path) -> None:  # noqa: F811
    done = subprocess.run(
        [node, "scenes.mjs", "training", url, "middleware"],
        cwd=FOLDER,
        input=some_clips(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["size"] == seen["result"]["data"]["lora_file"]["file_size"] > 100_000
    steps = [line for line in seen["lines"] if line.startswith("Step 100 of 100")]
    assert len(steps) == 1  # a stream tells each line once
