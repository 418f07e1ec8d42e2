"""This module reads captions: a text file of any encoding becomes one line of text after the trigger phrase."""

import codecs
import html
import json
import re
from typing import Literal

from soundlora.dataset.encodings import encoding_of_texts

MAX_CAPTION_CHARACTERS = 4000
"""The text encoder's 1,024 tokens hold about this much English. Longer captions are cut with a warning."""

_FIELDS = ("caption", "text", "prompt", "description", "label")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
# Tags that HTML has; others, such as <laughs>, may be meant.
_TAG = re.compile(
    r"</?(?:html|head|body|title|meta|p|br|div|span|b|i|u|em|strong|a|font|ul|ol|li|h[1-6]|table|tr|td|img|script|style)"
    r"(?:\s[^<>]*)?/?>",
    re.I,
)


def read_caption(raw: bytes, *, cut: bool = False) -> str:
    """Return the text of a caption file on one line, without spaces around it. See `understand_caption`."""
    return understand_caption(raw, cut=cut)[0]


def understand_caption(raw: bytes, *, cut: bool = False, encoding: str | None = None) -> tuple[str, list[str]]:
    """Return the text of a caption file on one line, and clauses on what had to be done to get it.

    UTF-8, UTF-16 and UTF-32 are read with or without a byte order mark. Anything else is an encoding of before
    Unicode: `encoding`, which the captions of a data set have in common, or else a guess. Markup is taken away, and of
    JSON the caption is taken. What is no text gives none. `cut` says that `raw` is only the start of the file and may
    end within a character.
    """
    text, notes = decode_text(raw, cut=cut, encoding=encoding)
    text = _ESCAPE.sub("", text)
    start = text.lstrip()
    if start.startswith("{\\rtf"):
        return "", ["is RTF and no plain text, so it is not used; save it as plain text"]
    if start.startswith(("%PDF", "PK\x03\x04", "\x89PNG")):
        return "", ["is no text, so it is not used; write plain text"]
    if start.startswith("{"):
        text, notes = _from_json(start, text, notes)
    elif _TAG.search(text):
        text = html.unescape(_TAG.sub(" ", text))
        notes = [*notes, "has HTML in it, of which the text was taken"]
    plain = _CONTROL.sub("", text)
    if plain != text:
        notes = [*notes, "has control characters in it, which were left out"]
    return one_line(plain), notes


def _from_json(start: str, text: str, notes: list[str]) -> tuple[str, list[str]]:
    """The caption in a JSON object; the text as it is where it is none, for a caption may begin with a brace."""
    try:
        value = json.loads(start)
    except (ValueError, RecursionError):
        return text, notes
    found = next((value[name] for name in _FIELDS if isinstance(value.get(name), str)), None)
    if found is None:
        return "", [*notes, f"is JSON without {', '.join(_FIELDS)}, so it is not used; write plain text"]
    return found, [*notes, "is JSON, of which the caption was taken"]


def one_line(text: str) -> str:
    """Return the lines of `text` joined with single spaces, without empty lines and the spaces around each."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def with_trigger(trigger: str, caption: str) -> str:
    """Return "trigger caption", or the caption alone when it already starts with the trigger.

    An empty caption gives the trigger alone. A caption that starts with the trigger in other letters, upper or lower
    case, gets its spelling. The trigger must end at the end of a word: "rain" does not start "rainbow".
    """
    trigger, caption = one_line(trigger), caption.strip()
    head, rest = caption[: len(trigger)], caption[len(trigger) :]
    if trigger and head.casefold() == trigger.casefold() and not (rest and rest[0].isalnum() and trigger[-1].isalnum()):
        return trigger + rest
    return f"{trigger} {caption}".strip()


def without_trigger(trigger: str, caption: str) -> str:
    """Return the caption without the trigger phrase, wherever it stands as words of its own, in any case.

    What separated it from the rest goes with it: "rain, kit, wind" becomes "rain, wind".
    """
    words = r"\s+".join(map(re.escape, trigger.split()))
    rest = re.sub(rf"(?<!\w){words}(?!\w)", "", caption, flags=re.IGNORECASE) if words else caption
    if rest == caption:
        return caption
    rest = re.sub(r"\s*([,;:|/–—-])(?:\s*[,;:|/–—-])+", r"\1", rest)
    rest = re.sub(r"\s+(?=[,;.])", "", " ".join(rest.split()))
    return rest.strip(" ,;:|/–—-").removeprefix(".").strip()


def style(caption: str) -> Literal["list of tags", "sentence", "phrase"]:
    """Return how a caption is written.

    "rain, wind, night" is a list of tags, "Rain falls on a roof." a sentence, and "rain on a roof" a phrase.
    """
    parts = caption.split(",")
    if len(parts) >= 3 and sum(len(part.split()) for part in parts) <= 3 * len(parts):
        return "list of tags"
    return "sentence" if caption.rstrip("\"')").endswith((".", "!", "?")) else "phrase"


def decode_text(raw: bytes, *, cut: bool = False, encoding: str | None = None) -> tuple[str, list[str]]:
    """Return the text in `raw`, and a clause where its encoding had to be guessed. See `understand_caption`."""
    if raw.startswith(codecs.BOM_UTF8):
        return raw[len(codecs.BOM_UTF8) :].decode("utf-8", errors="replace"), []
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return raw.decode("utf-32", errors="replace"), []
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace"), []
    # Text holds no NUL; UTF-16 of western text has one in every other byte, UTF-32 three in a row.
    if b"\0" in raw:
        if b"\0\0\0" in raw and len(raw) % 4 == 0:
            little = raw[3::4].count(0) >= raw[::4].count(0)
            return raw.decode("utf-32-le" if little else "utf-32-be", errors="replace").replace("\0", ""), []
        little = raw[1::2].count(0) >= raw[::2].count(0)
        return raw.decode("utf-16-le" if little else "utf-16-be", errors="replace").replace("\0", ""), []
    if is_unicode(raw, cut=cut):
        return codecs.utf_8_decode(raw, "strict", not cut)[0], []
    guessed, text = _guess(raw, encoding)
    return text, [f"is not UTF-8 and was read as {guessed}; save it as UTF-8 if that is wrong"]


def _guess(raw: bytes, encoding: str | None) -> tuple[str, str]:
    """Return an encoding of before Unicode and the text in it: `encoding`, if the text can be in that one."""
    for name in (encoding or encoding_of_texts([raw]), encoding_of_texts([raw])):
        try:
            return name, raw.decode(name)
        except UnicodeDecodeError:
            continue
    return "latin-1", raw.decode("latin-1")


def is_unicode(raw: bytes, *, cut: bool = False) -> bool:
    """Return whether the bytes of a caption file are Unicode, so that nothing has to be guessed."""
    if b"\0" in raw or raw.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        codecs.utf_8_decode(raw, "strict", not cut)
    except UnicodeDecodeError:
        return False
    return True
