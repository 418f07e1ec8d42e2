from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from file_server import FileServer, serving

from soundlora.errors import InputError
from soundlora.net.remote_file import ChangedError, DroppedError, RemoteFile, open_client, read_small

CONTENT = bytes(range(256)) * 400
PATH = "/weights.safetensors"


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with open_client() as client:
        yield client


@pytest.fixture
def url(file_server: FileServer) -> str:
    file_server.files[PATH] = CONTENT
    return file_server.url + PATH


def test_a_range_is_asked_for_and_comes(file_server: FileServer, client: httpx2.Client, url: str) -> None:
    file = RemoteFile(client, url)
    assert (file.size, file.first) == (len(CONTENT), CONTENT[:8])
    assert b"".join(file.read(300, 70_000)) == CONTENT[300:70_000]
    assert b"".join(file.read(102_000, 200_000)) == CONTENT[102_000:], "to the end and no further"
    assert file_server.data == [(300, 70_000), (102_000, 200_000)]


def test_a_dropped_connection_is_taken_up_at_the_byte_where_it_broke(
    file_server: FileServer, client: httpx2.Client, url: str
) -> None:
    file = RemoteFile(client, url)
    file_server.drops = [1000, 30_000]
    assert b"".join(file.read(100, 90_000)) == CONTENT[100:90_000]
    assert file_server.data == [(100, 90_000), (1100, 90_000), (31_100, 90_000)]


def test_many_drops_are_borne_while_bytes_come_in_between(
    file_server: FileServer, client: httpx2.Client, url: str
) -> None:
    file = RemoteFile(client, url)
    file_server.drops = [1000] * 20
    assert b"".join(file.read(0, 90_000)) == CONTENT[:90_000]
    assert file_server.waits == [1.0] * 20


def test_a_busy_server_is_waited_for_longer_every_time_or_as_long_as_it_asks(
    file_server: FileServer, client: httpx2.Client, url: str
) -> None:
    file_server.statuses = [(503, {}), (500, {}), (429, {"Retry-After": "7"}), (502, {"Retry-After": "900"})]
    assert RemoteFile(client, url).first == CONTENT[:8]
    assert file_server.waits == [1.0, 2.0, 7.0, 60.0]


def test_a_server_that_never_answers_is_given_up(file_server: FileServer, client: httpx2.Client, url: str) -> None:
    file_server.statuses = [(503, {})] * 50
    with pytest.raises(DroppedError, match=r"127\.0\.0\.1:\d+ failed 6 times in a row \(it answers 503\)"):
        RemoteFile(client, url)
    assert len(file_server.asked) == 6


def test_a_server_that_is_not_there_is_given_up(file_server: FileServer, client: httpx2.Client) -> None:
    with serving() as gone:
        pass
    with pytest.raises(DroppedError, match=r"failed 6 times in a row \(.*[Rr]efused"):
        RemoteFile(client, gone.url + PATH)


def test_a_server_without_ranges_is_refused(file_server: FileServer, client: httpx2.Client, url: str) -> None:
    file_server.ranges = False
    with pytest.raises(InputError, match=r"doesn't send parts of a file \(no HTTP byte ranges\).*give the path\."):
        RemoteFile(client, url)


def test_compressed_parts_are_no_parts(file_server: FileServer, client: httpx2.Client, url: str) -> None:
    file_server.headers[PATH] = {"Content-Encoding": "gzip"}
    with pytest.raises(InputError, match="doesn't send parts"):
        RemoteFile(client, url)


@pytest.mark.parametrize("etags", [True, False])
def test_another_content_or_length_is_noticed_between_two_ranges(
    file_server: FileServer, client: httpx2.Client, url: str, etags: bool
) -> None:
    file_server.etags = etags
    file = RemoteFile(client, url)
    file_server.files[PATH] = CONTENT[::-1] if etags else CONTENT + b"!"
    with pytest.raises(ChangedError, match=url):
        list(file.read(100, 200))


def test_a_later_date_is_noticed_where_there_is_no_etag(
    file_server: FileServer, client: httpx2.Client, url: str
) -> None:
    file_server.etags = False
    file_server.headers[PATH] = {"Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
    file = RemoteFile(client, url)
    file_server.headers[PATH] = {"Last-Modified": "Tue, 03 Nov 2026 10:00:00 GMT"}
    with pytest.raises(ChangedError):
        list(file.read(100, 200))


def test_a_file_that_got_shorter_is_another(file_server: FileServer, client: httpx2.Client, url: str) -> None:
    file = RemoteFile(client, url)
    file_server.files[PATH] = CONTENT[:50]
    with pytest.raises(ChangedError):
        list(file.read(100, 200))


def test_the_token_goes_to_the_hub_and_stays_there_when_it_redirects(
    file_server: FileServer, client: httpx2.Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", file_server.token)
    with serving() as store:
        store.files["/blob"] = CONTENT
        file_server.redirects["/o/n/resolve/main/a.bin"] = store.url + "/blob?signature=1"
        file = RemoteFile(client, file_server.url + "/o/n/resolve/main/a.bin")
        assert b"".join(file.read(8, 500)) == CONTENT[8:500]
        assert {asked.authorization for asked in file_server.asked} == {"Bearer secret"}
        assert [asked[:3] for asked in store.asked] == [("/blob?signature=1", 0, 8), ("/blob?signature=1", 8, 500)]
        assert {asked.authorization for asked in store.asked} == {None}
        RemoteFile(client, store.url + "/blob")
        assert store.asked[-1].authorization is None


def test_the_hubs_own_hash_and_commit_count_wherever_its_redirects_lead(
    file_server: FileServer, client: httpx2.Client, url: str
) -> None:
    """Its stores have ETags of their own, which may differ from one to the next."""
    told = {"X-Linked-Etag": f'"{"a" * 64}"', "X-Repo-Commit": "c0ffee"}
    file_server.redirects["/hub"] = url
    file_server.headers = {"/hub": told, PATH: {"ETag": '"one"'}}
    file = RemoteFile(client, file_server.url + "/hub")
    assert (file.sha256, file.revision) == ("a" * 64, "c0ffee")
    file_server.headers[PATH] = {"ETag": '"two"'}
    assert b"".join(file.read(0, 20)) == CONTENT[:20]
    file_server.headers["/hub"] = told | {"X-Linked-Etag": f'"{"b" * 64}"'}
    with pytest.raises(ChangedError):
        list(file.read(0, 20))


@pytest.mark.parametrize(
    ("status", "headers", "token", "words"),
    [
        (401, {}, None, r"refuses google/gemma \(401; HF_TOKEN is not set\).*accept the licence.*set HF_TOKEN to it\."),
        (403, {}, "mine", r"refuses google/gemma \(403; HF_TOKEN does not open it\).*/google/gemma, make a token"),
        (401, {"X-Error-Code": "RepoNotFound"}, None, r"There is no google/gemma on .*nor a file or folder"),
        (404, {}, None, r"There is no http.*/config\.json \(404\)"),
        (400, {}, None, r"answers 400 for http"),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(
    file_server: FileServer,
    client: httpx2.Client,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    token: str | None,
    words: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    path = "/google/gemma/resolve/main/config.json"
    file_server.refused[path] = (status, headers)
    with pytest.raises(InputError, match=words):
        RemoteFile(client, file_server.url + path)
    assert len(file_server.asked) == 1, "waiting would not help"


def test_a_token_of_a_login_is_sent_and_named_when_it_does_not_open_the_door(
    file_server: FileServer, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "token").write_text("old\n")
    path = "/google/gemma/resolve/main/config.json"
    file_server.refused[path] = (403, {"X-Error-Code": "GatedRepo"})
    file_server.files[path] = b"{}" * 8
    with pytest.raises(
        InputError, match=r"\(403; the token of `hf auth login` does not open it\).*run `hf auth login`"
    ):
        RemoteFile(client, file_server.url + path)
    (tmp_path / "token").write_text(file_server.token + "\n")
    assert RemoteFile(client, file_server.url + path).size == 16


def test_a_refusal_of_another_server_says_nothing_of_tokens(file_server: FileServer, client: httpx2.Client) -> None:
    with serving() as other:
        other.refused["/a"] = (403, {})
        with pytest.raises(InputError, match=r"The server refuses http.*/a \(403\)") as error:
            RemoteFile(client, other.url + "/a")
    assert "HF_TOKEN" not in str(error.value)


def test_redirects_that_lead_nowhere_are_refused_at_once(file_server: FileServer, client: httpx2.Client) -> None:
    file_server.redirects |= {"/round": file_server.url + "/round", "/away": "ftp://127.0.0.1/file"}
    for path in ("/round", "/away"):
        with pytest.raises(InputError, match="can't be fetched"):
            RemoteFile(client, file_server.url + path)
    assert file_server.waits == []


def test_a_password_in_the_address_is_not_shown(file_server: FileServer, client: httpx2.Client) -> None:
    secret = file_server.url.replace("//", "//me:pass@") + "/none?key=hidden"
    with pytest.raises(InputError) as error:
        RemoteFile(client, secret)
    assert "pass" not in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_small_file_comes_whole_from_servers_that_know_no_ranges(
    file_server: FileServer, client: httpx2.Client, url: str
) -> None:
    file_server.ranges = False
    file_server.statuses = [(503, {})]
    file_server.headers[PATH] = {"X-Repo-Commit": "c0ffee"}
    assert read_small(client, url) == (CONTENT, "c0ffee")
    assert read_small(client, file_server.url + "/none") is None
