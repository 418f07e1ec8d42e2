"""What stands beside a clip beyond its caption: the sound that it is made of, or the spans that are made anew."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from soundlora.dataset import names
from soundlora.dataset.archive import Archive
from soundlora.dataset.members import Member, read_start
from soundlora.dataset.pairing import Key, alone, check_captions, grouped, key_of, pair
from soundlora.dataset.problems import MissingPartnerError, UnusableClipError

Partner = Literal["", "spans", "reference"]
"""What every clip of a data set needs: nothing more, NAME_mask.json, or NAME_start beside NAME_end."""

Spans = tuple[tuple[float, float], ...]
"""Start and end of each, in seconds."""

MASK, START, END = "_mask", "_start", "_end"
_MASK_EXTENSION = ".json"
_MASK_BYTES = 1024**2


@dataclass(frozen=True)
class Entry:
    """A clip with its caption, and the file that it needs beside it, None where it needs none.

    `later` are the captions of a long recording that hold from a second on, in their order, with that second.
    """

    clip: Member
    caption: Member | None
    partner: Member | None = None
    later: tuple[tuple[float, Member], ...] = ()


@dataclass(frozen=True)
class Entries:
    """The clips of an archive in order of name. `orphans` are captions of no clip, `ignored` names of other files."""

    clips: list[Entry]
    orphans: list[Member]
    ignored: list[str]


def entries(archive: Archive, partner: Partner) -> Entries:
    """Return the archive's clips with what stands beside each.

    Raises MissingPartnerError when a file lacks its other half, DuplicateNameError when a file is there twice.
    """
    if partner == "reference":
        return _pairs(archive)
    pairs, orphans = pair(archive.members)
    ignored = [member.name for member in archive.others]
    if partner == "":
        return Entries([Entry(clip, caption) for clip, caption in pairs], orphans, ignored)
    key = key_of(archive)
    masks = alone((member for member in archive.others if _is_mask(member)), _without(key, MASK))
    found = [Entry(clip, caption, masks.pop(key(clip), None)) for clip, caption in pairs]
    for entry in found:
        if entry.partner is None:
            name = posixpath.splitext(posixpath.basename(entry.clip.name))[0] + MASK + _MASK_EXTENSION
            raise MissingPartnerError(
                f"{entry.clip.name} has no {name}, which names the spans that are made anew; write [[start, end], …] "
                "in seconds."
            )
    for mask in masks.values():
        raise MissingPartnerError(f"{mask.name} belongs to no clip; add the clip or leave it out.")
    used = {entry.partner.name for entry in found if entry.partner is not None}
    return Entries(found, orphans, [name for name in ignored if name not in used])


def _pairs(archive: Archive) -> Entries:
    """Return the clips that end with _end, each with that of the same name that ends with _start."""
    key = key_of(archive)
    clips = [member for member in archive if not member.is_caption]
    for member in clips:
        if not names.base_name(member.name).endswith((START, END)):
            raise MissingPartnerError(
                f"{member.name} is neither the start nor the end of a pair; name the sound that is given "
                f"NAME{START}, what becomes of it NAME{END}."
            )
    starts, ends = (
        alone((member for member in clips if names.base_name(member.name).endswith(role)), _without(key, role))
        for role in (START, END)
    )
    for one, others, role in ((ends, starts, START), (starts, ends, END)):
        for stem, member in one.items():
            if stem not in others:
                raise MissingPartnerError(
                    f"{member.name} has no {posixpath.basename(stem)}{role} beside it; add it or leave both out."
                )

    def pair_of(caption: Member) -> str:
        return key(caption) if key(caption) in ends else key(caption).removesuffix(END)

    texts = grouped((member for member in archive if member.is_caption), pair_of)
    check_captions(ends, texts)
    orphans = [member for stem, captions in texts.items() if stem not in ends for member in captions]
    found = [Entry(clip, texts.get(stem, [None])[0], starts[stem]) for stem, clip in ends.items()]
    return Entries(found, orphans, [member.name for member in archive.others])


def _is_mask(member: Member) -> bool:
    return names.suffix(member.name) == _MASK_EXTENSION and names.base_name(member.name).endswith(MASK)


def _without(key: Key, role: str) -> Key:
    return lambda member: key(member).removesuffix(role)


def read_spans(member: Member, duration: float) -> tuple[Spans, list[str]]:
    """Return the spans of a mask file within `duration` seconds, in order, and warnings as clauses.

    Raises UnusableClipError when it holds no such spans, or when they leave nothing of the clip to be given.
    """
    try:
        value = json.loads(read_start(member, _MASK_BYTES))
    except (ValueError, RecursionError):
        value = None
    try:
        spans = checked_spans(value)
    except ValueError as error:
        raise UnusableClipError(f"its {member.name} {error}", "spans") from None
    inside = tuple((start, min(end, duration)) for start, end in spans if start < duration)
    if not inside:
        last = f"from {spans[0][0]:g} s on" if spans else "nowhere"
        raise UnusableClipError(
            f"its {member.name} has no span within the bucket of {duration:g} s, only {last}", "spans"
        )
    if _covers(inside, duration):
        raise UnusableClipError(f"its {member.name} makes all of it anew, so that nothing is given", "spans")
    beyond = any(end > duration for _, end in spans)
    return inside, [f"its {member.name} names spans beyond {duration:g} s, which are cut off there"] if beyond else []


def checked_spans(value: object) -> Spans:
    """Return spans in order. Raises ValueError with a clause about what is wrong with the value."""
    shape = "must be [[start, end], …] in seconds"
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(shape)
    spans = []
    for span in value:
        if not isinstance(span, Sequence) or isinstance(span, str) or len(span) != 2:
            raise ValueError(shape)
        start, end = span
        if any(isinstance(number, bool) or not isinstance(number, int | float) for number in span):
            raise ValueError(shape)
        if not (math.isfinite(start) and math.isfinite(end)) or not 0 <= start < end:
            raise ValueError(f"has a span from {start:g} to {end:g} s, but each must end after it starts")
        spans.append((float(start), float(end)))
    if not spans:
        raise ValueError("names no span, so there is nothing to make anew")
    return tuple(sorted(spans))


def _covers(spans: Spans, duration: float) -> bool:
    """Return whether sorted spans leave nothing of a clip."""
    reached = 0.0
    for start, end in spans:
        if start > reached:
            return False
        reached = max(reached, end)
    return reached >= duration
