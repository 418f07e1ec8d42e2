"""This module chooses a clip's caption from what there is, by one rule.

A caption file counts before a table, a table before what the sound file carries, that before the words of the file's
name, and those before the folder's. Files and tables count always, the others where they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from soundlora.dataset.archive import Archive
from soundlora.dataset.caption_template import TEMPLATE_FIELDS, check_template, filled
from soundlora.dataset.captions import MAX_CAPTION_CHARACTERS, is_unicode, one_line, understand_caption
from soundlora.dataset.encodings import encoding_of_texts
from soundlora.dataset.file_words import file_category, file_words, folder_words
from soundlora.dataset.members import Member, read_start
from soundlora.dataset.partners import Entries, Entry
from soundlora.dataset.sidecars import tables
from soundlora.dataset.tables import Row, Tables, holding, read_tables
from soundlora.dataset.tags import caption_of_tags, read_tags
from soundlora.dataset.xmp import xmp_fields
from soundlora.errors import InputError
from soundlora.wording import setting, using

CaptionsFrom = Literal["files", "all"]
"""What captions are taken from: files and tables alone, or also what sounds carry and what they are called."""

# This is enough for the longest caption in any encoding. A file may be endless.
_CAPTION_BYTES = 16 * MAX_CAPTION_CHARACTERS
_TELLING_BYTES = 4096
_NOT: tuple[float, None] = (-1.0, None)
"""No caption, before all that hold from a second on."""


@dataclass(frozen=True)
class Offer:
    """A text that would serve as a caption, and where it stands: "BWF description", "file name"."""

    text: str
    source: str


@dataclass(frozen=True)
class Said:
    """What is said of a clip. `text` is its caption without the trigger phrase, `caption` the one with it.

    `source` says where it stands, None where there is none. `offer` is what the clip carries beyond files and tables.
    """

    text: str
    caption: str
    source: str | None
    warnings: list[str]
    offer: Offer | None = None


@dataclass(frozen=True)
class CaptionRule:
    """How captions are chosen and put together, and what was read for it of a data set as a whole.

    `encoding` is that of captions that are not Unicode, None until they were looked at.
    """

    trigger_phrase: str = ""
    captions_from: CaptionsFrom = "files"
    template: str = ""
    encoding: str | None = None
    tables: Tables = field(default_factory=Tables)

    def check(self) -> None:
        """Raise InputError for settings that can be known to be wrong before a data set is read."""
        if self.captions_from not in get_args(CaptionsFrom):
            raise InputError(
                f"{setting('captions_from')} is {self.captions_from!r}, but it must be one of "
                f"{', '.join(get_args(CaptionsFrom))}.",
                field="captions_from",
            )
        check_template(self.template, known=False)

    def of(self, found: Entries, archive: Archive) -> CaptionRule:
        """Return the rule for one data set, whose tables are read. Raises InputError for an unknown field."""
        texts = (text for entry in found.clips for text in (entry.caption, *(later for _, later in entry.later)))
        encoding = _encoding(text for text in texts if text is not None)
        read = read_tables(tables(archive), [entry.clip.name for entry in found.clips], encoding)
        check_template(self.template, read.columns)
        return replace(self, encoding=encoding, tables=read)

    def tags_of(self, path: Path) -> dict[str, str]:
        """Return what a sound file carries, as `tags.read_tags` does."""
        return read_tags(path, self.encoding)

    def wants_tags(self, entry: Entry) -> bool:
        """Return whether anything depends on what the clip's file carries."""
        row = self.tables.rows.get(entry.clip.name)
        return bool(self.template) or (entry.caption is None and not (row and row.caption))

    def said_of(self, entry: Entry, tags: Mapping[str, str]) -> Said:
        """Choose the caption of a clip whose file carries `tags`, put it together, and warn about it."""
        name = entry.clip.name
        text, source, warnings = self._explicit(entry)
        offer = None if text else carried(name, tags)
        if offer is not None and self.captions_from == "all":
            # Without a caption file there is nothing to warn of; one that can't be used is still named.
            text, source, offer = offer.text, offer.source, None
        if not text and not warnings:
            warnings = [self._missing(entry.caption)]
        return self._put_together(name, tags, text, source, warnings, offer)

    def later(self, entry: Entry, offset: float, tags: Mapping[str, str]) -> Said | None:
        """Return what is said from `offset` seconds into a recording on, None where its own caption holds.

        A file and a row of a table hold up to the next one of either. Of one second the file counts.
        """
        name = entry.clip.name
        (row_at, row), (file_at, file) = self.tables.at(name, offset) or _NOT, holding(entry.later, offset) or _NOT
        if file is not None and file_at >= row_at:
            text, warnings = self._read(file)
            return self._put_together(name, tags, text, file.name, warnings, None, row) if text else None
        if row is None or not row.caption:
            return None
        return self._put_together(name, tags, row.caption, row.table, [], None, row)

    def _put_together(
        self,
        name: str,
        tags: Mapping[str, str],
        text: str,
        source: str | None,
        warnings: list[str],
        offer: Offer | None,
        row: Row | None = None,
    ) -> Said:
        if len(text) > MAX_CAPTION_CHARACTERS:
            text = text[:MAX_CAPTION_CHARACTERS].rsplit(" ", 1)[0]
            warnings.append(f"its caption is longer than {MAX_CAPTION_CHARACTERS} characters and was cut there")
        values = self._fields(name, tags, row or self.tables.rows.get(name)) | {"caption": text}
        caption = filled(self.template, self.trigger_phrase, values)
        if self.template:
            text = filled(self.template, "", values)
        return Said(text, caption, source, warnings, offer)

    def _explicit(self, entry: Entry) -> tuple[str, str | None, list[str]]:
        """Return the caption of a file or a table, where it stands, and clauses about the file."""
        warnings: list[str] = []
        if entry.caption is not None:
            text, warnings = self._read(entry.caption)
            if text:
                return text, entry.caption.name, warnings
        row = self.tables.rows.get(entry.clip.name)
        if row is not None and row.caption:
            return row.caption, row.table, warnings
        return "", None, warnings

    def _read(self, member: Member) -> tuple[str, list[str]]:
        """Return the caption in a file, and clauses about it."""
        raw = read_start(member, _CAPTION_BYTES)
        text, notes = understand_caption(raw, cut=len(raw) < member.size, encoding=self.encoding)
        return text, [f"its caption {member.name} {note}" for note in notes]

    def _missing(self, member: Member | None) -> str:
        what = "it has no caption" if member is None else f"its caption {member.name} is empty"
        alone = one_line(self.trigger_phrase)
        return f"{what}: " + ("the trigger phrase stands alone" if alone else "it is trained with an empty caption")

    def _fields(self, name: str, tags: Mapping[str, str], row: Row | None) -> dict[str, str]:
        if not self.template:
            return {}
        values = {"file": file_words(name), "folder": folder_words(name)}
        # What XMP says stands behind a tag of the same name.
        values |= {key: text for key, text in xmp_fields(tags).items() if key in TEMPLATE_FIELDS}
        values |= {key: text for key, text in tags.items() if key in TEMPLATE_FIELDS}
        if category := file_category(name):
            values.setdefault("category", category)
        return values | dict(row.fields if row is not None else {})


def carried(name: str, tags: Mapping[str, str]) -> Offer | None:
    """Return the text that a clip of this name and with these tags would take as its caption, None without any."""
    if (found := caption_of_tags(tags)) is not None:
        return Offer(*found)
    for text, source in ((file_words(name), "file name"), (folder_words(name), "folder name")):
        if text:
            return Offer(text, source)
    return None


def offers_note(offers: Sequence[tuple[str, Offer]]) -> list[str]:
    """Return a sentence on clips, by their names, that have no caption but carry words; nothing where there is none."""
    if not offers:
        return []
    name, first = offers[0]
    count = "1 clip has no caption but carries words" if len(offers) == 1 else (
        f"{len(offers)} clips have no caption but carry words"
    )  # fmt: skip
    example = first.text if len(first.text) <= 60 else f"{first.text[:57]}..."
    return [f"{count}, such as {example!r} ({first.source} of {name}); {using('captions_from', 'all')} uses them."]


def _encoding(captions: Iterable[Member]) -> str | None:
    """Return the encoding of the captions that are not Unicode, None where all are. Most are short, so few tell it."""
    raws = []
    for member in captions:
        raw = read_start(member, _CAPTION_BYTES)
        if not is_unicode(raw, cut=len(raw) < member.size):
            raws.append(raw[:_TELLING_BYTES])
    return encoding_of_texts(raws) if raws else None
