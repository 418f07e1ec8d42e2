"""Captions are written to text files beside their clips, to a new zip, and to tables for spreadsheets."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from soundlora.dataset.archive import open_archive
from soundlora.dataset.captioning import ClipCaption
from soundlora.dataset.captions import decode_text, one_line
from soundlora.dataset.tables import MOST_BYTES, TableError, csv_rows
from soundlora.errors import InputError
from soundlora.system.operating_system import reason_of
from soundlora.system.whole_files import whole, write_whole
from soundlora.wording import using

COLUMNS = ("file_name", "caption", "source")
_KEPT = ".captions_before_{}.csv"
_NAMED = 3


def write_texts(root: Path, clips: Sequence[ClipCaption], changes: Mapping[str, str]) -> Path | None:
    """Write changed captions to text files in a folder, each whole or not at all.

    The captions that were there before go to a table first, whose path is returned; None where none of these clips had
    one. Raises MachineError where a file can't be written.
    """
    changed = [clip for clip in clips if clip.name in changes]
    kept = None
    if any(clip.text for clip in changed):
        kept = next(path for number in range(1, 1_000_000) if not (path := root / _KEPT.format(number)).exists())
        write_table(kept, changed)
    for clip in changed:
        assert clip.path is not None
        write_whole(clip.path, (changes[clip.name] + "\n").encode("utf-8", "replace"))
    return kept


def write_zip(source: Path, out: Path, clips: Sequence[ClipCaption], changes: Mapping[str, str]) -> None:
    """Write a zip with changed captions to `out`; its other files stay as they are, and hidden ones are left out.

    Raises InputError where `out` is there already, MachineError where it can't be written.
    """
    if out.exists():
        raise InputError(f"{out} is there already; name another file with {using('out')}.", field="out")
    texts = {clip.file: changes[clip.name] for clip in clips if clip.name in changes}
    with (
        open_archive(source) as archive,
        whole(out) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle,
    ):
        for member in (*archive.members, *archive.others):
            if member.name not in texts:
                with bundle.open(member.name, "w", force_zip64=True) as target:
                    for chunk in member.chunks():
                        target.write(chunk)
        for name, text in texts.items():
            bundle.writestr(name, (text + "\n").encode("utf-8", "replace"))


def write_table(path: Path, clips: Sequence[ClipCaption]) -> None:
    """Write the captions as CSV: file_name, caption, source. Raises MachineError where it can't be written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((clip.name, clip.text, clip.source) for clip in clips)
    write_whole(path, text.getvalue().encode("utf-8", "replace"))


def captions_of_table(path: Path, clips: Sequence[ClipCaption]) -> dict[str, str]:
    """Return the captions in a CSV by the names of clips. An empty one says that a clip has none.

    Raises InputError where it can't be read, and for columns and names that are not known.
    """
    rows = _rows(path)
    columns = set(rows[0]) if rows else {*COLUMNS}
    if unknown := sorted(columns - {*COLUMNS}):
        raise _refused(path, f"has a column {unknown[0]!r}, but the known ones are {', '.join(COLUMNS)}")
    if missing := [column for column in COLUMNS[:2] if column not in columns]:
        raise _refused(path, f"has no column {missing[0]}")
    known = {clip.name for clip in clips}
    lost = [row["file_name"] for row in rows if row["file_name"] not in known]
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        raise _refused(path, f"names files that are no clips here: {', '.join(lost[:_NAMED])}{more}")
    return {row["file_name"]: one_line(row["caption"]) for row in rows}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} can't be read ({reason_of(error)}).", field="import") from None
    if len(raw) > MOST_BYTES:
        raise _refused(path, f"is larger than {MOST_BYTES // 1024**2} MiB")
    try:
        rows = list(csv_rows(decode_text(raw)[0]))
    except TableError as error:
        raise _refused(path, str(error).removesuffix(", so it is not used")) from None
    if any(None in row for row in rows):
        raise _refused(path, "has a row with more cells than columns")
    return [{key.strip().lower(): value for key, value in row.items()} for row in rows]


def _refused(path: Path, what: str) -> InputError:
    return InputError(f"{path} {what}; {using('export')} writes a table as it must look.", field="import")
