"""Data sets from the network: redirects, broken connections, servers that lie, and what is refused."""

import base64
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from local_http import QuietHandler, answering

from soundlora.dataset.source import local_source
from soundlora.net.addresses import is_remote, shown
from soundlora.net.download import FileDownloadError, FileTooLargeError, download

CONTENT = bytes(range(256)) * 400


class Answer(NamedTuple):
    """What the server does with one request: it breaks off after `sent` bytes of the body."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    body: bytes = b""
    sent: int | None = None


class Server(NamedTuple):
    url: str
    requests: list[tuple[str, dict[str, str]]]


Answering = Callable[[str, dict[str, str]], Answer]
Serve = Callable[[Answering], Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A function that starts a server which answers (path, headers) as told, and returns its address."""
    monkeypatch.setattr("soundlora.net.download.WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def start(answer: Answering) -> Server:
        requests: list[tuple[str, dict[str, str]]] = []

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802
                headers = {key.lower(): value for key, value in self.headers.items()}
                requests.append((self.path, headers))
                reply = answer(self.path, headers)
                self.send_response(reply.status)
                for key, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                    if value:
                        self.send_header(key, value)
                self.end_headers()
                self.wfile.write(reply.body[: reply.sent])
                self.close_connection = True

        return Server(servers.enter_context(answering(Handler)), requests)

    with contextlib.ExitStack() as servers:
        yield start


def part(headers: dict[str, str], content: bytes = CONTENT, sent: int | None = None, tag: str = '"v1"') -> Answer:
    """Answer as a server with ranges does."""
    wanted = headers.get("range")
    if wanted is None or headers.get("if-range") != tag:
        return Answer(200, {"ETag": tag}, content, sent)
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    return Answer(
        206, {"ETag": tag, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, content[start:], sent
    )


def test_what_is_remote_and_what_a_path() -> None:
    assert is_remote("https://x/a.zip")
    assert is_remote("HTTP://x/a.zip")
    assert is_remote("data:,x")
    for path in ("a.zip", "/data/a.zip", "https.zip", "C:\\a.zip", "ftp://x/a.zip", "database/a.zip"):
        assert not is_remote(path)


def test_a_path_is_given_back_as_it_is(tmp_path: Path) -> None:
    with local_source(tmp_path / "a.zip") as path:
        assert path == tmp_path / "a.zip"


def test_a_url_becomes_a_file_of_our_own_that_goes_away(serve: Serve) -> None:
    server = serve(lambda path, headers: part(headers))
    with local_source(f"{server.url}/../../evil.wav?sig=1") as path:
        assert path.read_bytes() == CONTENT
        assert path.name == "training_data.zip"
    assert not path.parent.exists()


def test_redirects_are_followed_but_not_for_ever_and_not_to_files(serve: Serve, tmp_path: Path) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        if path == "/file":
            return Answer(302, {"Location": f"file://{tmp_path}/secret"})
        if path == "/loop":
            return Answer(302, {"Location": "/loop"})
        hops = int(path.removeprefix("/"))
        return Answer(302, {"Location": f"/{hops - 1}"}) if hops else part(headers)

    (tmp_path / "secret").write_bytes(b"secret")
    server = serve(answer)
    download(f"{server.url}/5", tmp_path / "a", max_bytes=10**6)
    assert (tmp_path / "a").read_bytes() == CONTENT
    for path in ("6", "loop", "file"):
        with pytest.raises(FileDownloadError, match="cannot be downloaded"):
            download(f"{server.url}/{path}", tmp_path / "b", max_bytes=10**6)
    assert (tmp_path / "b").read_bytes() == b""


def test_a_broken_connection_is_taken_up_where_it_broke(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda path, headers: part(headers, sent=30_000))
    download(server.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    ranges = [headers.get("range") for _, headers in server.requests]
    assert ranges == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    assert server.requests[1][1]["if-range"] == '"v1"'


def test_a_file_that_changed_meanwhile_is_fetched_anew(serve: Serve, tmp_path: Path) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        first = len(server.requests) == 1
        return part(headers, CONTENT if first else b"new" * 100, 1_000 if first else None, '"v1"' if first else '"v2"')

    server = serve(answer)
    download(server.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new" * 100


@pytest.mark.parametrize("tag", ["", 'W/"v1"'])
def test_without_a_version_nothing_is_put_together(tag: str, serve: Serve, tmp_path: Path) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        assert "range" not in headers
        return Answer(200, {"ETag": tag} if tag else {}, CONTENT, 5_000 if len(server.requests) < 3 else None)

    server = serve(answer)
    download(server.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_part_that_was_not_asked_for_is_not_taken(serve: Serve, tmp_path: Path) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        if "range" in headers:
            return Answer(206, {"ETag": '"v1"', "Content-Range": "bytes 5-9/10"}, b"wrong")
        return part(headers, sent=40_000 if len(server.requests) == 1 else None)

    server = serve(answer)
    download(server.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_but_not_for_ever(serve: Serve, tmp_path: Path) -> None:
    server: Server = serve(lambda path, headers: Answer(503) if len(server.requests) < 3 else part(headers))
    download(server.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    busy = serve(lambda path, headers: Answer(503))
    with pytest.raises(FileDownloadError, match="tried 4 times, it answers 503"):
        download(busy.url, tmp_path / "a")
    assert len(busy.requests) == 4


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204])
def test_a_refusal_is_final_and_says_so(status: int, serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda path, headers: Answer(status))
    with pytest.raises(FileDownloadError) as caught:
        download(f"{server.url}/a.zip?token=secret", tmp_path / "a")
    assert len(server.requests) == 1
    assert str(caught.value).startswith(f"{server.url}/a.zip cannot be downloaded (the server answers {status} ")
    assert caught.value.type == "file_download_error"


def test_nobody_there(tmp_path: Path, serve: Serve) -> None:
    server = serve(lambda path, headers: Answer())
    dead = server.url.rpartition(":")[0] + ":1"
    with pytest.raises(FileDownloadError, match="tried 4 times, ConnectError"):
        download(dead, tmp_path / "a")
    with pytest.raises(FileDownloadError, match="cannot be downloaded"):
        download("http://", tmp_path / "a")


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "5"}, {"Content-Length": ""}])
def test_the_size_is_limited_whatever_the_server_announces(
    headers: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    def answer(path: str, _: dict[str, str]) -> Answer:
        return Answer(200, headers, CONTENT)

    server = serve(answer)
    if headers.get("Content-Length") == "5":
        download(server.url, tmp_path / "a", max_bytes=1_000)
        assert (tmp_path / "a").read_bytes() == CONTENT[:5]
        return
    with pytest.raises(FileTooLargeError) as caught:
        download(server.url, tmp_path / "a", max_bytes=1_000)
    assert caught.value.ctx == {"max_size": 1_000}
    assert "is larger than 1,000 bytes" in str(caught.value)
    assert (tmp_path / "a").stat().st_size <= 1_000


def test_a_packed_answer_is_refused(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda path, headers: Answer(200, {"Content-Encoding": "gzip"}, CONTENT))
    with pytest.raises(FileDownloadError, match="packs its answer"):
        download(server.url, tmp_path / "a")
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_a_drip_is_given_up(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundlora.net.download.TOTAL_SECONDS", -1.0)
    server = serve(lambda path, headers: part(headers))
    with pytest.raises(FileDownloadError, match="it takes longer than"):
        download(server.url, tmp_path / "a")


@pytest.mark.parametrize(
    "uri",
    [
        "data:application/zip;base64," + base64.b64encode(CONTENT).decode(),
        "data:;base64," + base64.encodebytes(CONTENT).decode(),
        "DATA:application/octet-stream," + "".join(f"%{byte:02X}" for byte in CONTENT),
    ],
    ids=["base64", "lines", "percent"],
)
def test_data_uris(uri: str) -> None:
    with local_source(uri) as path:
        assert path.read_bytes() == CONTENT


def test_data_uris_that_are_none_or_too_large() -> None:
    for uri in ("data:application/zip", "data:;base64,a", "data:;base64,ab$="):
        with pytest.raises(FileDownloadError, match=r"The data: URI (has no comma|is not Base64)"), local_source(uri):
            pass
    for body in ("x" * 30, "x" * 31):
        with pytest.raises(FileTooLargeError), local_source("data:," + body, max_bytes=10):
            pass


def test_secrets_and_megabytes_are_not_shown() -> None:
    assert shown("https://me:pass@host/a.zip?X-Signature=abc#x") == "https://host/a.zip"
    assert shown("data:application/zip;base64,QUJD") == "data: URI"
    assert shown("clips/a.zip") == "clips/a.zip"


def test_the_caller_may_bring_a_client_of_its_own(tmp_path: Path) -> None:
    import httpx2

    def refuse(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(403)

    client = httpx2.Client(transport=httpx2.MockTransport(refuse))
    with pytest.raises(FileDownloadError, match="403"), local_source("http://inside/a.zip", client=client):
        pass
    assert not client.is_closed
