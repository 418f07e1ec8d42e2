from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from soundlora.server.http.state import Service
from soundlora.server.store.files import FileRow

CONTENT = bytes(range(256)) * 100
SIZE = len(CONTENT)


def add(service: Service, folder: Path, name: str = "a.wav", content_type: str = "audio/wav") -> FileRow:
    path = folder / "source"
    path.write_bytes(CONTENT)
    return service.files.add(path, name=name, content_type=content_type, role="audio", key_id="")


@pytest.fixture
def row(service: Service, tmp_path: Path) -> FileRow:
    return add(service, tmp_path)


def test_a_file_is_sent_whole_without_a_key(client: TestClient, service: Service, row: FileRow) -> None:
    service.keys.create("studio")
    found = client.get(row.path)
    assert found.status_code == 200
    assert found.content == CONTENT
    assert found.headers["content-type"] == "audio/wav"
    assert found.headers["content-length"] == str(SIZE)
    assert found.headers["accept-ranges"] == "bytes"
    assert found.headers["content-disposition"] == "inline; filename*=UTF-8''a.wav"
    assert found.headers["access-control-allow-origin"] == "*"


def test_head_says_the_same_without_the_content(client: TestClient, row: FileRow) -> None:
    got, asked = client.get(row.path), client.head(row.path)
    assert asked.status_code == 200
    assert asked.content == b""
    assert dict(asked.headers) == dict(got.headers)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=25500-", 25500, SIZE),
        ("bytes=25500-99999", 25500, SIZE),
        ("bytes=-10", SIZE - 10, SIZE),
        ("bytes=-99999", 0, SIZE),
    ],
)
def test_a_range_is_sent(client: TestClient, row: FileRow, asked: str, start: int, end: int) -> None:
    found = client.get(row.path, headers={"Range": asked})
    assert found.status_code == 206
    assert found.content == CONTENT[start:end]
    assert found.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert found.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=25600-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(client: TestClient, row: FileRow, asked: str) -> None:
    found = client.get(row.path, headers={"Range": asked})
    assert found.status_code == 416
    assert found.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "bytes=a-b", "lines=1-2", ""])
def test_what_is_no_single_range_gets_the_whole_file(client: TestClient, row: FileRow, asked: str) -> None:
    found = client.get(row.path, headers={"Range": asked})
    assert found.status_code == 200
    assert found.content == CONTENT


def test_an_endless_number_is_a_range_like_others(client: TestClient, row: FileRow) -> None:
    assert client.get(row.path, headers={"Range": f"bytes={'9' * 5000}-"}).status_code == 416


def test_a_range_of_another_version_gets_the_whole_file(client: TestClient, row: FileRow) -> None:
    first = client.get(row.path)
    for version in (first.headers["etag"], first.headers["last-modified"]):
        assert client.get(row.path, headers={"Range": "bytes=5-", "If-Range": version}).status_code == 206
    found = client.get(row.path, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert found.status_code == 200
    assert found.content == CONTENT


def test_what_the_client_has_already_is_not_sent(client: TestClient, row: FileRow) -> None:
    tag = client.get(row.path).headers["etag"]
    for tags in (tag, f'"x", W/{tag}', "*"):
        found = client.get(row.path, headers={"If-None-Match": tags})
        assert (found.status_code, found.content) == (304, b"")
    assert client.get(row.path, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        "text/html",
        "text/html; charset=utf-8",
        "TEXT/HTML",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "text/javascript",
        "application/pdf",
        "audio/wav\r\nX: y",
        "nonsense",
        "",
    ],
)
def test_a_file_never_acts_as_a_page(client: TestClient, service: Service, tmp_path: Path, given: str) -> None:
    found = client.get(add(service, tmp_path, "x.html", given).path)
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["content-disposition"].startswith("attachment")
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in found.headers["content-security-policy"]
    assert "x" not in found.headers


@pytest.mark.parametrize(
    ("given", "place", "sent"),
    [
        ("audio/wav", "inline", "audio/wav"),
        ("application/json", "inline", "application/json"),
        ("text/plain", "inline", "text/plain; charset=utf-8"),
        ("application/zip", "attachment", "application/zip"),
        ("application/octet-stream", "attachment", "application/octet-stream"),
    ],
)
def test_harmless_files_keep_their_type(
    client: TestClient, service: Service, tmp_path: Path, given: str, place: str, sent: str
) -> None:
    found = client.get(add(service, tmp_path, "x", given).path)
    assert found.headers["content-type"] == sent
    assert found.headers["content-disposition"].startswith(place)


def test_a_name_in_any_letters_is_kept(client: TestClient, service: Service, tmp_path: Path) -> None:
    row = add(service, tmp_path, 'Glöckchen "1".wav')
    assert row.path.endswith("/Gl_ckchen_1_.wav")
    found = client.get(row.path)
    assert found.headers["content-disposition"] == "inline; filename*=UTF-8''Gl%C3%B6ckchen%20%221%22.wav"


def test_what_is_not_there_is_not_found(client: TestClient, service: Service, row: FileRow) -> None:
    unfinished = service.files.begin(name="a", content_type="a/b", role="upload", key_id="")
    lost = service.files.begin(name="a", content_type="a/b", role="upload", key_id="")
    service.files.complete(lost.id, 5)
    for path in (unfinished.path, lost.path, "/files/none/a", "/files/..%2f..%2fetc/passwd"):
        assert client.get(path).status_code == 404


def test_an_empty_file_is_sent(client: TestClient, service: Service, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    row = service.files.add(tmp_path / "empty", name="e", content_type="text/plain", role="x", key_id="")
    assert (client.get(row.path).status_code, client.get(row.path).content) == (200, b"")
    assert client.get(row.path, headers={"Range": "bytes=0-"}).status_code == 416
