"""Files are rows of the table `files`, which name their owners, and objects in the storage.

The object is written before its row is completed, so that a row with a size always has its object.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from soundlora.net.storage import Storage, StorageError
from soundlora.server.store.database import Database
from soundlora.server.store.tables import files
from soundlora.system.file_names import portable_name

UNFINISHED_SECONDS = 24 * 3600.0
"""An upload may take this long from its beginning to its end."""

_NAME_LENGTH = 120
_AT_A_TIME = 500


@dataclass(frozen=True)
class FileRow:
    """A file. Its `size` in bytes is None until it is whole. Times are seconds since 1970."""

    id: str
    key_id: str
    request_id: str | None
    role: str
    name: str
    content_type: str
    size: int | None
    created_at: float
    expires_at: float | None

    @property
    def key(self) -> str:
        """The file's key in the storage."""
        return f"files/{self.id}/{safe_name(self.name)}"

    @property
    def path(self) -> str:
        """The file's path on the server. It stands for the URL until a result leaves the server."""
        return f"/{self.key}"

    def to_file(self) -> dict[str, Any]:
        """Return the file as results describe files."""
        return {
            "url": self.path,
            "content_type": self.content_type,
            "file_name": self.name,
            "file_size": self.size,
            "file_data": None,
        }


class Files:
    """The files of `database` in `storage`. Threads may share it."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self.database = database
        self.storage = storage

    def add(
        self,
        path: Path,
        *,
        name: str,
        content_type: str,
        role: str,
        key_id: str,
        request_id: str | None = None,
        lifetime: float | None = None,
    ) -> FileRow:
        """Store a copy of the file `path` for `lifetime` seconds, or for ever when that is None, and return its row.

        Raises StorageError when the storage fails.
        """
        row = self.begin(name=name, content_type=content_type, role=role, key_id=key_id, request_id=request_id)
        try:
            self.storage.put(row.key, path)
            return self.complete(row.id, path.stat().st_size, lifetime=lifetime)
        except BaseException:
            # The row goes last. It stays while the objects can't be removed, so that the sweep finds them.
            with contextlib.suppress(StorageError, sa.exc.OperationalError):
                self.remove_objects([row.id])
                self._forget([row.id])
            raise

    def begin(self, *, name: str, content_type: str, role: str, key_id: str, request_id: str | None = None) -> FileRow:
        """Return a new row for a file that is about to be written at its `key`.

        The row expires when it isn't completed within a day.
        """
        now = time.time()
        row = FileRow(
            id=uuid.uuid4().hex,
            key_id=key_id,
            request_id=request_id,
            role=role,
            name=_cut(name),
            content_type=_clean(content_type)[:200],
            size=None,
            created_at=now,
            expires_at=now + UNFINISHED_SECONDS,
        )
        with self.database.write() as connection:
            connection.execute(sa.insert(files).values(vars(row)))
        return row

    def complete(self, file_id: str, size: int, *, lifetime: float | None = None) -> FileRow:
        """Mark the file as whole with `size` bytes, and return its row.

        Raises FileNotFoundError when it was deleted meanwhile.
        """
        expires_at = None if lifetime is None else time.time() + lifetime
        with self.database.write() as connection:
            found = connection.execute(
                sa.update(files)
                .where(files.c.id == file_id)
                .values(size=size, expires_at=expires_at)
                .returning(*files.c)
            ).one_or_none()
        if found is None:
            raise FileNotFoundError(f"The file {file_id} is gone.")
        return FileRow(*found)

    def find(self, file_id: str) -> FileRow | None:
        """Return the row of a file, finished or not, or None when it is unknown or has expired."""
        if not re.fullmatch("[0-9a-f]{32}", file_id):
            return None
        with self.database.read() as connection:
            found = connection.execute(sa.select(*files.c).where(files.c.id == file_id)).one_or_none()
        row = None if found is None else FileRow(*found)
        return None if row is None or _expired(row) else row

    def of_request(self, request_id: str, role: str | None = None) -> list[FileRow]:
        """Return the whole files of a request, the oldest first."""
        statement = sa.select(*files.c).where(files.c.request_id == request_id, files.c.size.is_not(None))
        if role is not None:
            statement = statement.where(files.c.role == role)
        with self.database.read() as connection:
            rows = [FileRow(*found) for found in connection.execute(statement.order_by(files.c.created_at, files.c.id))]
        return [row for row in rows if not _expired(row)]

    def delete(self, file_id: str) -> None:
        """Delete the row and its objects. An unknown id is no error."""
        self._forget([file_id])
        self.remove_objects([file_id])

    def remove(self, file_ids: Sequence[str]) -> None:
        """Remove these files. If this process dies in between, the rows still say what is to be removed."""
        self.remove_objects(file_ids)
        self._forget(file_ids)

    def remove_objects(self, file_ids: Sequence[str]) -> None:
        """Remove the objects and the parts of these files from the storage."""
        for file_id in file_ids:
            for folder in (f"files/{file_id}", parts_folder(file_id)):
                for key, _ in list(self.storage.list(folder)):
                    self.storage.delete(key)

    def sweep(self) -> int:
        """Delete expired files and uploads that never ended. Return how many."""
        expired = sa.select(files.c.id).where(files.c.expires_at < time.time()).limit(_AT_A_TIME)
        gone = 0
        while True:
            with self.database.read() as connection:
                ids = list(connection.scalars(expired))
            self.remove(ids)
            gone += len(ids)
            if len(ids) < _AT_A_TIME:
                break
        self.storage.sweep()
        return gone

    def _forget(self, file_ids: Sequence[str]) -> None:
        with self.database.write() as connection:
            connection.execute(sa.delete(files).where(files.c.id.in_(file_ids)))


def parts_folder(file_id: str) -> str:
    """Return the folder of an upload's parts, which stay there until they are put together."""
    return f"parts/{file_id}"


def safe_name(name: str) -> str:
    """Return the name for addresses and the storage: letters without accents, digits, dots, dashes and underscores."""
    return portable_name(re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "file")


def _cut(name: str) -> str:
    """Return the name without folders and control characters, shortened in front of its ending."""
    name = _clean(name.replace("\\", "/").rpartition("/")[2]).strip() or "file"
    stem, dot, ending = name.rpartition(".")
    if len(name) > _NAME_LENGTH and dot and len(ending) < 20:
        return stem[: _NAME_LENGTH - len(ending) - 1] + dot + ending
    return name[:_NAME_LENGTH]


def _clean(text: str) -> str:
    """Return text that every database and header takes: without control characters and lone surrogates."""
    return re.sub(r"[\x00-\x1f\x7f]+", "", text.encode(errors="replace").decode())


def _expired(row: FileRow) -> bool:
    return row.expires_at is not None and row.expires_at < time.time()
