"""Open a zip or a folder of clips without trusting it.

Nothing is written under a name from the archive: members are streamed one at a time into files of our own. The table
of contents is checked before the first byte is unpacked. Checksums and stated sizes are checked while streaming.
Memory stays bounded whatever the archive says.
"""

import hashlib
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from soundlora.dataset import names
from soundlora.dataset.names import CAPTION_EXTENSION, MEDIA_EXTENSIONS
from soundlora.dataset.problems import DuplicateNameError, InvalidArchiveError, TooManyFilesError

MAX_MEDIA_FILES = 2_000
MAX_UNPACKED_BYTES = 20 * 1024**3
MAX_RATIO = 200

# Silence packs at 1,000:1, so the ratio of a small member says nothing.
_RATIO_FROM_BYTES = 32 * 1024**2
# zipfile reads the whole table of contents at once. A table of 8 MiB has some 100,000 entries and takes 150 MB.
_MAX_TABLE_BYTES = 8 * 1024**2
# An LZMA member may ask for a dictionary of 4 GiB, but it fills no more of it than it unpacks to.
_MAX_LZMA_BYTES = 128 * 1024**2
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError)


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
        except _DAMAGE as error:
            detail = str(error) or type(error).__name__
            raise InvalidArchiveError(
                f"{self.name} cannot be read, the archive is damaged there ({detail}); pack it again."
                if self.path is None
                else f"{self.path} cannot be read ({detail})."
            ) from error


@dataclass(frozen=True)
class Archive:
    """An open source. `members` are its clips and captions in order of name.

    `ignored` names its other visible files. `hidden` names hidden files and those that an operating system put there.
    """

    members: tuple[Member, ...]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)


@contextmanager
def open_archive(
    path: Path,
    *,
    max_media_files: int = MAX_MEDIA_FILES,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    max_ratio: float = MAX_RATIO,
) -> Iterator[Archive]:
    """Open a zip or a folder, check all that can be checked without unpacking, and yield the archive.

    The size and ratio limits apply to zips, since a folder has nothing to unpack. Raises TooManyFilesError when there
    are too many clips. Raises InvalidArchiveError when the source is missing, not a zip, damaged, encrypted or over a
    limit, or when it holds links or paths that lead out of it.
    """
    if path.is_dir():
        hidden: list[str] = []
        archive = _archive_of(_walk(path, hidden), hidden)
        _check_count(archive, path, max_media_files)
        yield archive
        return
    with _open_zip(path) as bundle:
        hidden = []
        archive = _archive_of(_read_table(bundle, path, max_ratio, hidden), hidden)
        _check_count(archive, path, max_media_files)
        unpacked = sum(member.size for member in archive)
        if unpacked > max_unpacked_bytes:
            raise InvalidArchiveError(
                f"{path.name} unpacks to {unpacked / 1024**3:.1f} GiB, but at most "
                f"{max_unpacked_bytes / 1024**3:.1f} GiB are allowed; cut the clips to the length you train on."
            )
        yield archive


def pair(members: Iterable[Member]) -> tuple[list[tuple[Member, Member | None]], list[Member]]:
    """Return (clip, caption or None) pairs in order of name, and the captions that belong to no clip.

    A caption belongs to the clip of the same base name, whatever their folders and capitals. Raises DuplicateNameError
    when two clips, or two captions of one clip, share a base name.
    """
    clips: dict[str, Member] = {}
    captions: dict[str, list[Member]] = {}
    for member in members:
        key = names.base_name(member.name)
        if member.is_caption:
            captions.setdefault(key, []).append(member)
        elif key in clips:
            raise DuplicateNameError(
                f"{clips[key].name} and {member.name} have the same base name; file names must be unique across the "
                "whole archive, so rename or remove one of them."
            )
        else:
            clips[key] = member
    for key in clips:
        if len(found := captions.get(key, [])) > 1:
            raise DuplicateNameError(
                f"{found[0].name} and {found[1].name} are both captions of {clips[key].name}; keep one of them."
            )
    orphans = [member for key, found in captions.items() if key not in clips for member in found]
    return [(clip, captions.get(key, [None])[0]) for key, clip in clips.items()], orphans


def save(member: Member, target: Path) -> str:
    """Stream the member into the file `target` and return the SHA-256 of its bytes."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for chunk in member.chunks():
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


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


def _archive_of(found: Iterable[Member], hidden: list[str]) -> Archive:
    members, ignored = [], []
    for member in sorted(found, key=lambda member: member.name):
        if names.suffix(member.name) in (*MEDIA_EXTENSIONS, CAPTION_EXTENSION):
            members.append(member)
        else:
            ignored.append(member.name)
    return Archive(tuple(members), tuple(ignored), tuple(sorted(hidden)))


def _check_count(archive: Archive, path: Path, limit: int) -> None:
    found = sum(not member.is_caption for member in archive)
    if found > limit:
        raise TooManyFilesError(
            f"{path.name} holds {found} audio files, but at most {limit} are allowed; split it into several runs.",
            limit=limit,
            found=found,
        )


def _walk(root: Path, hidden: list[str]) -> Iterator[Member]:
    """Yield the members of a folder. The names of hidden files and folders go to `hidden`."""
    for folder, subfolders, files in os.walk(root, onerror=_refuse_unreadable):
        for name in sorted(subfolders) + files:
            path = Path(folder, name)
            inside = names.clean_name(path.relative_to(root).as_posix())
            if names.is_rubbish([name]):
                hidden.append(inside)
                continue
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise InvalidArchiveError(f"{inside} in {root.name} is a link; put the file itself in its place.")
            if stat.S_ISREG(status.st_mode):
                yield Member(inside, status.st_size, path, partial(_open_file, path))
        # os.walk reads this list again, so it does not descend into folders that are removed from it.
        subfolders[:] = sorted(name for name in subfolders if not names.is_rubbish([name]))


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _refuse_unreadable(error: OSError) -> None:
    raise InvalidArchiveError(f"{error.filename} cannot be read ({error.strerror}).") from error


class _GuardedFile(io.BufferedReader):
    """A file that refuses to read more at once than a table of contents may hold."""

    def read(self, size: int | None = -1) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _MAX_TABLE_BYTES:
            raise InvalidArchiveError(
                "The archive's table of contents is too large, it lists more than some 100,000 entries; pack only the "
                "clips and their captions."
            )
        return super().read(wanted)


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        raw = io.FileIO(path)
    except FileNotFoundError:
        raise InvalidArchiveError(f"{path} does not exist; give a .zip or a folder of clips.") from None
    except OSError as error:
        raise InvalidArchiveError(f"{path} cannot be opened ({error.strerror}).") from error
    if names.suffix(path.name) in MEDIA_EXTENSIONS:
        raw.close()
        raise InvalidArchiveError(f"{path} is a single audio file; give a .zip or a folder of clips instead.")
    with _GuardedFile(raw) as file:
        try:
            bundle = zipfile.ZipFile(file)
        except InvalidArchiveError:
            raise
        except (*_DAMAGE, struct.error) as error:
            file.seek(0)
            raise InvalidArchiveError(
                f"{path.name} is cut off or damaged ({error}); copy or pack it again."
                if file.read(4) == b"PK\3\4"
                else f"{path.name} is not a zip archive; pack the clips as a .zip."
            ) from error
        with bundle:
            yield bundle


def _read_table(bundle: zipfile.ZipFile, path: Path, max_ratio: float, hidden: list[str]) -> Iterator[Member]:
    """Yield the members of a zip. The names of hidden ones go to `hidden`."""
    entries = bundle.infolist()
    # A small zip can unpack to petabytes when its members share their packed bytes.
    if sum(info.compress_size for info in entries) > path.stat().st_size:
        raise InvalidArchiveError(f"{path.name} has members that overlap each other; pack it again.")
    for info in entries:
        name = names.decode_name(info)
        if names.is_escape(name):
            raise InvalidArchiveError(
                f"{path.name} holds {name}, a path that leads out of the archive; pack it again with plain names."
            )
        parts = names.parts_of(name)
        if not parts or name.endswith("/"):
            continue
        if names.is_rubbish(parts):
            hidden.append("/".join(parts))
            continue
        _check_entry(info, name, path, max_ratio)
        small_steps = info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        yield Member(
            name="/".join(parts),
            size=info.file_size,
            path=None,
            open=partial(_open_member, bundle, info),
            chunk_bytes=4096 if small_steps else 1024**2,
        )


def _open_member(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    return bundle.open(info)


def _check_entry(info: zipfile.ZipInfo, name: str, path: Path, max_ratio: float) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "not a plain file"
        raise InvalidArchiveError(f"{name} in {path.name} is {what}; put the file itself in its place.")
    if info.flag_bits & 0x1:
        raise InvalidArchiveError(f"{name} in {path.name} is encrypted; pack it again without a password.")
    if info.compress_type not in _METHODS or (
        info.compress_type == zipfile.ZIP_LZMA and info.file_size > _MAX_LZMA_BYTES
    ):
        raise InvalidArchiveError(
            f"{name} in {path.name} is packed in a way that cannot be read here; pack it again with the usual method, "
            "deflate."
        )
    if info.file_size > _RATIO_FROM_BYTES and info.file_size > max_ratio * info.compress_size:
        raise InvalidArchiveError(
            f"{name} in {path.name} unpacks to more than {max_ratio:g} times its packed size, which no real recording "
            "does; remove it or pack it again as audio."
        )
