"""Files of a storage are read by byte ranges, as `remote_file` reads those on a web server."""

from __future__ import annotations

from collections.abc import Iterator

from soundlora.net.patience import Patience
from soundlora.net.remote_file import AbsentError, ChangedError, DroppedError
from soundlora.net.storage import ChangedObjectError, Storage, StorageError

_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds after each failure in a row; the storage's client has tried before


class StoredFile:
    """One object of a storage, with the attributes of `RemoteFile`. Its `version` is its ETag."""

    revision = ""

    def __init__(self, storage: Storage, key: str, sha256: str = "") -> None:
        """Read the first eight bytes. sha256: of the content, where it is known. Raises AbsentError, DroppedError."""
        self.url = self.shown = f"{storage.url}/{key}"
        self.sha256 = sha256
        self._storage, self._key = storage, key
        try:
            self.size, self.version = storage.stat(key)
        except FileNotFoundError:
            raise AbsentError(f"There is no {self.shown}; mend the address.") from None
        except StorageError as error:
            raise DroppedError(f"{storage.url} failed ({error})") from None
        self.first = b"".join(self.read(0, 8))

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end`, or to the end of the object, in pieces as they arrive.

        Raises ChangedError when the object has changed, and DroppedError when the storage fails several times without a
        byte in between.
        """
        patience = Patience(
            _WAITS, lambda why, failures: DroppedError(f"{self._storage.url} failed {failures} times in a row ({why})")
        )
        end = min(end, self.size)
        while start < end:
            try:
                for piece in self._storage.stream(self._key, start, end, version=self.version):
                    start += len(piece)
                    patience.renew()
                    yield piece
            except (ChangedObjectError, FileNotFoundError):
                raise ChangedError(self.shown) from None
            except StorageError as error:
                patience.failed(str(error))
