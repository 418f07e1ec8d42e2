"""Which files belong together: a clip, its caption, and what else stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from soundlora.dataset import names
from soundlora.dataset.members import Member
from soundlora.dataset.problems import DuplicateNameError

Key = Callable[[Member], str]
_MOST_NAMED = 20


def key_of(members: Iterable[Member]) -> Key:
    """Return the function whose result a clip shares with the files that belong to it.

    Where the clips' names are unique it is the base name, whatever their folders and capitals. Where clips of a folder
    on the disk share a name, as the 01.wav of two recorders do, each belongs with the files of its own folder. A zip
    has the hosted endpoint's rule: names are unique.
    """
    clips = [member for member in members if not member.is_caption]
    unique = len({names.base_name(member.name) for member in clips}) == len(clips)
    by_folder = not unique and all(member.path is not None for member in clips)
    return lambda member: (names.path_name if by_folder else names.base_name)(member.name)


def pair(members: Sequence[Member]) -> tuple[list[tuple[Member, Member | None]], list[Member]]:
    """Return (clip, caption or None) pairs in order of name, and the captions that belong to no clip.

    Raises DuplicateNameError, which names all of them, when clips, or the captions of one, share a name.
    """
    key = key_of(members)
    clips = alone([member for member in members if not member.is_caption], key)
    captions = grouped([member for member in members if member.is_caption], key)
    check_captions(clips, captions)
    orphans = [member for name, found in captions.items() if name not in clips for member in found]
    return [(clip, captions.get(name, [None])[0]) for name, clip in clips.items()], orphans


def grouped(members: Iterable[Member], key: Key) -> dict[str, list[Member]]:
    """Return the members by their keys, in order."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(key(member), []).append(member)
    return found


def alone(members: Iterable[Member], key: Key) -> dict[str, Member]:
    """Return the members by their keys. Raises DuplicateNameError, which names all that share one."""
    groups = grouped(members, key)
    clashes = [_both(found) for found in groups.values() if len(found) > 1]
    if len(clashes) == 1:
        raise DuplicateNameError(
            f"{clashes[0]} have the same base name; file names must be unique across the whole archive, so rename or "
            "remove one of them."
        )
    if clashes:
        raise DuplicateNameError(
            f"{len(clashes)} base names are there more than once: {_few(clashes)}. File names must be unique across "
            "the whole archive, so rename or remove one of each."
        )
    return {name: found[0] for name, found in groups.items()}


def check_captions(clips: dict[str, Member], captions: dict[str, list[Member]]) -> None:
    """Raise DuplicateNameError, which names all of them, when a clip has more than one caption."""
    clashes = [
        f"{_both(found)} are both captions of {clips[name].name}"
        for name, found in captions.items()
        if name in clips and len(found) > 1
    ]
    if clashes:
        raise DuplicateNameError(f"{_few(clashes)}; keep one of {'them' if len(clashes) == 1 else 'each'}.")


def _both(found: list[Member]) -> str:
    return " and ".join(member.name for member in found)


def _few(items: list[str]) -> str:
    more = len(items) - _MOST_NAMED
    return "; ".join(items[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
