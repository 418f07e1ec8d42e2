"""This module finds where the sound of an Ogg file ends. FFmpeg guesses that where other bytes follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MAGIC = b"OggS"
_HEADER = 27
_LARGEST_PAGE = _HEADER + 255 + 255 * 255
_FIRST_PAGE, _LAST_PAGE = 0x02, 0x04
_NO_GRANULE = (1 << 64) - 1
# A page that begins a stream holds its codec's first header, which states rate and channels.
_VORBIS_RATE = slice(12, 16)
_VORBIS_CHANNELS = slice(11, 12)


@dataclass(frozen=True)
class _Page:
    """A page's header. `end` is the offset behind the page, which lies beyond the file's end when it is cut off."""

    flags: int
    granule: int
    body: int
    end: int


@dataclass(frozen=True)
class End:
    """Where the sound ends. `whole` says that its last page is there and marked as the last.

    `granule` is the last page's position in samples, None where it states none. `trailing` counts the bytes that
    follow it. `chained` says that several streams follow each other, as recordings of web radio do, and `alike` that
    they have one sample rate and one number of channels.
    """

    whole: bool
    granule: int | None
    trailing: int
    chained: bool
    alike: bool


def find_end(path: Path) -> End:
    """Return where the Ogg file `path` ends, by its pages alone."""
    size = path.stat().st_size
    with path.open("rb") as file:
        last = _last_page(file, size)
        if last is None:
            return End(whole=False, granule=None, trailing=0, chained=False, alike=True)
        links = _links(file)
        return End(
            whole=last.end <= size and bool(last.flags & _LAST_PAGE),
            granule=None if last.granule == _NO_GRANULE else last.granule,
            trailing=max(0, size - last.end),
            chained=len(links) > 1,
            alike=len(set(links)) <= 1,
        )


def _last_page(file: IO[bytes], size: int) -> _Page | None:
    """Return the last page, whatever stands behind it."""
    end = size
    while end > 0:
        begin = max(0, end - _LARGEST_PAGE)
        file.seek(begin)
        # The name of a page may lie across the border of two pieces.
        piece = file.read(end - begin + len(_MAGIC) - 1)
        at = len(piece)
        while (at := piece.rfind(_MAGIC, 0, at)) >= 0:
            page = _page_at(file, begin + at)
            if page is not None:
                return page
        end = begin
    return None


def _page_at(file: IO[bytes], offset: int) -> _Page | None:
    """Return the page at `offset`, None where no page's header stands there."""
    file.seek(offset)
    header = file.read(_HEADER)
    if len(header) < _HEADER or header[:4] != _MAGIC or header[4] or header[5] > 7:
        return None
    segments = file.read(header[26])
    body = offset + _HEADER + header[26]
    # A header that is cut off itself counts as a page that is.
    end = body + sum(segments) + (len(segments) < header[26])
    return _Page(header[5], int.from_bytes(header[6:14], "little"), body, end)


def _pages(file: IO[bytes]) -> Iterator[_Page]:
    offset = 0
    while (page := _page_at(file, offset)) is not None:
        yield page
        offset = page.end


def _links(file: IO[bytes]) -> list[bytes]:
    """Return for each stream that follows another one, and for the first, the bytes that state rate and channels.

    Streams that run beside each other begin together. Opus has one rate and adapts channels, so it gives b"".
    """
    shapes: list[bytes] = []
    begins = False
    for page in _pages(file):
        if page.flags & _FIRST_PAGE and not begins:
            file.seek(page.body)
            head = file.read(30)
            shapes.append(head[_VORBIS_CHANNELS] + head[_VORBIS_RATE] if head.startswith(b"\x01vorbis") else b"")
        begins = bool(page.flags & _FIRST_PAGE)
    return shapes
