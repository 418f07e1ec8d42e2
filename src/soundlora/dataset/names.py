"""File names in people's zips: this module finds their encoding, and tells rubbish and attacks from clips."""

import posixpath
import re
import unicodedata
import zipfile

MEDIA_EXTENSIONS = (".wav", ".mp3", ".flac", ".ogg", ".aac", ".m4a", ".opus")
CAPTION_EXTENSION = ".txt"

_RUBBISH = {"thumbs.db", "desktop.ini"}
_UTF8_FLAG = 0x800
# Control characters and the marks that turn the writing direction could make a name deceive in a terminal or a page.
# Lone surrogates stand for undecodable bytes in a folder's names, and cannot be written as UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def decode_name(info: zipfile.ZipInfo) -> str:
    """Return the member's name as text, with "/" between folders and accents composed (NFC).

    Without the UTF-8 flag, zipfile reads names as CP437. macOS and Linux tools write UTF-8 without setting the flag,
    and Japanese Windows writes Shift-JIS, so both are tried first.
    """
    name = info.orig_filename.split("\0", 1)[0]
    if not info.flag_bits & _UTF8_FLAG:
        name = _guess(name.encode("cp437"))
    # The second byte of a Shift-JIS character can be a backslash, so backslashes are replaced after decoding.
    return clean_name(name.replace("\\", "/"))


def clean_name(name: str) -> str:
    """Return `name` composed (NFC), with each unprintable character replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", unicodedata.normalize("NFC", name))


def _guess(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        japanese = raw.decode("cp932")
    except UnicodeDecodeError:
        return raw.decode("cp437")
    # Two accented letters of CP437 can look like one kanji by chance, and single ones like half-width katakana. A real
    # Japanese name holds several full-width characters and rarely any half-width ones.
    wide = len(re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", japanese))
    narrow = len(re.findall(r"[\uff61-\uff9f]", japanese))
    return japanese if wide >= 2 and wide > narrow else raw.decode("cp437")


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


def base_name(name: str) -> str:
    """Return the name without folders and extension, case folded. It pairs a clip with its caption."""
    return posixpath.splitext(posixpath.basename(name))[0].casefold()
