"""The official Python client, sync and async, against a server on a port, with a worker that does as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fal_client
import fal_client.client
import pytest
from live_server import live, working

from soundlora.contract.modes import MODES
from soundlora.server.endpoints import TRAINERS, TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome, cancelled
from soundlora.server.store.requests import Request

INPUT = {"training_data_url": "https://example.com/clips.zip", "number_of_steps": 100}


def train(request: Request, beat: Callable[..., bool]) -> Outcome:
    """Says three lines; one that is told to wait does so until it is cancelled."""
    assert request.input is not None
    for n in range(3):
        beat(lines=[(float(n), "INFO", f"line {n}")])
    while request.input.get("trigger_phrase") == "wait":
        if beat():
            return cancelled()
    return Outcome(200, {"lora_file": {"url": "/files/0a/lora.safetensors"}, "request": request.id}, units=100)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    app = create_app(Settings(data_dir=tmp_path), executor=False)
    monkeypatch.setenv("FAL_KEY", "local")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with live(app) as url, working(app.state.service.requests, train):
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{url}/")
        monkeypatch.setattr(fal_client.client, "RUN_URL_FORMAT", f"{url}/run/")
        yield url


@pytest.fixture
def client(address: str) -> Iterator[fal_client.SyncClient]:
    client = fal_client.SyncClient(key="local")
    yield client
    client._client.close()  # it has no way of its own to do that


def lora(result: Any) -> str:
    return str(result["lora_file"]["url"])


def test_submit_follow_and_fetch(address: str, client: fal_client.SyncClient) -> None:
    handle = client.submit(TRAINING, INPUT)
    events = list(handle.iter_events(with_logs=True, interval=0.05))
    assert isinstance(events[-1], fal_client.Completed)
    assert [line["message"] for line in events[-1].logs or []] == ["line 0", "line 1", "line 2"]
    assert events[-1].error is None
    assert lora(handle.get()) == f"{address}/files/0a/lora.safetensors"
    assert isinstance(client.status(TRAINING, handle.request_id), fal_client.Completed)
    assert client.result(TRAINING, handle.request_id)["request"] == handle.request_id


@pytest.mark.parametrize("endpoint", [f"{TRAINERS}/{name}" for mode in MODES.values() for name in mode.endpoints])
def test_every_training_endpoint(address: str, client: fal_client.SyncClient, endpoint: str) -> None:
    result = client.subscribe(endpoint, INPUT)
    assert lora(result) == f"{address}/files/0a/lora.safetensors"
    handle = client.submit(endpoint, INPUT | {"audio_duration_seconds": 0.5, "conditioning_seconds": 0.5})
    if "extend" in endpoint:
        with pytest.raises(fal_client.client.FalClientHTTPError) as refused:
            handle.get()
        (error,) = refused.value.response.json()["detail"]
        assert (error["loc"], error["type"]) == (["body", "conditioning_seconds"], "less_than")
        assert error["ctx"] == {"lt": 0.5}
    else:
        assert handle.get()["request"] == handle.request_id


def test_subscribe_and_run(address: str, client: fal_client.SyncClient) -> None:
    told: list[Any] = []
    result = client.subscribe(TRAINING, INPUT, with_logs=True, on_queue_update=told.append)
    assert lora(result) == f"{address}/files/0a/lora.safetensors"
    assert isinstance(told[-1], fal_client.Completed)
    assert lora(client.run(TRAINING, INPUT)) == f"{address}/files/0a/lora.safetensors"


def test_cancel(client: fal_client.SyncClient) -> None:
    handle = client.submit(TRAINING, INPUT | {"trigger_phrase": "wait"})
    waiting = client.submit(TRAINING, INPUT)
    waiting.cancel()
    handle.cancel()
    for each in (handle, waiting):
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            each.get()
        assert (caught.value.status_code, caught.value.error_type) == (499, "client_cancelled")


def test_a_wrong_input_is_an_error_at_the_result(client: fal_client.SyncClient) -> None:
    handle = client.submit(TRAINING, {"training_data_url": "https://example.com/x.zip", "rank": 5})
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()
    assert caught.value.status_code == 422
    detail: Any = caught.value.response.json()["detail"]
    assert (detail[0]["loc"], detail[0]["type"]) == (["body", "rank"], "one_of")


def test_async(address: str) -> None:
    async def go() -> None:
        client = fal_client.AsyncClient(key="local")
        handle = await client.submit(TRAINING, INPUT, priority="low")
        events = [event async for event in handle.iter_events(with_logs=True, interval=0.05)]
        assert isinstance(events[-1], fal_client.Completed)
        assert [line["message"] for line in events[-1].logs or []] == ["line 0", "line 1", "line 2"]
        assert lora(await handle.get()) == f"{address}/files/0a/lora.safetensors"
        assert lora(await client.subscribe(TRAINING, INPUT)) == f"{address}/files/0a/lora.safetensors"
        other = await client.submit(TRAINING, INPUT | {"trigger_phrase": "wait"})
        await other.cancel()
        with pytest.raises(fal_client.FalClientHTTPError, match="cancelled"):
            await other.get()
        wrong = await client.submit(TRAINING, {})
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            await wrong.get()
        assert caught.value.status_code == 422
        await (await client._client).aclose()

    asyncio.run(go())


def test_a_second_server_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = create_app(settings, executor=False)
    with live(first):
        id = first.state.service.requests.submit(TRAINING, INPUT).id
    second = create_app(settings, executor=False)
    with live(second), working(second.state.service.requests, train):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and second.state.service.requests.queued():
            time.sleep(0.05)
    found = second.state.service.requests.find(id)
    assert (found.state, found.status_code) == ("completed", 200)
