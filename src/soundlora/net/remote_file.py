"""This module reads files on a web server by byte ranges. Reading resumes where a connection was dropped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx2

from soundlora.errors import InputError
from soundlora.net.addresses import public_name
from soundlora.net.download import pieces
from soundlora.net.hub import find_token, hub
from soundlora.net.patience import Patience
from soundlora.version import __version__

_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds after each failure in a row; then it is given up
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SMALL = 64 * 1024 * 1024  # bytes; the most that a file read in one piece may have


class AbsentError(InputError):
    """There is no such file on the server."""


class DroppedError(Exception):
    """The server could not be reached, or hung up too often in a row. The message names the server and the failure."""


class ChangedError(Exception):
    """The file has changed since it was first asked for. The message is its address."""


def open_client() -> httpx2.Client:
    """Return a client that follows redirects and drops the Authorization header when they lead to another host."""
    headers = {"User-Agent": f"soundlora/{__version__}", "Accept-Encoding": "identity"}
    return httpx2.Client(follow_redirects=True, timeout=30.0, headers=headers)


class RemoteFile:
    """One file on a server. `size` is in bytes; `version` is a string that changes when the content does.

    Files on the hub also have their commit in `revision`, and large files there have the `sha256` of their content.
    Both are "" elsewhere.
    """

    def __init__(self, client: httpx2.Client, url: str) -> None:
        """Read the first eight bytes. Raises InputError when the server sends no ranges, DroppedError when it fails."""
        self.url, self.shown = url, public_name(url)
        self._client = client
        self._size: int | None = None
        self.version = self.revision = self.sha256 = ""
        self.first = b"".join(self.read(0, 8))

    @property
    def size(self) -> int:
        assert self._size is not None
        return self._size

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end`, or to the end of the file, in pieces as they arrive.

        Raises ChangedError when the file has changed, InputError when access is refused, and DroppedError when the
        connection fails several times without a byte in between.
        """
        patience = _patience(self.shown)

        def headers() -> dict[str, str]:
            return {"Range": f"bytes={start}-{end - 1}"} | _authorization(self.url)

        def accept(response: httpx2.Response) -> bool:
            self._check(response, start)
            return True

        while start < (end if self._size is None else min(end, self._size)):
            begin = start
            for piece in pieces(
                self._client, self.url, patience, headers=headers, accept=accept, refuse=_refusal(self.shown)
            ):
                # A server may send too much. The surplus would be taken for the next range.
                wanted = piece[: end - start]
                start += len(wanted)
                yield wanted
            if start == begin:
                patience.failed("it sends nothing")

    def _check(self, response: httpx2.Response, start: int) -> None:
        _check_status(self.shown, response)
        code = response.status_code
        sent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if code == 416:
            if self._size is not None:
                raise ChangedError(self.shown)
            raise InputError(f"The file {self.shown} is empty; give another.")
        if code != 206 or sent is None or response.headers.get("Content-Encoding", "identity") != "identity":
            raise InputError(
                f"The server of {self.shown} doesn't send parts of a file (no HTTP byte ranges), so all of it would "
                "have to be downloaded; do so with another program, and give the path."
            )
        size, version = int(sent[3]), _version(response)
        if self._size is None:
            self._size, self.version = size, version
            self.revision = _last_header(response, "X-Repo-Commit")
            linked = _last_header(response, "X-Linked-Etag").strip('"')
            self.sha256 = linked if _SHA256.fullmatch(linked) else ""
        elif (size, version) != (self._size, self.version):
            raise ChangedError(self.shown)
        if int(sent[1]) != start:
            raise InputError(f"The server of {self.shown} sends other bytes than it is asked for; use another server.")


def read_small(client: httpx2.Client, url: str) -> tuple[bytes, str] | None:
    """Return the content and the hub revision of a file of some megabytes, or None when there is no such file.

    The file is read in one piece, because its server need not know ranges. Raises InputError when access is refused or
    the file has more than 64 MiB, and DroppedError when the connection fails several times in a row.
    """
    shown = public_name(url)
    content = bytearray()
    missing, revision = False, ""

    def accept(response: httpx2.Response) -> bool:
        nonlocal missing, revision
        content.clear()  # An earlier answer may have broken off.
        missing = response.status_code == 404 and _last_header(response, "X-Error-Code") != "RepoNotFound"
        revision = _last_header(response, "X-Repo-Commit")
        if not missing:
            _check_status(shown, response)
        return True

    def headers() -> dict[str, str]:
        return _authorization(url)

    for piece in pieces(client, url, _patience(shown), headers=headers, accept=accept, refuse=_refusal(shown)):
        content += piece
        if len(content) > _SMALL:
            raise InputError(f"{shown} is larger than {_SMALL >> 20} MiB, which no such file is.")
    return None if missing else (bytes(content), revision)


def _patience(shown: str) -> Patience:
    host = urlsplit(shown).netloc
    return Patience(_WAITS, lambda why, failures: DroppedError(f"{host} failed {failures} times in a row ({why})"))


def _refusal(shown: str) -> Callable[[str], Exception]:
    return lambda reason: InputError(f"{shown} can't be fetched ({reason}); mend the address.")


def _authorization(url: str) -> dict[str, str]:
    """Return the header with the user's token for an address on the hub, none for any other server."""
    token = find_token() if url.startswith(hub() + "/") else None
    return {} if token is None else {"Authorization": f"Bearer {token.value}"}


def _check_status(shown: str, response: httpx2.Response) -> None:
    """Raise InputError for an answer that waiting doesn't mend."""
    code = response.status_code
    if code in (200, 206, 416):
        return
    on_hub = shown.startswith(hub() + "/")
    path = shown.removeprefix(hub() + "/").removeprefix("api/models/")
    repository = "/".join(path.split("/")[:2])
    unknown = _last_header(response, "X-Error-Code") == "RepoNotFound"
    if on_hub and (unknown or (code == 404 and "/resolve/" not in shown)):
        raise InputError(
            f"There is no {repository} on {hub()}, nor a file or folder of that name here; mend the name, or set "
            "HF_TOKEN when it is private."
        )
    if on_hub and code in (401, 403):
        token = find_token()
        state = "HF_TOKEN is not set" if token is None else f"{token.source} does not open it"
        raise InputError(
            f"{hub()} refuses {repository} ({code}; {state}): log in there, accept the licence on "
            f"{hub()}/{repository}, make a token that may read, and run `hf auth login` with it or set HF_TOKEN to it."
        )
    if code in (401, 403):
        raise InputError(f"The server refuses {shown} ({code}); give an address that may be read without logging in.")
    if code in (404, 410):
        raise AbsentError(f"There is no {shown} ({code}); mend the address.")
    raise InputError(f"The server answers {code} for {shown}, which is no file; mend the address.")


def _version(response: httpx2.Response) -> str:
    """Return what tells contents apart: the hub's hash, which is the same on all mirrors, else the ETag or the date."""
    return (
        _last_header(response, "X-Linked-Etag")
        or response.headers.get("ETag")
        or response.headers.get("Last-Modified")
        or ""
    )


def _last_header(response: httpx2.Response, name: str) -> str:
    """Return the header of the response, or of the last redirect that has it, or ""."""
    for step in (response, *reversed(response.history)):
        if name in step.headers:
            return str(step.headers[name])
    return ""
