"""This module reads the table of contents of a zip that nobody vouches for, before a byte of it is unpacked."""

import contextlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from soundlora.dataset import names, packing
from soundlora.dataset.members import DAMAGE, Member
from soundlora.dataset.names import MEDIA_EXTENSIONS
from soundlora.dataset.problems import InvalidArchiveError

# Silence packs at 1,000:1, so the ratio of a small member says nothing.
_RATIO_FROM_BYTES = 32 * 1024**2
# zipfile reads the whole table of contents at once. A table of 8 MiB has some 100,000 entries and takes 150 MB.
_MAX_TABLE_BYTES = 8 * 1024**2
# An LZMA member may ask for a dictionary of 4 GiB, but it fills no more of it than it unpacks to.
_MAX_LZMA_BYTES = 128 * 1024**2
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENTRY = b"PK\1\2"
_UTF8_FLAG = 0x800
# Each archive begins with its own bytes; "ustar" stands further in.
_KINDS = {
    b"Rar!": "a RAR",
    b"7z\xbc\xaf": "a 7z",
    b"\x1f\x8b": "a gzip",
    b"BZh": "a bzip2",
    b"\xfd7zXZ": "an xz",
    b"\x28\xb5\x2f\xfd": "a Zstandard",
}
_TAR_AT = 257


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
        return _with_right_flags(super().read(wanted))


def _with_right_flags(table: bytes) -> bytes:
    """Take the UTF-8 flag off the names that are none, for which zipfile refuses a whole table of contents.

    Other bytes than a table of contents are returned as they are.
    """
    if table[:4] != _ENTRY:
        return table
    mended = bytearray(table)
    at = 0
    # After 46 bytes follow the name, an extra field and a comment.
    while mended[at : at + 4] == _ENTRY and at + 46 <= len(mended):
        name, extra, comment = struct.unpack_from("<HHH", mended, at + 28)
        flags = struct.unpack_from("<H", mended, at + 8)[0]
        if flags & _UTF8_FLAG and not _is_utf8(bytes(mended[at + 46 : at + 46 + name])):
            struct.pack_into("<H", mended, at + 8, flags & ~_UTF8_FLAG)
        at += 46 + name + extra + comment
    return bytes(mended)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def open_zip(path: Path, shown: str, max_ratio: float, hidden: list[str]) -> Iterator[list[Member]]:
    """Open the zip `path`, which errors call `shown`, and yield its members. The names of hidden ones go to `hidden`.

    Raises InvalidArchiveError as `archive.open_archive` does.
    """
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
        except (*DAMAGE, struct.error) as error:
            raise _no_zip(file, shown, error) from error
        with bundle:
            yield list(_read_table(bundle, path, shown, max_ratio, hidden))


def _no_zip(file: IO[bytes], shown: str, error: Exception) -> InvalidArchiveError:
    file.seek(0)
    head = file.read(_TAR_AT + 5)
    if head[:4] == b"PK\3\4":
        return InvalidArchiveError(f"{shown} is cut off or damaged ({error}); copy or pack it again.")
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
    if head[_TAR_AT:] == b"ustar":
        kind = "a tar"
    if kind is not None:
        return InvalidArchiveError(f"{shown} is {kind} archive, which is not read; pack the clips as a .zip.")
    return InvalidArchiveError(f"{shown} is not a zip archive; pack the clips as a .zip.")


def _read_table(
    bundle: zipfile.ZipFile, path: Path, shown: str, max_ratio: float, hidden: list[str]
) -> Iterator[Member]:
    entries = bundle.infolist()
    # A small zip can unpack to petabytes when its members share their packed bytes.
    if sum(info.compress_size for info in entries) > path.stat().st_size:
        raise InvalidArchiveError(f"{shown} has members that overlap each other; pack it again.")
    encoding = names.encoding_of(entries)
    for info in entries:
        name = names.decode_name(info, encoding)
        if names.is_escape(name):
            raise InvalidArchiveError(
                f"{shown} holds {name}, a path that leads out of the archive; pack it again with plain names."
            )
        parts = names.parts_of(name)
        if not parts or name.endswith("/"):
            continue
        if names.is_rubbish(parts):
            hidden.append("/".join(parts))
            continue
        _check_entry(info, name, shown, max_ratio)
        small_steps = info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        yield Member(
            name="/".join(parts),
            size=info.file_size,
            path=None,
            open=partial(_open_member, bundle, path, info),
            chunk_bytes=4096 if small_steps else 1024**2,
        )


def _open_member(bundle: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.compress_type in _METHODS:
        # The name stands before the packed bytes once more, with the flag that was taken off.
        with contextlib.suppress(UnicodeDecodeError):
            return bundle.open(info)
    return packing.open_packed(path, info)


def _check_entry(info: zipfile.ZipInfo, name: str, shown: str, max_ratio: float) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "not a plain file"
        raise InvalidArchiveError(f"{name} in {shown} is {what}; put the file itself in its place.")
    if info.flag_bits & 0x1:
        raise InvalidArchiveError(f"{name} in {shown} is encrypted; pack it again without a password.")
    if info.compress_type not in _METHODS and not packing.is_unpacked_here(info):
        raise InvalidArchiveError(
            f"{name} in {shown} is packed by {packing.method_name(info)}, which cannot be read here; pack it again "
            "with the usual method, deflate."
        )
    if info.compress_type == zipfile.ZIP_LZMA and info.file_size > _MAX_LZMA_BYTES:
        raise InvalidArchiveError(
            f"{name} in {shown} is packed by LZMA and too large for it; pack it again with the usual method, deflate."
        )
    if info.file_size > _RATIO_FROM_BYTES and info.file_size > max_ratio * info.compress_size:
        raise InvalidArchiveError(
            f"{name} in {shown} unpacks to more than {max_ratio:g} times its packed size, which no real recording "
            "does; remove it or pack it again as audio."
        )
