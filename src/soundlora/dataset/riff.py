"""This module reads what a WAV or AIFF says of itself in chunks that FFmpeg passes over.

They are `bext`, iXML and `_PMX` of a WAV, COMT of an AIFF, and the XMP in its APPL and its ID3.
"""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path
from typing import Literal

from soundlora.dataset.captions import decode_text
from soundlora.dataset.xml_text import MOST_BYTES, parse

_LIMITS = {b"bext": 602, b"iXML": MOST_BYTES, b"_PMX": MOST_BYTES, b"ID3 ": MOST_BYTES, b"ds64": 28, b"COMT": 64 * 1024}
"""The chunks that are read, and how many bytes of each. A file may claim any size."""
_ORDERS: dict[tuple[bytes, bytes], Literal["little", "big"]] = {
    **dict.fromkeys(((kind, b"WAVE") for kind in (b"RIFF", b"RF64", b"BW64")), "little"),
    **dict.fromkeys(((b"FORM", kind) for kind in (b"AIFF", b"AIFC")), "big"),
}
_COMMENTS = ("title", "description", "comment", "keywords", "genre", "artist", "album")
# An AIFF has a chunk for whatever programs keep in it. The first four letters say whose it is.
_PROGRAMS, _XMP = b"APPL", b"XMP "
# The private frame of ID3 with its size. FFmpeg reads it in an MP3 and a WAV.
_XMP_FRAME = re.compile(rb"PRIV(.{4})..XMP\0", re.S)
_MOST_CHUNKS = 1000
_DESCRIPTION_BYTES, _LONGEST_CHARACTER = 256, 4
_UNKNOWN = 0xFFFFFFFF
# Recorders write lines such as sTAKE=003 and zTRK1=Boom into the description, of which the note is for people.
_RECORDER_LINE = re.compile(r"[a-zA-Z]?[A-Z][A-Z0-9_]*=(.*)")
_NOTE_LINE = re.compile(r"[a-zA-Z]?NOTES?=(.*)")
_IXML_FIELDS = {
    "BWF_DESCRIPTION": "iXML description",
    "DESCRIPTION": "iXML description",
    "FXNAME": "iXML name",
    "TRACKTITLE": "iXML name",
    "NOTE": "iXML note",
    "NOTES": "iXML note",
    "SCENE": "iXML scene",
    "KEYWORDS": "keywords",
    "CATEGORYFULL": "category",
    "CATEGORY": "category",
    "GENRE": "genre",
}


def read_chunks(path: Path) -> dict[str, str]:
    """Return the texts of the chunks `bext` and `iXML` by what they are. Other files and damaged ones have none."""
    found = _chunks(path)
    texts = {}
    if b"bext" in found:
        raw = found[b"bext"][:_DESCRIPTION_BYTES].split(b"\0", 1)[0]
        # A description that fills its field may end within a character.
        cut = len(raw) > _DESCRIPTION_BYTES - _LONGEST_CHARACTER
        texts["BWF description"] = without_recorder_lines(decode_text(raw, cut=cut)[0])
    if b"iXML" in found:
        texts |= _ixml(found[b"iXML"])
    return {name: text for name, text in texts.items() if text}


def read_comments(path: Path) -> dict[str, str]:
    """Return the first comment of an AIFF, or the tags in it: programs put those of a FLAC there, KEY=text a line."""
    content = _chunks(path).get(b"COMT", b"")
    # How many there are, the time and the marker of the first one, and its length stand before it.
    length = int.from_bytes(content[8:10], "big")
    text = decode_text(content[10 : 10 + length].strip(b"\0"))[0]
    pairs = [line.partition("=") for line in text.splitlines()]
    if pairs and all(name.isalpha() and sign for name, sign, _ in pairs):
        return {name.lower(): value for name, _, value in pairs if name.lower() in _COMMENTS}
    return {"comment": text} if text else {}


def read_xmp_chunk(path: Path) -> bytes:
    """Return the XMP packet of a WAV or AIFF, b"" without one."""
    found = _chunks(path)
    return found.get(b"_PMX", b"") or _xmp_of_id3(found.get(b"ID3 ", b""))


def _xmp_of_id3(tag: bytes) -> bytes:
    match = _XMP_FRAME.search(tag)
    if match is None:
        return b""
    # Sizes have seven bits a byte from version 2.4 on. The owner counts, too.
    bits = 7 if tag[3] >= 4 else 8
    size = sum(byte << shift * bits for byte, shift in zip(match[1], (3, 2, 1, 0), strict=True)) - len(_XMP)
    return tag[match.end() : match.end() + max(0, size)]


def _chunks(path: Path) -> dict[bytes, bytes]:
    """Return the contents of the known chunks of a WAV or AIFF, nothing where it is another file."""
    found: dict[bytes, bytes] = {}
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(12)
        order = _ORDERS.get((head[:4], head[8:]))
        at = 12
        for _ in range(_MOST_CHUNKS):
            if order is None or at >= size:  # no file system seeks to any number that a file may claim
                break
            file.seek(at)
            header = file.read(8)
            if len(header) < 8:
                break
            name, length = header[:4], int.from_bytes(header[4:], order)
            if name == b"data" and length == _UNKNOWN and len(found.get(b"ds64", b"")) >= 16:
                length = struct.unpack("<Q", found[b"ds64"][8:16])[0]
            left = length
            if name == _PROGRAMS and length >= len(_XMP) and file.read(len(_XMP)) == _XMP:
                name, left = b"_PMX", length - len(_XMP)
            if name in _LIMITS and name not in found:
                found[name] = file.read(min(left, _LIMITS[name]))
            # Chunks begin at even places.
            at += 8 + length + length % 2
    return found


def without_recorder_lines(text: str) -> str:
    """Return a text without a recorder's lines, such as sTAKE=003. Of its note the text is kept."""
    lines = []
    for line in text.splitlines():
        if (match := _NOTE_LINE.fullmatch(line.strip())) is not None:
            lines.append(match[1])
        elif not _RECORDER_LINE.fullmatch(line.strip()):
            lines.append(line)
    return "\n".join(lines).strip()


class _Fields:
    """Takes the texts of known elements while a document is parsed, so that no tree of it is built."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._field: str | None = None
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._field, self._text = _IXML_FIELDS.get(tag.rpartition("}")[2].upper()), []

    def data(self, text: str) -> None:
        if self._field is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        if self._field is not None and text:
            self.found.setdefault(self._field, text)
        self._field, self._text = None, []

    def close(self) -> dict[str, str]:
        return self.found


def _ixml(raw: bytes) -> dict[str, str]:
    fields = _Fields()
    parse(raw, fields)
    return {name: without_recorder_lines(value) for name, value in fields.found.items()}
