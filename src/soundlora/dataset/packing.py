"""This module unpacks the members of zips that zipfile can't: those packed by Deflate64, Zstandard or xz.

Windows packs by Deflate64 beyond 2 GB, 7-Zip and newer tools by the others.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import inflate64
import zstandard

MAX_WINDOW_BYTES = 64 * 1024**2
"""What a member may ask for as a dictionary, which takes memory."""

# xz -9 takes this beside its dictionary of 64 MiB.
_XZ_STATE = 2 * 1024**2
_LOCAL_HEADER = 30
_PIECE = 64 * 1024
# Deflate64 unpacks up to 29,000 times the bytes of a piece at once.
_SMALL_PIECE = 1024
_OTHER_METHODS = {1: "Shrink", 6: "Implode", 19: "LZ77", 97: "WavPack", 98: "PPMd", 99: "encryption"}


def is_unpacked_here(info: zipfile.ZipInfo) -> bool:
    return info.compress_type in _METHODS


def method_name(info: zipfile.ZipInfo) -> str:
    """Return the name of the method that the member is packed by."""
    return _OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")


def open_packed(path: Path, info: zipfile.ZipInfo) -> IO[bytes]:
    """Open the member `info` of the zip `path` for reading. Reading raises BadZipFile where it is damaged."""
    return io.BufferedReader(_Unpacked(path, info), _PIECE)


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a member, whose checksum is compared at its end."""

    def __init__(self, path: Path, info: zipfile.ZipInfo) -> None:
        self._file = path.open("rb")
        self._left = info.compress_size
        self._info = info
        self._sum = 0
        self._ready = memoryview(b"")
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
            self._file.close()
            raise zipfile.BadZipFile("no member begins there")
        # A name and an extra field follow, whose lengths stand at the end of the header.
        self._file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), io.SEEK_CUR)
        unpack = _METHODS.get(info.compress_type)
        if unpack is None:
            self._file.close()
            raise zipfile.BadZipFile("its name is not the UTF-8 that it states to be, and it is packed by LZMA")
        self._pieces = unpack(self._read_packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the buffer of a BufferedReader
        while not self._ready:
            try:
                piece = next(self._pieces, None)
            except (ValueError, RuntimeError, zlib.error, zstandard.ZstdError, lzma.LZMAError) as error:
                raise zipfile.BadZipFile(str(error) or type(error).__name__) from error
            if piece is None:
                if self._sum != self._info.CRC:
                    raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._info.filename!r}")
                return 0
            self._sum = zlib.crc32(piece, self._sum)
            self._ready = memoryview(piece)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def _read_packed(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._file.read(wanted)
        self._left -= len(piece)
        return piece


def _inflate64(read: Callable[[int], bytes]) -> Iterator[bytes]:
    inflater = inflate64.Inflater()
    # inflate64 1.0 never gives back the object that it is handed, so all but the last piece are one object.
    same = bytearray(_SMALL_PIECE)
    while piece := read(_SMALL_PIECE):
        if len(piece) == _SMALL_PIECE:
            same[:] = piece
            yield inflater.inflate(same)
        else:
            yield inflater.inflate(piece)


def _zstandard(read: Callable[[int], bytes]) -> Iterator[bytes]:
    class Source:
        def read(self, size: int) -> bytes:
            return read(size)

    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    with unpacker.stream_reader(cast(IO[bytes], Source()), read_across_frames=True) as reader:
        while piece := reader.read(_PIECE):
            yield piece


def _xz(read: Callable[[int], bytes]) -> Iterator[bytes]:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES + _XZ_STATE)
    while not unpacker.eof:
        packed = read(_PIECE) if unpacker.needs_input else b""
        if unpacker.needs_input and not packed:
            raise EOFError("the packed bytes end too early")
        yield unpacker.decompress(packed, _PIECE)


def _stored(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(_PIECE):
        yield piece


def _deflated(read: Callable[[int], bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    while not unpacker.eof and (packed := unpacker.unconsumed_tail or read(_PIECE)):
        yield unpacker.decompress(packed, _PIECE)
    # All was read, but not all was given out.
    yield unpacker.flush()


def _bzip2(read: Callable[[int], bytes]) -> Iterator[bytes]:
    unpacker = bz2.BZ2Decompressor()
    while not unpacker.eof:
        packed = read(_PIECE) if unpacker.needs_input else b""
        if unpacker.needs_input and not packed:
            raise EOFError("the packed bytes end too early")
        yield unpacker.decompress(packed, _PIECE)


_Unpacker = Callable[[Callable[[int], bytes]], Iterator[bytes]]
# The numbers of the methods are the zip format's. zipfile unpacks the first of these, too, where it reads the name.
_METHODS: dict[int, _Unpacker] = {
    zipfile.ZIP_STORED: _stored,
    zipfile.ZIP_DEFLATED: _deflated,
    zipfile.ZIP_BZIP2: _bzip2,
    9: _inflate64,
    93: _zstandard,
    95: _xz,
}
