"""With the real fal_client, against the real server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fal_client
import httpx2
import pytest
from fal_client.client import MultipartUpload
from fastapi import FastAPI
from live_server import live

from soundlora.client import connect
from soundlora.errors import InputError
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome

TRAINING = "fal-ai/ltx23-trainer-v2/t2a"
PATCHED = ("QUEUE_URL_FORMAT", "RUN_URL_FORMAT", "REST_URL", "CDN_URL")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path / "data"), executor=False)


@pytest.fixture
def url(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # What connect changes is put back after the test.
    for name in PATCHED:
        monkeypatch.setattr(fal_client.client, name, getattr(fal_client.client, name))
    monkeypatch.setenv("FAL_KEY", "a key of the hosted service")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The client itself leaves the connections of its uploads open.
    opened: list[Any] = []
    open_client = fal_client.SyncClient._get_cdn_client

    def remembered(self: fal_client.SyncClient) -> Any:
        opened.append(open_client(self))
        return opened[-1]

    monkeypatch.setattr(fal_client.SyncClient, "_get_cdn_client", remembered)
    with live(app) as found:
        yield found
    for client in opened:
        client.close()
    close_shared_client()


@pytest.fixture
def connected(url: str) -> str:
    connect(url)
    return url


def close_shared_client() -> None:
    if "_client" in vars(fal_client.sync_client):
        fal_client.sync_client._client.close()


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fal_client.client, "MULTIPART_THRESHOLD", 100_000)
    monkeypatch.setattr(fal_client.client, "MULTIPART_CHUNK_SIZE", 30_000)


def content(size: int) -> bytes:
    return os.urandom(size)


def test_a_small_upload_comes_back(connected: str) -> None:
    sent = content(50_000)
    url = fal_client.upload(sent, "application/zip", "clips.zip")
    assert url.startswith(f"{connected}/files/")
    assert url.endswith("/clips.zip")
    found = httpx2.get(url)
    assert found.content == sent
    assert found.headers["content-type"] == "application/zip"


def test_a_file_is_uploaded_in_parts_that_arrive_in_any_order(
    connected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    path = tmp_path / "clips.zip"
    path.write_bytes(content(1_000_001))
    url = fal_client.upload_file(path)
    assert httpx2.get(url).content == path.read_bytes()


def test_parts_are_joined_by_number_not_by_arrival(connected: str, app: FastAPI) -> None:
    with httpx2.Client() as http:
        begun = http.post(
            f"{connected}/files/upload/multipart", headers={"X-Fal-File-Name": "a.bin", "Authorization": "Key local"}
        ).json()
        address = f"{begun['access_url']}/multipart/{begun['uploadId']}"
        for number, part in ((10, b"last"), (2, b"second "), (1, b"first ")):
            assert http.put(f"{address}/{number}", content=part).headers["etag"]
        listed = [{"partNumber": number, "etag": "any"} for number in (10, 1, 2)]
        assert http.post(f"{address}/complete", json={"parts": listed}).status_code == 200
        assert http.get(begun["access_url"]).content == b"first second last"
    assert list(app.state.service.storage.list("parts")) == []


def test_the_asynchronous_client_uploads_too(connected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    path = tmp_path / "clips.zip"
    path.write_bytes(content(400_000))

    async def scene() -> None:
        client = fal_client.AsyncClient(key="local")
        whole = await client.upload(b"small", "audio/wav", "a.wav")
        parts = await client.upload_file(path)
        stored = await client.upload(b"stored", "audio/wav", "a.wav", repository="fal")
        assert httpx2.get(whole).content == b"small"
        assert httpx2.get(parts).content == path.read_bytes()
        assert httpx2.get(stored).content == b"stored"
        await (await client._client).aclose()

    asyncio.run(scene())


def test_more_than_a_hundred_mebibytes_go_in_parts_by_themselves(
    connected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Any] = []
    save = MultipartUpload.save_file

    def noted(**given: Any) -> Any:
        saved.append(given)
        return save(**given)

    monkeypatch.setattr(MultipartUpload, "save_file", noted)
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        for number in range(101):
            file.write(bytes([number]) * 1024**2)
    url = fal_client.upload_file(path)
    assert len(saved) == 1
    with httpx2.stream("GET", url) as found:
        position = 0
        for piece in found.iter_bytes(1024**2):
            assert piece == bytes([position]) * 1024**2
            position += 1
    assert position == 101


def test_the_other_repository_works(connected: str) -> None:
    url = fal_client.upload(b"bytes", "audio/wav", "a.wav", repository="fal")
    assert httpx2.get(url).content == b"bytes"


def test_a_lifetime_is_kept(connected: str, app: FastAPI) -> None:
    lifecycle = fal_client.StorageSettings(expires_in="1h")
    for repository in ("fal_v3", "fal"):
        url = fal_client.upload(b"bytes", "audio/wav", "a.wav", repository=repository, lifecycle=lifecycle)
        row = app.state.service.files.find(url.split("/")[-2])
        assert row.expires_at - row.created_at == pytest.approx(3600, abs=60)


def test_a_request_is_submitted_watched_and_answered(connected: str, app: FastAPI) -> None:
    data = fal_client.upload(b"zip", "application/zip", "clips.zip")
    handle = fal_client.submit(TRAINING, {"training_data_url": data})
    assert isinstance(handle.status(with_logs=True), fal_client.Queued)
    requests = app.state.service.requests
    taken = requests.claim()
    requests.beat(taken.id, taken.owner, lines=[(0.0, "INFO", "it runs")])
    result = {"lora_file": {"url": "/files/x/lora.safetensors"}, "config_file": {"url": "/files/y/config.json"}}
    requests.finish(taken.id, taken.owner, Outcome(200, result, units=2000))
    messages = [
        log["message"] for event in handle.iter_events(with_logs=True) for log in getattr(event, "logs", None) or ()
    ]
    assert messages == ["it runs"]
    assert handle.get()["lora_file"]["url"] == f"{connected}/files/x/lora.safetensors"


def test_a_queued_request_is_cancelled(connected: str) -> None:
    handle = fal_client.submit(TRAINING, {"training_data_url": "https://sound.example/x.zip"})
    handle.cancel()
    with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
        handle.get()
    assert cancelled.value.status_code == 499


def test_run_waits_for_the_result_of_what_is_wrong(connected: str) -> None:
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        fal_client.run(TRAINING, {"training_data_url": "https://sound.example/x.zip", "rank": 7})
    assert refused.value.status_code == 422
    assert refused.value.response.json()["detail"][0]["loc"] == ["body", "rank"]


def test_a_second_connection_forgets_the_first_ones_key(url: str, app: FastAPI) -> None:
    connect(url, key="first")
    fal_client.upload(b"x", "audio/wav", "a.wav")
    _, secret = app.state.service.keys.create("studio")
    close_shared_client()
    connect(url + "/", key=secret)
    assert os.environ["FAL_KEY"] == secret
    app.state.service.authenticator._read_at = -1e9
    assert fal_client.upload(b"x", "audio/wav", "a.wav")
    stranger = fal_client.SyncClient(key="wrong")
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        stranger.submit(TRAINING, {})
    stranger._client.close()
    assert refused.value.status_code == 401


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "", "ws://host"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="is not the address of a server"):
        connect(url)
