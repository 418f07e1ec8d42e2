"""Files of the server: a local folder or S3, behind one API. A file is there whole or not at all.

Keys are names with slashes, such as files/1f0c/lora.safetensors. Nothing is ever held in memory whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from soundlora.errors import InputError

if TYPE_CHECKING:
    from obstore.store import ClientConfig

PIECE_BYTES = 1024**2
"""Of what is read; a slow reader holds a few of them."""
_PART_BYTES = 8 * 1024**2
"""Of what goes to S3, whose parts number 10,000 at most: enough for 80 GB."""
_PARTS_AT_A_TIME = 4
_STALE_SECONDS = 24 * 3600


class StorageError(RuntimeError):
    """The storage can't be reached, or it refuses."""


class Storage:
    """Safe to share between threads. Every method raises StorageError when the storage fails."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """`url`: a folder, made when it is missing, or s3://bucket/prefix.

        S3 takes credentials, region and endpoint from the usual variables, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
        AWS_REGION, AWS_ENDPOINT_URL. Raises InputError when `url` can't be used; nothing is connected yet.
        """
        self.url = url
        self._folder: Path | None = None
        self._store: LocalStore | S3Store
        if "://" not in url:
            self._folder = Path(url).absolute()
            try:
                self._store = LocalStore(self._folder, mkdir=True, automatic_cleanup=True)
            except (BaseError, OSError) as error:
                raise InputError(f"Files can't be kept in {url} ({_reason(error)}); name another folder.") from None
            return
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise InputError(f"Files can't be kept in {url}; name a folder, or write s3://bucket/prefix.")
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", "")
        # Reads of large files take longer than the default of 30 seconds.
        client: ClientConfig = {"allow_http": endpoint.startswith("http://"), "timeout": "1h"}
        self._store = S3Store(parts.netloc, prefix=parts.path.strip("/") or None, client_options=client)

    def put(self, key: str, source: Path | bytes | Iterable[bytes]) -> None:
        """Write an object; what was there before is replaced. An error of `source` leaves nothing behind."""
        with self._writing(key):
            obstore.put(self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)
            self._settle(key)

    async def put_async(self, key: str, source: AsyncIterator[bytes]) -> None:
        """As `put`, from what arrives piece by piece. Being cancelled leaves nothing behind either."""
        with self._writing(key):
            await obstore.put_async(self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)
            await asyncio.to_thread(self._settle, key)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes from `start` to before `end`. Raises FileNotFoundError, before the first piece is asked for."""
        with _errors():
            if end is None:
                found = obstore.get(self._store, key, options={"range": {"offset": start}} if start else None)
            elif end <= start:
                return iter(())
            else:
                found = obstore.get(self._store, key, options={"range": (start, end)})
            return _pieces(found)

    def size(self, key: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        with _errors():
            return int(obstore.head(self._store, key)["size"])

    def copy_to(self, key: str, path: Path) -> None:
        """Write an object into the file `path`. Raises FileNotFoundError."""
        pieces = self.stream(key)
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece)

    def delete(self, key: str) -> None:
        """What is not there is as good as deleted."""
        with _errors(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, bytes) of all objects below the folder `prefix`, in no particular order."""
        with _errors():
            for found in obstore.list(self._store, prefix):
                yield from ((each["path"], each["size"]) for each in found)

    def check(self) -> None:
        """Write, read and delete a small object. Raises InputError that says what S3 or the folder answered."""
        key, content = f"checks/{os.getpid()}", b"soundlora"
        try:
            self.put(key, content)
            found = b"".join(self.stream(key))
            self.delete(key)
        except (StorageError, FileNotFoundError) as error:
            raise InputError(f"Files can't be kept in {self.url} ({error}); check address and rights.") from None
        if found != content:
            raise InputError(f"{self.url} gives back other bytes than were written; name another storage.")

    def sweep(self) -> None:
        """Remove what a killed process left of files it was writing; S3 needs a rule of the bucket for that."""
        if self._folder is None:
            return
        for path in self._folder.rglob("*#*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
                    _remove_empty(path.parent, self._folder)

    @contextlib.contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            with _errors():
                yield
        except BaseException:
            if self._folder is not None:
                _remove_empty((self._folder / key).parent, self._folder)
            raise

    def _settle(self, key: str) -> None:
        """Make sure that a power cut doesn't take a file that the database will speak of."""
        if self._folder is None:
            return
        path = self._folder / key
        for each in (path, path.parent, path.parent.parent):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _pieces(found: obstore.GetResult) -> Iterator[bytes]:
    with _errors():
        yield from (bytes(piece) for piece in found.stream(min_chunk_size=PIECE_BYTES))


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        raise StorageError(_reason(error)) from error


def _remove_empty(folder: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _reason(error: Exception) -> str:
    """Its first line: below follow the library's own structures."""
    return str(error).splitlines()[0].strip()
