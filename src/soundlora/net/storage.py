"""The storage keeps the server's files in a local folder or S3, behind one API. A file is there whole or not at all.

Keys are names with slashes, such as files/1f0c/lora.safetensors. No file is ever held in memory whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, S3Store

from soundlora.errors import InputError
from soundlora.system.operating_system import link, reason_of, replace, sync_folder

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

PIECE_BYTES = 1024**2
"""The bytes of a piece that is read. A slow reader holds a few pieces."""
_PART_BYTES = 8 * 1024**2
"""The bytes of a part that goes to S3. S3 takes 10,000 parts at most, so this is enough for 80 GB."""
_PARTS_AT_A_TIME = 4
_STALE_SECONDS = 24 * 3600


class StorageError(RuntimeError):
    """The storage can't be reached, or it refuses a call."""


class ChangedObjectError(StorageError):
    """An object is not the one that was asked for before."""


class Storage:
    """One storage, which threads may share. Every method raises StorageError when the storage fails."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """Open the storage at `url`, which is a folder or s3://bucket/prefix. A missing folder is made.

        S3 takes credentials, region and endpoint from the usual variables, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
        AWS_REGION and AWS_ENDPOINT_URL. Nothing is connected yet. Raises InputError when `url` can't be used.
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
        # Reading a large file takes longer than the default of 30 seconds.
        client: ClientConfig = {"allow_http": endpoint.startswith("http://"), "timeout": "1h"}
        self._store = S3Store(parts.netloc, prefix=parts.path.strip("/") or None, client_options=client)

    def put(self, key: str, source: Path | bytes | Iterable[bytes]) -> None:
        """Write an object and replace an earlier one of this key. An error of `source` leaves nothing behind."""
        with self._writing(key):
            obstore.put(self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)
            self._settle(key)

    async def put_async(self, key: str, source: AsyncIterator[bytes]) -> None:
        """Write an object as `put` does, from pieces as they arrive. A cancelled call leaves nothing behind either."""
        with self._writing(key):
            await obstore.put_async(self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)
            await asyncio.to_thread(self._settle, key)

    def create(self, key: str, content: bytes) -> None:
        """Write an object that no other call has written. Raises FileExistsError when it is there already."""
        with self._writing(key):
            try:
                obstore.put(self._store, key, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                raise FileExistsError(f"{key} is there already.") from None

    def copy(self, key: str, other: str) -> None:
        """Write an object once more under another key, without reading it here. Raises FileNotFoundError."""
        with _errors():
            obstore.copy(self._store, key, other)

    def stream(self, key: str, start: int = 0, end: int | None = None, *, version: str = "") -> Iterator[bytes]:
        """Return the bytes from `start` up to `end` in pieces.

        version: as of `stat`; ChangedObjectError says that there is another one now. That and FileNotFoundError are
        raised before the first piece.
        """
        options: GetOptions = {"if_match": version} if version else {}
        if end is not None and end <= start:
            return iter(())
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        with _errors():
            try:
                return _pieces(obstore.get(self._store, key, options=options or None))
            except PreconditionError:
                raise ChangedObjectError(f"{key} has changed.") from None

    def stat(self, key: str) -> tuple[int, str]:
        """Return the size of an object in bytes, and what tells it from others of its key. Raises FileNotFoundError."""
        with _errors():
            found = obstore.head(self._store, key)
        return int(found["size"]), str(found["e_tag"] or "")

    def size(self, key: str) -> int:
        """Return the size of an object in bytes. Raises FileNotFoundError when there is none."""
        with _errors():
            return int(obstore.head(self._store, key)["size"])

    def copy_to(self, key: str, path: Path) -> None:
        """Write an object into the file `path`, which must not be there. Raises FileNotFoundError when there is none.

        The file is for reading alone: of a folder on the same file system it is the object's own content, linked.
        """
        if self._folder is not None:
            source = self._folder / key
            if not link(source, path):
                shutil.copyfile(source, path)
            return
        pieces = self.stream(key)
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece)

    async def join(self, key: str, parts: Sequence[str]) -> None:
        """Write an object that is made of others, which stay, one after the other. Raises FileNotFoundError."""
        if self._folder is None:
            await self.put_async(key, self._pieces_of(parts))
        else:
            await asyncio.to_thread(self._join_files, key, [self._folder / part for part in parts])

    async def _pieces_of(self, keys: Sequence[str]) -> AsyncIterator[bytes]:
        # The storage is being written to in this loop and can't be read in it, so threads read it.
        for key in keys:
            pieces = await asyncio.to_thread(self.stream, key)
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece

    def _join_files(self, key: str, parts: Sequence[Path]) -> None:
        """Join files in one go: pieces that go through the loop take twice the processor's time."""
        assert self._folder is not None
        target = self._folder / key
        # `sweep` knows unfinished files by this sign.
        unfinished = target.with_name(f"{target.name}#{secrets.token_hex(4)}")
        with self._writing(key):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with unfinished.open("xb") as file:
                    for part in parts:
                        with part.open("rb") as content:
                            shutil.copyfileobj(content, file, _PART_BYTES)
                replace(unfinished, target)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise StorageError(reason_of(error)) from error
            finally:
                unfinished.unlink(missing_ok=True)
            self._settle(key)

    def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        with _errors(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders in the folder `prefix`."""
        with _errors():
            found = obstore.list_with_delimiter(self._store, f"{prefix}/")["common_prefixes"]
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of all objects below the folder `prefix`, which may be "", in no particular order."""
        with _errors():
            for found in obstore.list(self._store, prefix or None):
                yield from ((each["path"], each["size"]) for each in found)

    def check(self) -> None:
        """Write, read and delete a small object. Raises InputError with the answer of S3 or the folder."""
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
        """Remove unfinished files of killed processes from a folder. On S3 a rule of the bucket does that."""
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
        """Sync a file to the disk. The database will refer to it, so a power cut must not take it."""
        if self._folder is None:
            return
        path = self._folder / key
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        for folder in (path.parent, path.parent.parent):
            sync_folder(folder)


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
    """Return the error's first line. The others show the library's own structures."""
    return str(error).splitlines()[0].strip()
