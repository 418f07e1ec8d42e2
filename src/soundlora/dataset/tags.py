"""This module reads what a sound file says of itself: BWF, iXML, XMP, tags of RIFF, AIFF, ID3, Vorbis, MP4, others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import av

from soundlora.dataset.captions import MAX_CAPTION_CHARACTERS, decode_text, read_caption
from soundlora.dataset.file_words import is_meaningless
from soundlora.dataset.opening import open_sound
from soundlora.dataset.problems import DecodeError
from soundlora.dataset.riff import read_chunks, read_comments, without_recorder_lines
from soundlora.dataset.xmp import read_xmp

TAG_FIELDS = ("title", "description", "subject", "comment", "keywords", "genre", "category", "artist", "album")
"""What a template may ask of every file."""
_NAMES = {
    "synopsis": "description",
    "desc": "description",
    "summary": "description",
    "isbj": "subject",
    "ikey": "keywords",
    "keyword": "keywords",
    "keyw": "keywords",
    "icmt": "comment",
    "author": "artist",
    "inam": "title",
    "ignr": "genre",
    "tit3": "description",
    "id3v1 comment": "comment",
    "[169]des": "description",
}
_QUICKTIME = "com.apple.quicktime."
# FFmpeg calls DESCRIPTION a comment, in small letters; COMMENT keeps its own.
_VORBIS = ("flac", "ogg")
_VORBIS_DESCRIPTION = re.compile(rb"description=", re.I)
_VORBIS_BYTES = 256 * 1024
# A text that fills its field, such as the 256 bytes of a BWF description, may end within a character.
_FULL_BYTES = 253
_CAPTIONS = (
    "BWF description",
    "iXML description",
    "description",
    "XMP description",
    "iXML name",
    "title",
    "XMP title",
    "subject",
    "comment",
    "XMP comment",
    "iXML note",
    "keywords",
    "XMP keywords",
    "genre",
    "XMP genre",
    "iXML scene",
    "XMP scene",
)
"""What becomes a caption, the first that says something."""
_MOST_CHARACTERS = 4 * MAX_CAPTION_CHARACTERS


def read_tags(path: Path, encoding: str | None = None) -> dict[str, str]:
    """Return the texts that a sound file carries, by what they are, each on one line. Nothing is raised.

    `encoding` is that of captions of before Unicode; tags are often in the same one.
    """
    chunks = read_chunks(path)
    metadata, described = _of_ffmpeg(path)
    # FFmpeg has the BWF description as a comment, too.
    others = {name: without_recorder_lines(text) for name, text in _named(metadata, described, encoding).items()}
    others = {name: text for name, text in others.items() if text not in chunks.values()}
    found = read_comments(path) | others | chunks | read_xmp(path, dict(metadata))
    lines = {name: read_caption(text[:_MOST_CHARACTERS].encode("utf-8", "replace")) for name, text in found.items()}
    return {name: line for name, line in lines.items() if line}


def caption_of_tags(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the text that serves as a caption best, and where it stands: "BWF description", "title tag"."""
    for name in _CAPTIONS:
        if (text := tags.get(name, "")) and not is_meaningless(text):
            return text, name if " " in name else f"{name} tag"
    return None


def _of_ffmpeg(path: Path) -> tuple[list[tuple[str, str]], bool]:
    """Return the names and texts that FFmpeg finds, and whether what it calls a comment is a description of Vorbis."""
    try:
        with open_sound(path, metadata_errors="surrogateescape") as file:
            # Ogg has its tags in the stream.
            places = [file.metadata, *(stream.metadata for stream in file.streams.audio)]
            pairs = [pair for place in places for pair in place.items()]
            return pairs, file.format.name in _VORBIS and _has_vorbis_description(path)
    except (DecodeError, av.error.FFmpegError, ValueError, OSError):
        return [], False


def _named(pairs: list[tuple[str, str]], described: bool, encoding: str | None) -> dict[str, str]:
    """Return the texts whose names are known, by our names."""
    found: dict[str, str] = {}
    for key, value in pairs:
        name = key.lower().removeprefix(_QUICKTIME)
        name = "description" if described and key == "comment" else _NAMES.get(name, name)
        if name in TAG_FIELDS:
            raw = value[:_MOST_CHARACTERS].encode("utf-8", "surrogateescape")
            found.setdefault(name, decode_text(raw, cut=len(raw) >= _FULL_BYTES, encoding=encoding)[0])
    return found


def _has_vorbis_description(path: Path) -> bool:
    with path.open("rb") as file:
        return _VORBIS_DESCRIPTION.search(file.read(_VORBIS_BYTES)) is not None
