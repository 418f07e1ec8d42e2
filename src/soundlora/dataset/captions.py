"""Captions: text files of any encoding in, one line of text out, with the trigger phrase before it."""

import codecs
from typing import Literal

MAX_CAPTION_CHARACTERS = 4000
"""About what the text encoder's 1,024 tokens hold in English; what lies beyond is cut with a warning."""


def read_caption(raw: bytes, *, cut: bool = False) -> str:
    """Return the text of a caption file on one line, without spaces around it.

    UTF-8 and UTF-16, each with or without a byte order mark; anything else is read as Windows' Latin-1. `cut` says that
    `raw` is only the start of the file and may end within a character.
    """
    return one_line(_decode(raw, cut))


def one_line(text: str) -> str:
    """Join the lines of `text` with single spaces; drop empty lines, and the spaces around each."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def with_trigger(trigger: str, caption: str) -> str:
    """Return "trigger caption", or the caption alone when it already starts with the trigger.

    An empty caption gives the trigger alone. Upper and lower case differ, and the trigger must end at the end of a
    word: "rain" does not start "rainbow".
    """
    trigger, caption = one_line(trigger), caption.strip()
    rest = caption.removeprefix(trigger)
    if len(rest) < len(caption) and not (rest and rest[0].isalnum() and trigger[-1].isalnum()):
        return caption
    return f"{trigger} {caption}".strip()


def style(caption: str) -> Literal["list of tags", "sentence", "phrase"]:
    """Say how a caption is written: "rain, wind, night", "Rain falls on a roof.", or "rain on a roof"."""
    parts = caption.split(",")
    if len(parts) >= 3 and sum(len(part.split()) for part in parts) <= 3 * len(parts):
        return "list of tags"
    return "sentence" if caption.rstrip("\"')").endswith((".", "!", "?")) else "phrase"


def _decode(raw: bytes, cut: bool) -> str:
    if raw.startswith(codecs.BOM_UTF8):
        return raw[len(codecs.BOM_UTF8) :].decode("utf-8", errors="replace")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    # Text holds no NUL; UTF-16 of western text has one in every other byte.
    if b"\0" in raw:
        little = raw[1::2].count(0) >= raw[::2].count(0)
        return raw.decode("utf-16-le" if little else "utf-16-be", errors="replace").replace("\0", "")
    try:
        return codecs.utf_8_decode(raw, "strict", not cut)[0]
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
