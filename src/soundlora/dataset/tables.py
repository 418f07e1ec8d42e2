"""This module reads tables of captions: metadata.csv and metadata.jsonl as the hub's audio folders have them, and
captions.json.
"""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from soundlora.dataset import names
from soundlora.dataset.captions import decode_text, read_caption
from soundlora.dataset.members import Member, read_start

NAME_COLUMNS = ("file_name", "filename", "file", "path", "audio")
TEXT_COLUMNS = (
    "caption", "text", "transcription", "transcript", "sentence", "prompt", "description", "label",
)  # fmt: skip
OFFSET_COLUMN = "offset"
MOST_BYTES = 8 * 1024**2
# A list of nothing takes three bytes in a file and twenty times that in memory.
_MOST_VALUES = 200_000
_MOST_COLUMNS = 100
# Of all tables of a data set, which holds 2,000 clips at most.
_MOST_TABLES = 20
_MOST_ROWS = 200_000
# Of seconds that are the same but for how they were computed.
_HAIR = 0.001
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,4}):(\d{1,2}(?:\.\d+)?)")
_UNIT = re.compile(r" ?s(?:ec)?\Z", re.I)
_COLUMN = re.compile(r"\w[\w .-]{0,39}")

T = TypeVar("T")


class TableError(Exception):
    """A table can't be used. The message is a clause that follows its name."""


@dataclass(frozen=True)
class Row:
    """What a table says of a clip: its caption, "" where it has none, and all other columns by their names."""

    table: str
    caption: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Tables:
    """The rows of all tables by the names of their clips, the columns that any of them has, and warnings.

    `later` are the rows of a long recording that hold from a second on, in their order, with that second.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    later: Mapping[str, tuple[tuple[float, Row], ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def at(self, clip: str, offset: float) -> tuple[float, Row] | None:
        """Return the row that holds `offset` seconds into a recording, with its own second.

        None says that it is that of the recording's start.
        """
        return holding(self.later.get(clip, ()), offset)


def holding(later: Sequence[tuple[float, T]], offset: float) -> tuple[float, T] | None:
    """Return what holds at `offset` seconds, of what begins at seconds in their order; None before all."""
    found = [each for each in later if each[0] <= offset + _HAIR]
    return found[-1] if found else None


def read_tables(members: Iterable[Member], clips: Sequence[str], encoding: str | None = None) -> Tables:
    """Read tables of captions for the clips of these names. Of several rows of a clip the first one counts.

    A row with an `offset` of more than 0 holds from that second on. Of rows that differ in it the one that begins first
    is that of the clip as a whole. A table that can't be used, and rows of files that are not there, become warnings.
    """
    rows: dict[str, dict[float, Row]] = {}
    timeless: list[tuple[str, str, Row]] = []
    columns: dict[str, None] = {}
    warnings = []
    left = _MOST_ROWS
    found = list(members)
    if len(found) > _MOST_TABLES:
        warnings.append(f"Of {len(found)} tables of captions only the first {_MOST_TABLES} are used.")
    for member in found[:_MOST_TABLES]:
        places = _Places(clips, posixpath.dirname(member.name))
        lost = []
        try:
            text, notes = _text(member, encoding)
            warnings += [f"{member.name} {note}." for note in notes]
            for values in table_rows(member.name, text):
                left -= 1
                if left < 0:
                    raise TableError(f"is not used from here on: there are more than {_MOST_ROWS} rows in all")
                name = _first(values, NAME_COLUMNS)
                clip = places.find(name)
                columns |= dict.fromkeys(key for key in values if key not in (*NAME_COLUMNS, *TEXT_COLUMNS))
                offset = _offset(values)
                if clip is None:
                    lost.append(name)
                elif offset is None:
                    timeless.append((clip, _plain(values[OFFSET_COLUMN]), _row(member.name, values)))
                else:
                    rows.setdefault(clip, {}).setdefault(offset, _row(member.name, values))
        except TableError as error:
            warnings.append(f"{member.name} {error}.")
        if lost:
            warnings.append(f"{member.name} names files that are no clips here: {_some(lost)}.")
    warnings += _without_seconds(rows, timeless)
    ordered = {clip: sorted(found.items(), key=lambda each: each[0]) for clip, found in rows.items()}
    firsts = {clip: found[0][1] for clip, found in ordered.items()}
    later = {clip: tuple(each for each in found if each[0] > 0) for clip, found in ordered.items()}
    return Tables(firsts, later, tuple(columns), tuple(warnings))


def _without_seconds(rows: dict[str, dict[float, Row]], timeless: Sequence[tuple[str, str, Row]]) -> list[str]:
    """Take rows whose offset is no second for clips that have no other row, and return a sentence on the rest."""
    for clip, _, row in timeless:
        rows.setdefault(clip, {0.0: row})
    unused = [text for clip, text, row in timeless if row not in rows[clip].values()]
    if not unused:
        return []
    return [f"Rows of tables whose offsets are no seconds are not used: {_some(unused)}; write them as 62.5 or 1:02.5."]


def _some(items: Sequence[str]) -> str:
    return ", ".join(item[:40] for item in items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")


def _offset(values: Mapping[str, Any]) -> float | None:
    """Return the second from which a row holds, 0 where it says none, None where it says no second.

    Seconds are numbers, or a time such as 1:02.5 and 1:00:02.
    """
    text = _plain(values.get(OFFSET_COLUMN)).strip().replace(",", ".")
    if match := _CLOCK.fullmatch(text):
        hours, minutes, seconds = match.groups("0")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    try:
        offset = float(_UNIT.sub("", text) or 0)
    except ValueError:
        return None
    return offset if 0 <= offset < math.inf else None


def _row(table: str, values: Mapping[str, Any]) -> Row:
    texts = {key: read_caption(_plain(value).encode("utf-8", "replace")) for key, value in values.items()}
    fields = {key: text for key, text in texts.items() if key not in (*NAME_COLUMNS, *TEXT_COLUMNS)}
    return Row(table, _first(texts, TEXT_COLUMNS), fields)


def table_rows(name: str, text: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table by columns in small letters; the extension of `name` tells its kind.

    Raises TableError where it can't be read, and where it has no column for the name of a file or for a caption.
    """
    kind = names.suffix(name)
    found = csv_rows(text) if kind == ".csv" else _json_lines(text) if kind == ".jsonl" else _json_rows(text)
    checked = False
    for values in found:
        row = {
            key.strip().lower(): value
            for key, value in islice(values.items(), _MOST_COLUMNS)
            if isinstance(key, str) and _COLUMN.fullmatch(key.strip())
        }
        if not checked:
            _check_columns(row)
        checked = True
        yield row
    if kind == ".csv" and not checked and text.strip():
        # The first line may be a row already, and then it is all there is.
        _check_columns([each.strip().lower() for each in next(csv.reader([text.strip()], delimiter=_delimiter(text)))])


def _check_columns(columns: Iterable[str]) -> None:
    """Raise TableError where columns are missing. Every row of a CSV has the same, of others the first one is asked."""
    columns = list(columns)
    for wanted, what in ((NAME_COLUMNS, "file_name"), (TEXT_COLUMNS, "caption or text")):
        if not set(wanted) & set(columns):
            has = ", ".join(columns[:10]) or "none"
            raise TableError(f"has no column {what}, so it is not used; its columns are {has}")


class _Places:
    """Finds the clip that a table means. Names count from the table's own folder, with or without extension."""

    def __init__(self, clips: Sequence[str], folder: str) -> None:
        self._found: dict[str, str | None] = {}
        start = f"{folder}/" if folder else ""
        inside = [(clip, clip[len(start) :].casefold()) for clip in clips if clip.startswith(start)]
        # A whole path counts before a name alone, which may be there twice.
        for shorten in (_same, _without_extension, posixpath.basename, _base):
            found: dict[str, str | None] = {}
            for clip, name in inside:
                found[shorten(name)] = None if shorten(name) in found else clip
            self._found = found | self._found

    def find(self, name: str) -> str | None:
        """Return the name of the clip, None where there is none or where it might be several."""
        parts = names.parts_of(names.clean_name(name.replace("\\", "/")))
        return self._found.get("/".join(parts).casefold())


def _same(name: str) -> str:
    return name


def _without_extension(name: str) -> str:
    return posixpath.splitext(name)[0]


def _base(name: str) -> str:
    return _without_extension(posixpath.basename(name))


def _text(member: Member, encoding: str | None) -> tuple[str, list[str]]:
    raw = read_start(member, MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise TableError(f"is larger than {MOST_BYTES // 1024**2} MiB, so it is not used")
    return decode_text(raw, encoding=encoding)


def csv_rows(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a CSV by its own columns, with commas, semicolons or tabs. Raises TableError."""
    try:
        yield from csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text), restval="")
    except csv.Error as error:
        raise TableError(f"can't be read as CSV ({error}), so it is not used") from None


def _delimiter(text: str) -> str:
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)


def _json_lines(text: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            value = _json(line, f"line {number} of it")
            if not isinstance(value, dict):
                raise TableError(f"is not used from line {number} on, which is no JSON object")
            yield value


def _json_rows(text: str) -> Iterator[Mapping[str, Any]]:
    """The rows of {name: caption}, {name: {column: value}} and [{column: value}]."""
    value = _json(text, "it")
    if isinstance(value, list):
        yield from (row for row in value if isinstance(row, dict))
    elif isinstance(value, dict):
        for name, said in value.items():
            yield {"file_name": name} | (said if isinstance(said, dict) else {"caption": said})
    else:
        raise TableError("must be a JSON object or a list of objects, so it is not used")


def _json(text: str, what: str) -> Any:
    if text.count("[") + text.count("{") > _MOST_VALUES:
        raise TableError(f"holds more than {_MOST_VALUES} values, so it is not used")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise TableError(f"is not used: {what} is no JSON") from None


def _plain(value: Any) -> str:
    """A value as text: lists of words with commas, nothing for null and what lies deeper."""
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value[:_MOST_COLUMNS] if not isinstance(each, list | dict))
    return "" if value is None or isinstance(value, dict) else str(value)


def _first(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    return next((_plain(values[column]) for column in columns if values.get(column)), "")
