"""This module guesses which encoding of before Unicode texts are in, from all of them together.

One short text fits many encodings. What a person packs into one archive was mostly written on one system.
"""

import re
from collections.abc import Sequence

from charset_normalizer import from_bytes

# The detector is offered no others, as short texts fit many.
_ASIAN = ["cp932", "gb18030", "big5", "cp949"]
_WINDOWS = ["cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1252"]
_DOS = ["cp866", "cp437", "cp850", "cp852"]
_FEW = 0.3
"""Of the letters: with fewer beyond ASCII a text is western, as "Café" and "Tür" are."""
_LONELY = 2
_SOME = 0.2
# Letters with accents stand alone between others, those of other scripts beside each other. Of kana, the second byte
# may look like a letter.
_RUN = re.compile(rb"[\x80-\xff]{2}")
_KANA = re.compile(rb"[\x82\x83]")
_ACCENTED = set("äöüßéèêëàâáãåæçíìîïñóòôõøúùûýÿœÄÖÜÉÈÊËÀÂÁÃÅÆÇÍÌÎÏÑÓÒÔÕØÚÙÛÝŒ–—’‘“”…€")
_MOST_BYTES = 64 * 1024


def encoding_of_texts(texts: Sequence[bytes]) -> str:
    """Return the encoding that Windows programs wrote `texts` in, which are not UTF-8."""
    return _guess(texts, [*_ASIAN, *_WINDOWS], ["cp1252", "latin-1"])


def encoding_of_names(names: Sequence[bytes]) -> str:
    """Return the encoding that file names in a zip are in, which are not UTF-8. CP437 is the format's own."""
    return _guess(names, [*_ASIAN, *_DOS, *_WINDOWS], ["cp437", "cp1252", "cp850"])


def _guess(texts: Sequence[bytes], encodings: list[str], western: list[str]) -> str:
    raw = b"\n".join(dict.fromkeys(texts))[:_MOST_BYTES]
    high = sum(byte > 127 for byte in raw)
    letters = sum(byte > 127 or chr(byte).isalpha() for byte in raw)
    lonely = not _RUN.search(raw) and (high <= _LONELY or len(_KANA.findall(raw)) < high / 2)
    is_western = lonely or high <= _FEW * letters
    if not is_western and _has_kana(raw):
        return "cp932"
    if not is_western and (best := from_bytes(raw, cp_isolation=encodings).best()) is not None:
        return best.encoding
    return max(western, key=lambda encoding: _fit(raw, encoding))


def _has_kana(raw: bytes) -> bool:
    """Return whether these are Japanese, of which the detector takes short ones for Korean."""
    try:
        text = [character for character in raw.decode("cp932") if ord(character) > 127]
    except UnicodeDecodeError:
        return False
    return sum("\u3040" <= character <= "\u30ff" for character in text) >= _SOME * len(text)


def _fit(raw: bytes, encoding: str) -> int:
    """Return how many of the characters beyond ASCII are those of western texts, -1 where a byte has no meaning."""
    try:
        return sum(character in _ACCENTED for character in raw.decode(encoding))
    except UnicodeDecodeError:
        return -1
