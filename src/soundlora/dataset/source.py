"""Where a data set comes from: a path, an http or https URL, or a data: URI. What is not local becomes a local file."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from soundlora.dataset.problems import FileDownloadError, FileTooLargeError
from soundlora.net.addresses import is_url, public_name

if TYPE_CHECKING:
    import httpx2

MAX_DOWNLOAD_BYTES = 20 * 1024**3
MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""The longest pause of a server that goes on sending."""
TOTAL_SECONDS = 3600.0

# Before each further try. A try that brought something forward starts the count anew.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_FILE_NAME = "training_data.zip"


def is_remote(source: str) -> bool:
    """Say whether `source` is an http or https URL or a data: URI, not a path."""
    return is_url(source) or source[:5].lower() == "data:"


def shown(source: str) -> str:
    """Return `source` as it may stand in a message or a report: without passwords, signatures and megabytes."""
    return "data: URI" if source[:5].lower() == "data:" else public_name(source)


@contextmanager
def local_source(
    source: str | os.PathLike[str],
    *,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    client: httpx2.Client | None = None,
) -> Iterator[Path]:
    """Give the path of a data set; what is not local lies in a temporary file until the end of the block.

    `client` is for those who restrict which addresses may be reached; it decides about redirects and timeouts too.
    Raises FileDownloadError or FileTooLargeError.
    """
    text = os.fspath(source)
    if not is_remote(text):
        yield Path(text)
        return
    with tempfile.TemporaryDirectory(prefix="soundlora-") as folder:
        target = Path(folder, _FILE_NAME)
        if text[:5].lower() == "data:":
            target.write_bytes(_decode_data_uri(text, max_bytes))
        else:
            download(text, target, max_bytes=max_bytes, client=client)
        yield target


def download(
    url: str, target: Path, *, max_bytes: int = MAX_DOWNLOAD_BYTES, client: httpx2.Client | None = None
) -> None:
    """Fetch `url` into the file `target`. A connection that breaks is taken up again where it broke, if the server can.

    Raises FileDownloadError when the server refuses, cannot be reached or is too slow, FileTooLargeError beyond
    `max_bytes`.
    """
    # Imported at first use: it takes a tenth of a second, and most data sets are local.
    import httpx2

    deadline = time.monotonic() + TOTAL_SECONDS
    with ExitStack() as stack:
        if client is None:
            timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
            client = stack.enter_context(
                httpx2.Client(follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=timeout)
            )
        file = stack.enter_context(target.open("wb"))
        transfer = _Transfer(url, file.fileno(), max_bytes, deadline)
        failures = 0
        while True:
            before = transfer.length
            try:
                if transfer.run(client):
                    return
                reason = "it answers that it is busy"
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as error:
                raise _failed(url, f"{error}".rstrip(".").lower()) from error
            except httpx2.TransportError as error:
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
            failures = 1 if transfer.length > before else failures + 1
            if failures > len(_PAUSES):
                raise _failed(url, f"tried {failures} times, {reason}")
            transfer.check_time()
            time.sleep(_PAUSES[failures - 1])


class _Transfer:
    """One file on its way: how much of it is there, and which version of it."""

    def __init__(self, url: str, descriptor: int, max_bytes: int, deadline: float) -> None:
        self.url = url
        self.length = 0
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._version = ""

    def run(self, client: httpx2.Client) -> bool:
        """Fetch what is missing. True when the file is complete, False when the server asks to come again."""
        # Unpacked lengths would not fit ranges, and a packed answer could unpack to anything.
        headers = {"Accept-Encoding": "identity"}
        if self.length and self._version:
            headers |= {"Range": f"bytes={self.length}-", "If-Range": self._version}
        else:
            self._start_over()
        with client.stream("GET", self.url, headers=headers) as response:
            if response.status_code in _PASSING:
                return False
            if response.status_code not in (200, 206):
                raise _failed(self.url, f"the server answers {response.status_code} {response.reason_phrase}".rstrip())
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise _failed(self.url, "the server packs its answer though it was asked not to")
            if response.status_code == 200 or not self._continues(response.headers.get("Content-Range", "")):
                if response.status_code == 206:
                    self._version = ""
                    return False
                self._start_over()
            self._version = _strong_version(response.headers)
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal():
                self._check_size(self.length + int(announced))
            # In the pieces that arrive: larger ones would be lost when the connection breaks before they are full.
            for chunk in response.iter_raw():
                self._check_size(self.length + len(chunk))
                self.check_time()
                os.write(self._descriptor, chunk)
                self.length += len(chunk)
        return True

    def check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _failed(self.url, f"it takes longer than {TOTAL_SECONDS / 60:.0f} minutes")

    def _continues(self, content_range: str) -> bool:
        return content_range.startswith(f"bytes {self.length}-")

    def _start_over(self) -> None:
        self.length = 0
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def _check_size(self, length: int) -> None:
        if length > self._max_bytes:
            raise _too_large(self.url, self._max_bytes)


def _strong_version(headers: httpx2.Headers) -> str:
    """Return what names this version of the file to the byte; weak tags do not."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _decode_data_uri(uri: str, max_bytes: int) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise FileDownloadError(
            "The data: URI has no comma, and so no content; write data:application/zip;base64, before it."
        )
    # Base64 and percent signs both only shrink: what is far too long is not decoded at all.
    if len(body) > 3 * max_bytes:
        raise _too_large(uri, max_bytes)
    content = unquote_to_bytes(body)
    if head.lower().endswith(";base64"):
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except binascii.Error as error:
            raise FileDownloadError(
                f"The data: URI is not Base64 ({str(error).lower()}); encode the zip anew."
            ) from error
    if len(content) > max_bytes:
        raise _too_large(uri, max_bytes)
    return content


def _failed(url: str, reason: str) -> FileDownloadError:
    return FileDownloadError(f"{shown(url)} cannot be downloaded ({reason}); check the address and that it is public.")


def _too_large(url: str, max_bytes: int) -> FileTooLargeError:
    size = f"{max_bytes / 1024**3:g} GiB" if max_bytes >= 1024**3 else f"{max_bytes:,} bytes"
    return FileTooLargeError(
        f"{shown(url)} is larger than {size}; cut the clips to the length you train on, or leave some out.",
        max_bytes=max_bytes,
    )
