"""Captions in other files than NAME.txt: NAME.wav.txt and NAME.lab of one clip, and tables of the whole data set."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace

from soundlora.dataset import names, partners
from soundlora.dataset.archive import Archive
from soundlora.dataset.members import Member
from soundlora.dataset.pairing import grouped
from soundlora.dataset.partners import Entries, Partner

LABEL_EXTENSION = ".lab"
TABLES = ("metadata.jsonl", "metadata.csv", "captions.json")
"""The names of tables, in the order in which they count."""


def entries(archive: Archive, partner: Partner) -> Entries:
    """Return the archive's clips with what stands beside each, as `partners.entries` does, and with other sidecars.

    A clip without NAME.txt takes NAME.wav.txt, or else NAME.lab. Tables and the sidecars that are taken are not among
    the orphans and the ignored files.
    """
    found = partners.entries(archive, partner)
    labels = [member for member in archive.others if names.suffix(member.name) == LABEL_EXTENSION]
    waiting = grouped((*found.orphans, *labels), lambda member: _file(member.name))
    alone = _alone([entry.clip for entry in found.clips])
    clips, taken = [], {member.name for member in tables(archive)}
    for entry in found.clips:
        sidecar = None if entry.caption is not None else _sidecar(entry.clip, waiting, entry.clip.name in alone)
        if sidecar is not None:
            taken.add(sidecar.name)
            entry = replace(entry, caption=sidecar)
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
        beside = [member for member in matching if _folder(member.name) == _folder(clip.name)]
        if beside or (alone and len(matching) == 1):
            return (beside or matching)[0]
    return None


def _alone(clips: Sequence[Member]) -> set[str]:
    """Return the names of the clips of which no other has the same name without folder and extension."""
    groups = grouped(clips, lambda clip: names.base_name(clip.name))
    return {found[0].name for found in groups.values() if len(found) == 1}


def _file(name: str) -> str:
    return posixpath.basename(name).casefold()


def _folder(name: str) -> str:
    return posixpath.dirname(name).casefold()
