"""File names in people's zips: this module finds their encoding, and tells rubbish and attacks from clips."""

import posixpath
import re
import unicodedata
import zipfile
from collections.abc import Iterable

from soundlora.dataset.encodings import encoding_of_names

HOSTED_EXTENSIONS = (".wav", ".mp3", ".flac", ".ogg", ".aac", ".m4a")
"""What the hosted endpoint takes."""
MEDIA_EXTENSIONS = (
    *HOSTED_EXTENSIONS,
    *(".opus", ".oga", ".aiff", ".aif", ".aifc", ".caf", ".w64", ".rf64", ".bwf", ".wv", ".wma", ".mp2"),
    *(".mka", ".webm", ".mkv", ".mp4", ".mov"),
)
CAPTION_EXTENSION = ".txt"

_RUBBISH = {"thumbs.db", "desktop.ini"}
_UTF8_FLAG = 0x800
# Control characters and the marks that turn the writing direction could make a name deceive in a terminal or a page.
# Lone surrogates stand for undecodable bytes in a folder's names, and cannot be written as UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def encoding_of(entries: Iterable[zipfile.ZipInfo]) -> str:
    """Return the encoding of the names that state none and are not UTF-8. One program wrote them all."""
    raws = [
        raw
        for info in entries
        if not info.flag_bits & _UTF8_FLAG
        for raw in posixpath.splitext(info.orig_filename.encode("cp437"))[0].split(b"/")
        if not raw.isascii() and _as_utf8(raw) is None
    ]
    return encoding_of_names(raws) if raws else "cp437"


def decode_name(info: zipfile.ZipInfo, encoding: str) -> str:
    """Return the member's name as text, with "/" between folders and accents composed (NFC).

    Without the UTF-8 flag, zipfile reads names as CP437. macOS and Linux tools write UTF-8 without setting the flag.
    Other names are in `encoding`, which is what `encoding_of` found.
    """
    name = info.orig_filename.split("\0", 1)[0]
    if not info.flag_bits & _UTF8_FLAG:
        raw = name.encode("cp437")
        text = _as_utf8(raw)
        name = raw.decode(encoding, errors="replace") if text is None else text
    # The second byte of a Shift-JIS character can be a backslash, so backslashes are replaced after decoding.
    return clean_name(name.replace("\\", "/"))


def clean_name(name: str) -> str:
    """Return `name` composed (NFC), with each unprintable character replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", unicodedata.normalize("NFC", name))


def _as_utf8(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def is_escape(name: str) -> bool:
    """Return whether the name is absolute or climbs out of the archive."""
    return name.startswith("/") or re.match(r"[A-Za-z]:/", name) is not None or ".." in name.split("/")


def parts_of(name: str) -> list[str]:
    """Return the folders and the file of a name. The "." and "" that some tools leave in are dropped."""
    return [part for part in name.split("/") if part not in ("", ".")]


def is_rubbish(parts: list[str]) -> bool:
    """Return whether the file is hidden or a system put it there, such as macOS metadata and thumbnails."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in _RUBBISH


def suffix(name: str) -> str:
    """Return the extension in lower case with its dot, "" where there is none."""
    return posixpath.splitext(name)[1].lower()


def path_name(name: str) -> str:
    """Return the name without its extension, case folded."""
    return posixpath.splitext(name)[0].casefold()


def base_name(name: str) -> str:
    """Return the name without folders and extension, case folded. It pairs a clip with its caption."""
    return posixpath.splitext(posixpath.basename(name))[0].casefold()
