from __future__ import annotations

import asyncio
import datetime
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from live_server import live
from s3_server import BUCKET, bucket, serving_s3

from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings
from soundlora.server.store.tables import files as table

MOST = 100_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", max_upload_bytes=MOST)


def local(url: str) -> str:
    """The URL without its origin."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def initiate(client: TestClient | httpx2.Client, kind: str = "initiate", **headers: str) -> tuple[str, str]:
    given = {"file_name": "clips.zip", "content_type": "application/zip"}
    found = client.post(f"/storage/upload/{kind}?storage_type=gcs", json=given, headers=headers)
    assert found.status_code == 200
    return local(found.json()["upload_url"]), local(found.json()["file_url"])


def nothing_is_left(service: Service) -> bool:
    with service.database.read() as connection:
        whole = connection.execute(sa.select(table).where(table.c.size.is_not(None))).all()
    return not whole and not list(service.storage.list("files")) and not list(service.storage.list("parts"))


def no_rows(service: Service) -> bool:
    with service.database.read() as connection:
        return not connection.execute(sa.select(table)).all()


def test_a_token_is_what_the_python_client_expects(client: TestClient) -> None:
    found = client.post("/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    assert found["token_type"] == "Bearer"
    assert found["base_url"] == "http://localhost"
    until = datetime.datetime.fromisoformat(found["expires_at"])
    assert until > datetime.datetime.now(datetime.UTC)


def test_a_token_lets_files_in_and_nothing_else(client: TestClient, service: Service) -> None:
    key, secret = service.keys.create("studio")
    service.authenticator._read_at = -1e9
    assert client.post("/storage/auth/token").status_code == 401
    token = client.post("/storage/auth/token", headers={"Authorization": f"Key {secret}"}).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    found = client.post("/files/upload", content=b"x", headers=bearer)
    assert found.status_code == 200
    row = service.files.find(found.json()["access_url"].split("/")[-2])
    assert row is not None
    assert row.key_id == key.id
    for path in ("/storage/auth/token", "/storage/upload/initiate", "/fal-ai/ltx23-trainer-v2/t2a"):
        assert client.post(path, json={}, headers=bearer).status_code == 401
    assert client.post("/files/upload", content=b"x").status_code == 401
    assert client.post("/files/upload/multipart").status_code == 401


def test_a_token_is_good_no_longer_than_its_key(client: TestClient, service: Service) -> None:
    anonymous = client.post("/storage/auth/token").json()["token"]
    key, secret = service.keys.create("studio")
    other = service.keys.create("other")[0]
    service.authenticator._read_at = -1e9
    token = client.post("/storage/auth/token", headers={"Authorization": f"Key {secret}"}).json()["token"]

    def sent(token: str) -> int:
        service.authenticator._read_at = -1e9
        headers = {"Authorization": f"Bearer {token}"}
        return int(client.post("/files/upload", content=b"x", headers=headers).status_code)

    assert [sent(anonymous), sent(token)] == [401, 200]
    service.keys.revoke(other.id)
    assert sent(token) == 200
    service.keys.revoke(key.id)
    assert sent(token) == 401


def test_an_upload_keeps_name_type_and_lifetime(client: TestClient, service: Service) -> None:
    headers = {
        "X-Fal-File-Name": "Glöckchen.wav".encode().decode("latin-1"),
        "Content-Type": "audio/wav",
        "X-Fal-Object-Lifecycle": '{"expiration_duration_seconds": 3600, "initial_acl": {"default": "allow"}}',
    }
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    found = client.post("/files/upload", content=b"RIFF", headers=raw).json()
    row = service.files.find(found["access_url"].split("/")[-2])
    assert row is not None
    assert (row.name, row.content_type, row.size, row.role) == ("Glöckchen.wav", "audio/wav", 4, "upload")
    assert row.expires_at == pytest.approx(time.time() + 3600, abs=60)


def test_an_upload_without_headers_gets_a_name(client: TestClient, service: Service) -> None:
    found = client.post("/files/upload", content=b"x").json()
    row = service.files.find(found["access_url"].split("/")[-2])
    assert row is not None
    assert (row.name, row.content_type, row.expires_at) == ("upload.bin", "application/octet-stream", None)


@pytest.mark.parametrize(
    "wanted",
    [
        "soon",
        "[]",
        '{"expiration_duration_seconds": -1}',
        '{"expiration_duration_seconds": "1h"}',
        '{"expiration_duration_seconds": NaN}',
        '{"expiration_duration_seconds": true}',
    ],
)
def test_a_lifetime_that_is_none_is_refused(client: TestClient, service: Service, wanted: str) -> None:
    found = client.post("/files/upload", content=b"x", headers={"X-Fal-Object-Lifecycle": wanted})
    assert found.status_code == 400
    assert "X-Fal-Object-Lifecycle is not understood" in found.json()["detail"]
    assert no_rows(service)


def test_a_file_is_not_called_protected_when_it_is_not(client: TestClient, service: Service) -> None:
    wanted = '{"initial_acl": {"default": "forbid"}}'
    found = client.post("/files/upload", content=b"x", headers={"X-Fal-Object-Lifecycle": wanted})
    assert found.status_code == 400
    assert "can't forbid access" in found.json()["detail"]
    assert no_rows(service)


def test_a_signed_address_takes_the_file_without_a_key(client: TestClient, service: Service) -> None:
    _, secret = service.keys.create("studio")
    service.authenticator._read_at = -1e9
    upload, file = initiate(client, Authorization=f"Key {secret}")
    assert client.get(file).status_code == 404
    assert client.put(upload, content=b"zip").status_code == 200
    assert client.get(file).content == b"zip"


def test_a_file_never_changes_once_it_is_there(client: TestClient) -> None:
    upload, file = initiate(client)
    client.put(upload, content=b"first")
    assert client.put(upload, content=b"other").status_code == 200
    assert client.get(file).content == b"first"


def test_a_wrong_or_foreign_signature_is_refused(client: TestClient, service: Service) -> None:
    upload, _ = initiate(client)
    other, _ = initiate(client)
    path, _, token = upload.partition("?token=")
    foreign = other.partition("?")[0] + "?token=" + token
    for wrong in (path, f"{path}?token=x", f"{path}?token={token}x", foreign):
        assert client.put(wrong, content=b"zip").status_code == 403
        assert client.put(wrong.replace("?", "/1?"), content=b"zip").status_code in (403, 404)
    assert nothing_is_left(service)


def test_too_much_is_refused_whether_announced_or_not(client: TestClient, service: Service) -> None:
    def unannounced() -> Iterator[bytes]:
        for _ in range(11):
            yield b"x" * (MOST // 10)

    upload, _ = initiate(client)
    for answer in (
        client.post("/files/upload", content=b"x" * (MOST + 1)),
        client.post("/files/upload", content=unannounced()),
        client.put(upload, content=b"x" * (MOST + 1)),
        client.put(upload, content=unannounced()),
    ):
        assert answer.status_code == 413
        assert "100,000 bytes" in answer.json()["detail"]
    assert nothing_is_left(service)
    assert client.post("/files/upload", content=b"x" * MOST).status_code == 200


def test_parts_that_are_too_much_together_end_the_upload(client: TestClient, service: Service) -> None:
    begun = client.post("/files/upload/multipart").json()
    address = f"{local(begun['access_url'])}/multipart/{begun['uploadId']}"
    # A part that is sent again does not count twice.
    for number in (1, 1, 1, 2):
        assert client.put(f"{address}/{number}", content=b"x" * (MOST // 2)).status_code == 200
    assert client.put(f"{address}/3", content=b"x").status_code == 413
    assert no_rows(service)
    assert nothing_is_left(service)


@pytest.mark.parametrize("kind", ["named", "signed"])
def test_parts_become_a_file(client: TestClient, service: Service, kind: str) -> None:
    lifecycle = {"X-Fal-Object-Lifecycle": '{"expiration_duration_seconds": 60}'}
    if kind == "named":
        begun = client.post("/files/upload/multipart", headers=lifecycle | {"X-Fal-File-Name": "a.zip"}).json()
        file, address, search = local(begun["access_url"]), "", ""
        address = f"{file}/multipart/{begun['uploadId']}"
    else:
        upload, file = initiate(client, "initiate-multipart", **lifecycle)
        address, _, search = upload.partition("?")
        search = f"?{search}"
    listed: list[dict[str, Any]] = []
    for number, part in ((3, b"c"), (1, b"a"), (2, b"b")):
        sent = client.put(f"{address}/{number}{search}", content=part)
        assert sent.json() == {"partNumber": number, "etag": sent.headers["etag"]}
        listed.append(sent.json())
    assert client.get(file).status_code == 404
    for _ in range(2):  # the second time after an answer that got lost
        done = client.post(f"{address}/complete{search}", json={"parts": listed})
        assert done.status_code == 200
        assert local(done.json()["file_url"]) == file
    assert client.get(file).content == b"abc"
    assert not list(service.storage.list("parts"))
    row = service.files.find(file.split("/")[-2])
    assert row is not None
    assert row.expires_at == pytest.approx(time.time() + 60, abs=30)
    assert client.put(f"{address}/1{search}", content=b"z").status_code == 200
    assert not list(service.storage.list("parts"))


def test_a_part_that_is_missing_is_named(client: TestClient, service: Service) -> None:
    begun = client.post("/files/upload/multipart").json()
    address = f"{local(begun['access_url'])}/multipart/{begun['uploadId']}"
    client.put(f"{address}/1", content=b"a")
    missing = client.post(f"{address}/complete", json={"parts": [{"partNumber": 1}, {"partNumber": 2}]})
    assert (missing.status_code, "part 2" in missing.json()["detail"]) == (400, True)
    assert client.post(f"{address}/complete", json={"parts": []}).status_code == 400
    assert client.post(f"{address}/complete", json={"parts": "all"}).status_code == 422
    for number in (0, -1, 10_001):
        assert client.put(f"{address}/{number}", content=b"a").status_code == 400
    # It can still be mended.
    client.put(f"{address}/2", content=b"b")
    listed = [{"partNumber": 2}, {"partNumber": 1}]
    assert client.post(f"{address}/complete", json={"parts": listed}).status_code == 200
    assert client.get(local(begun["access_url"])).content == b"ab"


def test_the_addresses_are_those_the_client_used(settings: Settings) -> None:
    for public, expected in (("", "https://outside.example"), ("https://sound.example/", "https://sound.example")):
        proxied = replace(settings, public_url=public, allow_anonymous=True, trusted_proxies=("10.0.0.0/8",))
        with TestClient(create_app(proxied, executor=False), client=("10.1.2.3", 5000)) as to:
            headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "outside.example"}
            found = to.post("/files/upload", content=b"x", headers=headers).json()
            assert found["access_url"].startswith(f"{expected}/files/")


@pytest.mark.parametrize("kind", ["whole", "signed", "part"])
def test_an_upload_that_breaks_off_leaves_nothing(app: FastAPI, service: Service, kind: str) -> None:
    with live(app) as url:
        where = urlsplit(url)
        assert where.port is not None
        target = "/files/upload"
        if kind != "whole":
            with httpx2.Client(base_url=url) as client:
                upload, _ = initiate(client)
            target = upload if kind == "signed" else upload.replace("?", "/1?")
        method = "POST" if kind == "whole" else "PUT"
        with socket.create_connection(("127.0.0.1", where.port)) as line:
            head = f"{method} {target} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 90000\r\n\r\n"
            line.sendall(head.encode() + b"x" * 50_000)
            if kind == "whole":
                wait_until(lambda: not no_rows(service))
        if kind == "whole":
            wait_until(lambda: no_rows(service))
    # The server has stopped: nothing is going on any more.
    assert nothing_is_left(service)
    assert not [path for path in Path(service.settings.storage).rglob("*") if path.is_file()]


def wait_until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never became true")


def test_a_client_that_asks_to_complete_twice_at_once_gets_one_file(app: FastAPI, service: Service) -> None:
    from soundlora.server.http.parts import Parts

    parts = Parts(service.files, MOST)
    row = service.files.begin(name="a", content_type="a/b", role="upload", key_id="")
    for number in (1, 2):
        service.storage.put(parts.key(row.id, number), b"%d" % number)

    async def scene() -> None:
        await asyncio.gather(*(parts.join(row, {2, 1}, None) for _ in range(3)))

    asyncio.run(scene())
    assert b"".join(service.storage.stream(row.key)) == b"12"
    found = service.files.find(row.id)
    assert found is not None
    assert found.size == 2


def test_everything_works_on_s3_too(settings: Settings) -> None:
    with serving_s3() as url, bucket(url) as objects:
        app = create_app(replace(settings, storage_url=f"s3://{BUCKET}/x", max_upload_bytes=10**8), executor=False)
        with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
            sent = client.post("/files/upload", content=b"whole").json()["access_url"]
            upload, file = initiate(client, "initiate-multipart")
            address, _, token = upload.partition("?")
            for number in (2, 1):
                client.put(f"{address}/{number}?{token}", content=b"%d" % number * 6_000_000)
            listed = [{"partNumber": 2}, {"partNumber": 1}]
            assert client.post(f"{address}/complete?{token}", json={"parts": listed}).status_code == 200
            assert client.get(local(sent)).content == b"whole"
            assert client.get(file).content == b"1" * 6_000_000 + b"2" * 6_000_000
            middle = client.get(file, headers={"Range": "bytes=5999999-6000000"})
            assert (middle.status_code, middle.content) == (206, b"12")
        assert sorted(each.key for each in objects.objects.all()) == sorted(f"x{local(url)}" for url in (sent, file))
