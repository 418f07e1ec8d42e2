"""Downloads from the web. A download resumes where its connection broke, if the server can do that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from soundlora.errors import InputError
from soundlora.net.addresses import shown
from soundlora.net.patience import Patience, is_busy

if TYPE_CHECKING:
    import httpx2

MAX_DOWNLOAD_BYTES = 20 * 1024**3
MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""A server may pause for this long while it sends."""
TOTAL_SECONDS = 3600.0

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds after each failure in a row; then it is given up


class FileDownloadError(InputError):
    """The URL cannot be fetched, or it is not a URL."""

    type = "file_download_error"


class FileTooLargeError(InputError):
    """The file is larger than `max_bytes`."""

    type = "file_too_large"

    def __init__(self, message: str, *, max_bytes: int) -> None:
        super().__init__(message)
        self.max_bytes = max_bytes

    @property
    def ctx(self) -> dict[str, Any]:
        return {"max_size": self.max_bytes}


def pieces(
    client: httpx2.Client,
    url: str,
    patience: Patience,
    *,
    headers: Callable[[], dict[str, str]],
    accept: Callable[[httpx2.Response], bool],
    refuse: Callable[[str], Exception],
) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces as they arrive. A further request goes on where an answer breaks.

    `headers()` returns the headers of the next try. The caller counts the bytes that it has taken, so that these
    headers ask for the rest. `accept(response)` raises an error that waiting can't mend, and returns whether the answer
    is the wanted one. The error of `refuse(reason)` is raised for an address that can't be fetched at all, and the one
    of `patience` after too many failures in a row.
    """
    import httpx2

    while True:
        try:
            with client.stream("GET", url, headers=headers()) as response:
                if is_busy(response):
                    patience.failed(f"it answers {response.status_code}", response)
                elif not accept(response):
                    patience.failed("it answers with another part of the file than was asked for")
                else:
                    for piece in response.iter_raw():
                        patience.renew()
                        yield piece
                    return
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as error:
            raise refuse(str(error).rstrip(".") or type(error).__name__) from error
        except httpx2.RequestError as error:
            patience.failed(f"{type(error).__name__}: {error}".rstrip(": ."))


def download(
    url: str, target: Path, *, max_bytes: int = MAX_DOWNLOAD_BYTES, client: httpx2.Client | None = None
) -> None:
    """Fetch `url` into the file `target`.

    A caller that restricts which addresses may be reached passes `client`, which then decides about redirects and
    timeouts too. Raises FileDownloadError when the server refuses, cannot be reached or is too slow, and
    FileTooLargeError when the file is larger than `max_bytes`.
    """
    # The import takes a tenth of a second, and most data sets are local.
    import httpx2

    patience = Patience(WAITS, lambda reason, failures: _failed(url, f"tried {failures} times, {reason}"))
    with ExitStack() as stack:
        if client is None:
            timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
            client = stack.enter_context(
                httpx2.Client(follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=timeout)
            )
        whole = _Whole(url, stack.enter_context(target.open("wb")), max_bytes)
        for piece in pieces(
            client,
            url,
            patience,
            headers=whole.headers,
            accept=whole.accept,
            refuse=lambda reason: _failed(url, reason.lower()),
        ):
            whole.write(piece)


class _Whole:
    """A file that is being downloaded. It knows how many bytes have arrived, and of which version."""

    def __init__(self, url: str, file: BinaryIO, max_bytes: int) -> None:
        self._url, self._file, self._max_bytes = url, file, max_bytes
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self._length = 0
        self._version = ""

    def headers(self) -> dict[str, str]:
        self._check_time()
        # The lengths of a packed answer would not fit ranges, and it could unpack to any size.
        headers = {"Accept-Encoding": "identity"}
        if self._length and self._version:
            return headers | {"Range": f"bytes={self._length}-", "If-Range": self._version}
        self._start_over()
        return headers

    def accept(self, response: httpx2.Response) -> bool:
        if response.status_code not in (200, 206):
            raise _failed(self._url, f"the server answers {response.status_code} {response.reason_phrase}".rstrip())
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _failed(self._url, "the server packs its answer though it was asked not to")
        if response.status_code == 200:
            self._start_over()
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {self._length}-"):
            self._version = ""
            return False
        self._version = _strong_version(response.headers)
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal():
            self._check_size(self._length + int(announced))
        return True

    def write(self, piece: bytes) -> None:
        self._check_size(self._length + len(piece))
        self._check_time()
        self._file.write(piece)
        self._length += len(piece)

    def _start_over(self) -> None:
        self._length = 0
        self._file.seek(0)
        self._file.truncate()

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _failed(self._url, f"it takes longer than {TOTAL_SECONDS / 60:.0f} minutes")

    def _check_size(self, length: int) -> None:
        if length > self._max_bytes:
            raise too_large(self._url, self._max_bytes)


def too_large(url: str, max_bytes: int) -> FileTooLargeError:
    """Return the error of a file that is larger than `max_bytes`."""
    size = f"{max_bytes / 1024**3:g} GiB" if max_bytes >= 1024**3 else f"{max_bytes:,} bytes"
    return FileTooLargeError(
        f"{shown(url)} is larger than {size}; cut the clips to the length you train on, or leave some out.",
        max_bytes=max_bytes,
    )


def _strong_version(headers: httpx2.Headers) -> str:
    """Return the header that identifies this version of the file to the byte, or "". Weak tags do not."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _failed(url: str, reason: str) -> FileDownloadError:
    return FileDownloadError(f"{shown(url)} cannot be downloaded ({reason}); check the address and that it is public.")
