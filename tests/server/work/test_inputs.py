from __future__ import annotations

import base64
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from file_server import FileServer, serving
from proxy_server import proxying

from soundlora.errors import InputError
from soundlora.net.download import FileDownloadError, FileTooLargeError
from soundlora.net.guard import PrivateAddressError, guarded_client
from soundlora.net.storage import Storage
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.work.inputs import fetch


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({"/clips.zip": b"zip" * 1000}) as found:
        yield found


@pytest.fixture
def files(tmp_path: Path) -> Files:
    database = Database(f"sqlite:///{tmp_path / 'soundlora.db'}")
    database.migrate()
    return Files(database, Storage(str(tmp_path / "files")))


def names(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[list[str]]]) -> list[str]:
    """A name service: each question about a name takes its next answer, the last one stays. Returns what was asked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: Any, *more: Any, **given: Any) -> Any:
        if host not in answers:
            return real(host, port, *more, **given)
        asked.append(host)
        found = answers[host][0] if len(answers[host]) == 1 else answers[host].pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def at(url: str, host: str) -> str:
    return url.replace("127.0.0.1", host)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "localhost",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
    ],
)
def test_an_address_that_is_not_public_is_refused_in_every_spelling(host: str) -> None:
    with guarded_client(()) as guarded, pytest.raises(PrivateAddressError, match="not a public one"):
        guarded.get(f"http://{host}:9/clips.zip")


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is allowed, and the machine is at the second: nothing may reach the second."""
    asked = names(monkeypatch, {"rebinds.example": [["192.0.2.1"], ["127.0.0.1"]]})
    settings = Settings(private_hosts=("192.0.2.0/24",))
    with guarded_client(settings.private_hosts) as guarded:
        guarded.timeout = httpx2.Timeout(0.2)
        with pytest.raises((httpx2.ConnectTimeout, httpx2.ConnectError)):
            guarded.get(at(server.url, "rebinds.example") + "/clips.zip")
        assert asked == ["rebinds.example"]
        with pytest.raises(PrivateAddressError):
            guarded.get(at(server.url, "rebinds.example") + "/clips.zip")
    assert server.asked == []


def test_of_several_addresses_only_those_allowed_are_tried(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"mixed.example": [["10.0.0.1", "127.0.0.1"]]})
    with guarded_client(("127.0.0.1",)) as guarded:
        found = guarded.get(at(server.url, "mixed.example") + "/clips.zip")
    assert found.content == b"zip" * 1000


def test_the_next_address_is_tried_when_one_does_not_answer(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {"two.example": [["127.0.0.2", "127.0.0.1"]]})
    with guarded_client(("two.example",)) as guarded:
        assert guarded.get(at(server.url, "two.example") + "/clips.zip").status_code == 200


def test_a_redirect_is_checked_as_the_first_address_was(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"allowed.example": [["127.0.0.1"]]})
    server.redirects["/away"] = at(server.url, "localhost") + "/clips.zip"
    with guarded_client(("allowed.example",)) as guarded, pytest.raises(PrivateAddressError):
        guarded.get(at(server.url, "allowed.example") + "/away")
    assert [each.path for each in server.asked] == ["/away"]


def test_a_redirect_to_another_kind_of_address_is_refused(server: FileServer, tmp_path: Path, files: Files) -> None:
    server.redirects["/away"] = "file:///etc/passwd"
    with pytest.raises(FileDownloadError):
        fetch(server.url + "/away", tmp_path / "x", settings=Settings(private_hosts=("*",)), files=files)


@pytest.mark.parametrize("allowed", ["*", "127.0.0.1", "127.0.0.0/8", "localhost", "LOCALHOST."])
def test_private_hosts_are_let_through_by_name_address_network_or_all(server: FileServer, allowed: str) -> None:
    with guarded_client(("10.0.0.0/8", allowed)) as guarded:
        host = "localhost" if allowed.lower().startswith("l") else "127.0.0.1"
        assert guarded.get(at(server.url, host) + "/clips.zip").status_code == 200


def test_a_private_host_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="without scheme and port"):
        guarded_client(("http://nas.example",))


def test_a_proxy_of_the_environment_is_not_asked(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.url)
    with guarded_client(()) as guarded, pytest.raises(PrivateAddressError):
        guarded.get("http://10.0.0.1/clips.zip")
    assert server.asked == []


def test_the_server_sees_the_name_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is checked against the name, not the address."""
    seen: list[httpx2.Request] = []

    def answer(self: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    names(monkeypatch, {"sound.example": [["93.184.216.34"]]})
    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", answer)
    with guarded_client(()) as guarded:
        found = guarded.get("https://sound.example:8443/x?y=1")
    (request,) = seen
    assert str(request.url) == "https://93.184.216.34:8443/x?y=1"
    assert request.headers["host"] == "sound.example:8443"
    assert request.extensions["sni_hostname"] == "sound.example"
    assert str(found.url) == "https://sound.example:8443/x?y=1"


# ----------------------------------------------------------------------------------------------------------------------
# fetch


def test_a_url_is_fetched_into_the_file(server: FileServer, tmp_path: Path, files: Files) -> None:
    settings = Settings(private_hosts=("127.0.0.1",))
    fetch(server.url + "/clips.zip", tmp_path / "x", settings=settings, files=files)
    assert (tmp_path / "x").read_bytes() == b"zip" * 1000


def test_a_url_is_fetched_through_the_operators_proxy(
    server: FileServer, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {"sound.example": [["93.184.216.34"]]})
    with proxying() as proxy:
        proxy.to = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        settings = Settings(fetch_proxy=proxy.url)
        fetch("http://sound.example/clips.zip", tmp_path / "x", settings=settings, files=files)
        with pytest.raises(FileDownloadError, match="SOUNDLORA_PRIVATE_HOSTS"):
            fetch(server.url + "/clips.zip", tmp_path / "y", settings=settings, files=files)
    assert (tmp_path / "x").read_bytes() == b"zip" * 1000
    assert proxy.asked == [("GET", "http://93.184.216.34/clips.zip")]


def test_a_private_url_is_refused_at_once_and_leaves_no_file(
    server: FileServer, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundlora.net.download.WAITS", ())
    with pytest.raises(FileDownloadError, match="SOUNDLORA_PRIVATE_HOSTS"):
        fetch(server.url + "/clips.zip", tmp_path / "x", settings=Settings(), files=files)
    assert server.asked == []
    assert not list(tmp_path.glob("x*"))


def test_a_data_uri_is_unpacked(tmp_path: Path, files: Files) -> None:
    uri = "data:application/zip;base64," + base64.b64encode(b"zip").decode()
    fetch(uri, tmp_path / "x", settings=Settings(), files=files)
    assert (tmp_path / "x").read_bytes() == b"zip"


@pytest.mark.parametrize("source", ["/etc/passwd", "etc/passwd", "file:///etc/passwd", "ftp://host/x", ""])
def test_a_path_is_never_read(source: str, tmp_path: Path, files: Files) -> None:
    with pytest.raises(FileDownloadError, match="is not a URL"):
        fetch(source, tmp_path / "x", settings=Settings(), files=files)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a b/", "http://host:port/", "https://.."])
def test_a_url_that_is_none_is_said_to_be_one(
    url: str, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundlora.net.download.WAITS", ())
    with pytest.raises(FileDownloadError):
        fetch(url, tmp_path / "x", settings=Settings(), files=files)


def test_own_files_come_from_the_storage_whatever_the_server_is_called(tmp_path: Path, files: Files) -> None:
    (tmp_path / "source").write_bytes(b"mine")
    row = files.add(tmp_path / "source", name="a.zip", content_type="application/zip", role="upload", key_id="")
    for number, origin in enumerate(("http://127.0.0.1:8420", "https://sound.example")):
        fetch(origin + row.path + "?download=1", tmp_path / f"{number}", settings=Settings(), files=files)
        assert (tmp_path / f"{number}").read_bytes() == b"mine"


def test_an_own_file_that_is_not_whole_or_unknown_is_not_found(tmp_path: Path, files: Files) -> None:
    row = files.begin(name="a.zip", content_type="application/zip", role="upload", key_id="")
    for path in (row.path, "/files/" + "0" * 32 + "/a.zip"):
        with pytest.raises(PrivateAddressError):
            fetch("http://127.0.0.1:9" + path, tmp_path / "x", settings=Settings(), files=files)


def test_nothing_larger_than_an_upload_is_fetched(server: FileServer, tmp_path: Path, files: Files) -> None:
    (tmp_path / "source").write_bytes(b"x" * 101)
    row = files.add(tmp_path / "source", name="a.zip", content_type="application/zip", role="upload", key_id="")
    settings = Settings(private_hosts=("*",), max_upload_bytes=100)
    for url in (server.url + "/clips.zip", "http://h" + row.path, "data:," + "x" * 101):
        with pytest.raises(FileTooLargeError) as refused:
            fetch(url, tmp_path / "x", settings=settings, files=files)
        assert refused.value.ctx == {"max_size": 100}
    assert not list(tmp_path.glob("x*"))


def test_the_server_can_use_it_without_torch() -> None:
    code = "import sys, soundlora.server.work.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
