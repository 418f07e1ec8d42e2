"""This module reads what the XMP of a sound file says: title, description, keywords, and the fields of sound.

XMP is ISO 16684-1. Its part 3 says where files keep it: WAV in a chunk `_PMX`, AIFF in a chunk APPL, MP3 in a private
frame of ID3, MP4 in a box. An AIFF may have that frame, too. A FLAC has it among the chunks of the WAV that it was
made of.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from soundlora.dataset.riff import read_xmp_chunk
from soundlora.dataset.xml_text import MOST_BYTES, parse

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_CORE = "{http://purl.org/dc/elements/1.1/}"
_SOUND = "{http://ns.adobe.com/xmp/1.0/DynamicMedia/}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PLACE = [_RDF + "RDF", _RDF + "Description"]
_FIELDS = {
    _CORE + "title": "XMP title",
    _CORE + "description": "XMP description",
    _CORE + "subject": "XMP keywords",
    _SOUND + "logComment": "XMP comment",
    _SOUND + "comment": "XMP comment",
    _SOUND + "genre": "XMP genre",
    _SOUND + "scene": "XMP scene",
    _SOUND + "artist": "XMP artist",
    _SOUND + "album": "XMP album",
}
_PREFIX = "XMP "
_FOREIGN_CHUNK = b"riff_PMX"
# FFmpeg writes what is no plain letter of a private frame so.
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def read_xmp(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the XMP of a sound file by what they are, such as "XMP title". Nothing is raised.

    `metadata` is what FFmpeg found in the file, with bytes that are no UTF-8 as surrogates.
    """
    packet = metadata.get("xmp", "").encode("utf-8", "surrogateescape")
    if (escaped := metadata.get("id3v2_priv.XMP")) is not None:
        plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), escaped[: 4 * MOST_BYTES])
        packet = plain.encode("latin-1", "replace")
    packet = packet or read_xmp_chunk(path) or _foreign_chunk(path)
    found = _Properties()
    parse(packet, found)
    return found.found


def xmp_fields(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of XMP among `tags` by the names that other tags have, such as "title"."""
    return {name.removeprefix(_PREFIX): text for name, text in tags.items() if name.startswith(_PREFIX)}


def _foreign_chunk(path: Path) -> bytes:
    """Return the XMP that a FLAC keeps of its WAV, as `flac --keep-foreign-metadata` does."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(4)
        if start == b"fLaC":
            _, name, rest = file.read(2 * MOST_BYTES).partition(_FOREIGN_CHUNK)
            return rest[4 : 4 + int.from_bytes(rest[:4], "little")] if name else b""
    return b""


class _Properties:
    """Takes the properties of the file itself, not those of its parts, such as its markers."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._path: list[str] = []
        self._field: str | None = None
        self._items: list[tuple[str, str]] = []
        self._language = ""
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self._text = []
        if self._path[-2:] == _PLACE:  # simple properties may be attributes
            for name, value in attributes.items():
                self._add(_FIELDS.get(name), value)
        elif self._path[-3:-1] == _PLACE:
            self._field, self._items = _FIELDS.get(tag), []
        elif tag == _RDF + "li":
            self._language = attributes.get(_LANGUAGE, "")

    def data(self, text: str) -> None:
        if self._field is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        self._path.pop()
        text = "".join(self._text).strip()
        if self._field is None:
            return
        if tag == _RDF + "li":
            self._items.append((self._language, text))
        elif self._path[-2:] == _PLACE:
            self._add(self._field, self._chosen() if self._items else text)
            self._field = None
        self._text = []

    def close(self) -> dict[str, str]:
        return self.found

    def _chosen(self) -> str:
        """Return all keywords, or of a text in several languages the default one, which is the first one else."""
        if self._field == "XMP keywords":
            return ", ".join(text for _, text in self._items if text)
        languages = dict(reversed(self._items))
        return languages.get("x-default", self._items[0][1])

    def _add(self, field: str | None, text: str) -> None:
        if field is not None and text.strip():
            self.found.setdefault(field, text.strip())
