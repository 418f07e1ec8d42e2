"""A member is one file of a source: its name, its size, and its bytes with damage told."""

import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from soundlora.dataset import names
from soundlora.dataset.names import CAPTION_EXTENSION
from soundlora.dataset.problems import InvalidArchiveError
from soundlora.system.whole_files import writing

DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError)
"""What reading a damaged archive raises."""
_TEMPORARY = "name another folder for temporary files with TMPDIR"


@dataclass(frozen=True)
class Member:
    """A clip or a caption. `name` is its path inside the source, `size` its number of unpacked bytes.

    `path` is its path on the disk when the source is a folder, else None. `open` gives its raw bytes. `chunks` gives
    them too, and turns damage into an InvalidArchiveError.
    """

    name: str
    size: int
    path: Path | None
    open: Callable[[], IO[bytes]]
    # bzip2 and LZMA unpack up to 20,000 times the bytes of a read at once, so they are read in small steps.
    chunk_bytes: int = 1024**2

    @property
    def is_caption(self) -> bool:
        return names.suffix(self.name) == CAPTION_EXTENSION

    def chunks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes. Raises InvalidArchiveError when the member is cut off or fails its checksum."""
        length = 0
        try:
            with self.open() as stream:
                while chunk := stream.read(self.chunk_bytes):
                    length += len(chunk)
                    yield chunk
            # The checksum alone would pass for a member that ends before the size it states.
            if self.path is None and length != self.size:
                raise EOFError(f"{length} bytes instead of {self.size}")
        except DAMAGE as error:
            detail = str(error) or type(error).__name__
            raise InvalidArchiveError(
                f"{self.name} cannot be read, the archive is damaged there ({detail}); pack it again."
                if self.path is None
                else f"{self.path} cannot be read ({detail})."
            ) from error


def save(member: Member, target: Path) -> str:
    """Stream the member into the file `target` and return the SHA-256 of its bytes.

    Raises MachineError when the file can't be written.
    """
    digest = hashlib.sha256()
    with writing(target, _TEMPORARY), target.open("wb") as file:
        for chunk in member.chunks():
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


@contextmanager
def on_disk(member: Member, target: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the path of a member's bytes, and their SHA-256 where they had to be unpacked for it.

    Those of a zip lie within the block at `target`, with the member's extension: FFmpeg tells some formats apart by it.
    Raises as `save` does.
    """
    if member.path is not None:
        yield member.path, None
        return
    path = target.with_suffix(names.suffix(member.name))
    try:
        digest = save(member, path)
        yield path, digest
    finally:
        path.unlink(missing_ok=True)


def hash_of(member: Member) -> str:
    """Return the SHA-256 of the member's bytes."""
    digest = hashlib.sha256()
    for chunk in member.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def read_start(member: Member, limit: int) -> bytes:
    """Return the first `limit` bytes of the member, or all of it."""
    start = bytearray()
    for chunk in member.chunks():
        start += chunk
        if len(start) >= limit:
            break
    return bytes(start[:limit])
