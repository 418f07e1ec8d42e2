"""Captions in other files than NAME.txt.

They are NAME.wav.txt and NAME.lab of one clip, NAME@12.5.txt of what lies behind a second of a long one, and tables of
the whole data set.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from soundlora.dataset import names, partners
from soundlora.dataset.archive import Archive
from soundlora.dataset.members import Member
from soundlora.dataset.pairing import grouped
from soundlora.dataset.partners import Entries, Entry, Partner

LABEL_EXTENSION = ".lab"
TABLES = ("metadata.jsonl", "metadata.csv", "captions.json")
"""The names of tables, in the order in which they count."""

# As a person writes it, and as the report names a window: "rain.wav @ 12.5 s".
_TIMED = re.compile(r"(.+?) ?@ ?(\d{1,9}(?:[.,]\d{1,6})?)(?: ?s)?")


def entries(archive: Archive, partner: Partner) -> Entries:
    """Return the archive's clips with what stands beside each, as `partners.entries` does, and with other sidecars.

    A clip without NAME.txt takes NAME.wav.txt, NAME.lab, or else NAME@0.txt. A clip that needs no partner has its later
    captions. Tables and the sidecars that are taken are not among the orphans and the ignored files.
    """
    found = partners.entries(archive, partner)
    labels = [member for member in archive.others if names.suffix(member.name) == LABEL_EXTENSION]
    waiting = grouped((*found.orphans, *labels), lambda member: _file(member.name))
    alone = _alone([entry.clip for entry in found.clips])
    timed = {} if partner else _timed(found.orphans)
    clips, taken = [], {member.name for member in tables(archive)}
    for entry in found.clips:
        sidecar = None if entry.caption is not None else _sidecar(entry.clip, waiting, entry.clip.name in alone)
        if sidecar is not None:
            taken.add(sidecar.name)
            entry = replace(entry, caption=sidecar)
        entry = _with_later(entry, timed, entry.clip.name in alone)
        taken |= {member.name for member in (entry.caption, *(each for _, each in entry.later)) if member is not None}
        clips.append(entry)
    return Entries(
        clips,
        [member for member in found.orphans if member.name not in taken],
        [name for name in found.ignored if name not in taken],
    )


def tables(archive: Archive) -> list[Member]:
    """Return the tables of captions in an archive, those that count first at the front."""
    found = [member for member in archive.others if _file(member.name) in TABLES]
    return sorted(found, key=lambda member: (TABLES.index(_file(member.name)), member.name))


def _sidecar(clip: Member, waiting: Mapping[str, Sequence[Member]], alone: bool) -> Member | None:
    """Return the file that belongs to a clip, the one in its own folder first. `waiting` are files by their names.

    `alone` says that no other clip has its name, so that the file may lie in another folder.
    """
    wanted = (_file(clip.name) + names.CAPTION_EXTENSION, names.base_name(clip.name) + LABEL_EXTENSION)
    for name in wanted:
        matching = waiting.get(name, [])
        beside = _beside(clip, matching)
        if beside or (alone and len(matching) == 1):
            return (beside or matching)[0]
    return None


def _timed(members: Sequence[Member]) -> dict[str, list[tuple[float, Member]]]:
    """Return the captions of later seconds by the names that they begin with, with their seconds and in their order."""
    found: dict[str, list[tuple[float, Member]]] = {}
    for member in members:
        if match := _TIMED.fullmatch(names.base_name(member.name)):
            found.setdefault(match[1], []).append((float(match[2].replace(",", ".")), member))
    return {name: sorted(timed, key=lambda each: each[0]) for name, timed in found.items()}


def _with_later(entry: Entry, timed: Mapping[str, Sequence[tuple[float, Member]]], alone: bool) -> Entry:
    """Return the entry with its captions of later seconds. Of several of one second the first one counts.

    That of second 0 is the clip's own where it has none.
    """
    found: dict[float, Member] = {}
    for name in (names.base_name(entry.clip.name), _file(entry.clip.name)):
        for seconds, member in timed.get(name, ()):
            if alone or _beside(entry.clip, [member]):
                found.setdefault(seconds, member)
    first = found.pop(0.0, None)
    return replace(entry, caption=entry.caption or first, later=tuple(sorted(found.items())))


def _beside(clip: Member, members: Sequence[Member]) -> list[Member]:
    """Return those in the folder of the clip."""
    return [member for member in members if _folder(member.name) == _folder(clip.name)]


def _alone(clips: Sequence[Member]) -> set[str]:
    """Return the names of the clips of which no other has the same name without folder and extension."""
    groups = grouped(clips, lambda clip: names.base_name(clip.name))
    return {found[0].name for found in groups.values() if len(found) == 1}


def _file(name: str) -> str:
    return posixpath.basename(name).casefold()


def _folder(name: str) -> str:
    return posixpath.dirname(name).casefold()
