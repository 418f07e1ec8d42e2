"""A file that grows from byte ranges of a remote one, and goes on where it was when it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Union

from soundlora.net.hub import hub
from soundlora.net.remote_file import ChangedError, DroppedError, RemoteFile
from soundlora.system.operating_system import replace
from soundlora.system.whole_files import partial, write_whole

if TYPE_CHECKING:
    from soundlora.net.stored_file import StoredFile

_GAP = 1024 * 1024  # bytes; reading and dropping so many takes no longer than another request
_SYNC = 16 * 1024 * 1024  # bytes; a power cut costs no more

Remote = Union[RemoteFile, "StoredFile"]
Range = tuple[int, int]  # first byte, and the one after the last


def fetch_ranges(
    remote: Remote, target: Path, front: bytes, ranges: list[Range], on_done: Callable[[int], None]
) -> None:
    """Write `front` and the bytes of the ascending ranges to the file. on_done(bytes that are there) follows it."""
    size = len(front) + sum(end - start for start, end in ranges)
    with _Partial(remote, target, front) as file:
        on_done(file.done)
        for group in _groups(_after(ranges, file.done - len(front))):
            for content in _wanted(remote.read(group[0][0], group[-1][1]), group):
                file.write(content)
                on_done(file.done)
        file.finish(size, remote.sha256 if ranges == [(0, remote.size)] else "")


class _Partial:
    """A file that grows to its end under another name. A note beside it says how much is safely on the disk."""

    def __init__(self, remote: Remote, target: Path, front: bytes) -> None:
        """Open the file at its end. Raises ChangedError when its bytes came from another version of the remote file."""
        self.target = target
        self.path = partial(target)
        self._note_path = self.path.with_name(self.path.name + ".json")
        self._remote = remote
        self.done = self._resumable(front)
        if not self.done:
            self.path.write_bytes(front)
            self.done = len(front)
        self._file = self.path.open("r+b")
        self._file.truncate(self.done)
        self._file.seek(self.done)
        self._sync()

    def _resumable(self, front: bytes) -> int:
        """Return the bytes to go on from: 0 without a file, or when another version of soundlora began it otherwise."""
        try:
            note = json.loads(self._note_path.read_bytes())
            there = (note["size"], note["version"])
            done = min(int(note["done"]), self.path.stat().st_size)
            with self.path.open("rb") as file:
                same = file.read(len(front)) == front
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if there != (self._remote.size, self._remote.version):
            raise ChangedError(self._remote.shown)
        return done if same and done >= len(front) else 0

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            if self.path.exists():
                self._sync()

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.done += len(content)
        if self.done - self._synced >= _SYNC:
            self._sync()

    def finish(self, size: int, sha256: str) -> None:
        """Give the file its name. Raises DroppedError when it is not what the server says it is."""
        self._sync()
        if self.done != size or (sha256 and _sha256(self.path) != sha256):
            self.path.unlink()
            self._note_path.unlink()
            raise DroppedError(
                f"{self.target.name} came with other bytes than {_whose(self._remote)} says it has, and was deleted"
            )
        replace(self.path, self.target)
        self._note_path.unlink()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = self.done
        note = {"size": self._remote.size, "version": self._remote.version, "done": self.done}
        write_whole(self._note_path, json.dumps(note).encode())


def _whose(remote: Remote) -> str:
    return hub() if isinstance(remote, RemoteFile) else remote.shown.rpartition("/")[0]


def _after(ranges: Iterable[Range], done: int) -> Iterator[Range]:
    """Yield the rest of the ranges when their first `done` bytes are there."""
    for start, end in ranges:
        skipped = min(done, end - start)
        done -= skipped
        if start + skipped < end:
            yield start + skipped, end


def _groups(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Yield groups of ranges. One request fetches a group, since little lies between its ranges."""
    group: list[Range] = []
    for start, end in ranges:
        if group and start - group[-1][1] > _GAP:
            yield group
            group = []
        group.append((start, end))
    if group:
        yield group


def _wanted(pieces: Iterable[bytes], ranges: list[Range]) -> Iterator[bytes]:
    """Yield the bytes that lie in the ranges, from pieces that begin where the first range does."""
    at, number = ranges[0][0], 0
    for piece in pieces:
        while number < len(ranges):
            start, end = ranges[number]
            content = piece[max(start - at, 0) : max(end - at, 0)]
            if content:
                yield content
            if end > at + len(piece):
                break
            number += 1
        at += len(piece)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest: str = hashlib.file_digest(file, "sha256").hexdigest()
    return digest
