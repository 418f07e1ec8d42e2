"""The captions of a data set as a whole: read with where they come from, changed together, without decoding a sound."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soundlora.dataset import names
from soundlora.dataset.archive import Archive, open_archive
from soundlora.dataset.caption_source import CaptionRule, Offer
from soundlora.dataset.captions import one_line
from soundlora.dataset.members import on_disk
from soundlora.dataset.partners import Entry
from soundlora.dataset.sidecars import entries
from soundlora.errors import InputError
from soundlora.net.addresses import is_remote
from soundlora.system.whole_files import temporary_folder
from soundlora.wording import using

Captioner = Callable[[Path], str]
"""It is given the path of a sound file and returns its caption."""


@dataclass(frozen=True)
class ClipCaption:
    """A clip's caption. `text` is "" where it has none; `source` says where it stands, "" then.

    `file` is the name of the text file that a changed caption goes to, `path` the same on the disk, None in a zip.
    `offer` is what the clip carries beyond files and tables, for clips without a caption.
    """

    name: str
    text: str
    source: str
    file: str
    path: Path | None
    offer: Offer | None = None


@dataclass(frozen=True)
class CaptionList:
    """The captions of a data set in order of name, and sentences about what is wrong."""

    clips: list[ClipCaption]
    warnings: list[str]
    is_folder: bool


@dataclass(frozen=True)
class Changes:
    """What becomes of captions, in this order.

    `imported` are new captions by the names of clips. `fill` gives clips without a caption what they carry. `find` is
    replaced by `replace` in the captions that are there. `before` and `after` are put around each.
    """

    imported: Mapping[str, str] = field(default_factory=dict)
    fill: bool = False
    find: str = ""
    replace: str = ""
    before: str = ""
    after: str = ""

    def of(self, clips: Sequence[ClipCaption]) -> dict[str, str]:
        """Return the new captions by the names of their clips, of those clips alone whose caption changes."""
        texts = {clip.name: self._one(clip) for clip in clips}
        return {clip.name: texts[clip.name] for clip in clips if texts[clip.name] != clip.text}

    def _one(self, clip: ClipCaption) -> str:
        text = self.imported.get(clip.name, clip.text)
        if not text and self.fill and clip.offer is not None and clip.name not in self.imported:
            text = clip.offer.text
        if self.find:
            text = text.replace(self.find, self.replace)
        text = one_line(text)
        if text and not text.startswith(self.before.strip()):
            text = joined(self.before, text)
        if text and not text.endswith(self.after.strip()):
            text = joined(text, self.after)
        return text


def joined(text: str, more: str) -> str:
    """Return two texts as one, with a space between them unless the second begins with punctuation."""
    text, more = one_line(text), one_line(more)
    return f"{text}{more}" if more[:1] in tuple(",.;:!?)") else f"{text} {more}".strip()


def read_captions(source: str, captioner: Captioner | None = None) -> CaptionList:
    """Return the captions of a folder or a zip on this machine.

    A clip without a caption in a file or a table is offered what the captioner makes of it. One for which the captioner
    raises is offered what it carries, with a warning. Raises InputError for a URL, and as `open_archive` and `entries`
    do.
    """
    if is_remote(source):
        raise InputError(f"{source} is no folder and no zip on this machine; fetch it first.", field="data")
    path = Path(source)
    with open_archive(path) as archive, temporary_folder() as workspace:
        _check_writable(archive)
        found = entries(archive, "")
        rule = CaptionRule().of(found, archive)
        warnings = list(rule.tables.warnings)
        clips = [_clip_caption(entry, rule, workspace, captioner, warnings) for entry in found.clips]
    if not clips:
        raise InputError(f"{source} holds no clip.", field="data")
    return CaptionList(clips, warnings, path.is_dir())


def _check_writable(archive: Archive) -> None:
    if archive.opened:
        raise InputError(
            f"The clips lie in {archive.opened[0]}, a zip within it; unpack that one and give its clips.", field="data"
        )


def _clip_caption(
    entry: Entry, rule: CaptionRule, workspace: Path, captioner: Captioner | None, warnings: list[str]
) -> ClipCaption:
    member, own = entry.clip, entry.caption
    said = rule.said_of(entry, {})
    stem = posixpath.splitext(member.name)[0]
    file, path = stem + names.CAPTION_EXTENSION, member.path and member.path.with_suffix(names.CAPTION_EXTENSION)
    if own is not None and own.is_caption:
        file, path = own.name, own.path
    clip = ClipCaption(member.name, said.text, said.source or "", file, path)
    if said.text:
        return clip
    with on_disk(member, workspace / "clip") as (sound, _):
        offer = rule.said_of(entry, rule.tags_of(sound)).offer
        if captioner is not None:
            offer = _ask(captioner, sound, member.name, offer, warnings)
    return replace(clip, offer=offer)


def _ask(captioner: Captioner, sound: Path, name: str, other: Offer | None, warnings: list[str]) -> Offer | None:
    """Return what the captioner says of a sound, or the other text with a warning where it says nothing."""
    keeps = f"keeps {other.text!r} from its {other.source}" if other is not None else "stays without a caption"
    try:
        text = captioner(sound)
    except InputError:
        raise
    except Exception as error:
        reason = one_line(str(error)) or "no reason given"
        warnings.append(f"The captioner failed on {name} ({type(error).__name__}: {reason}); the clip {keeps}.")
        return other
    if not isinstance(text, str) or not one_line(text):
        what = "an empty text" if isinstance(text, str) else f"no text but {type(text).__name__}"
        warnings.append(f"The captioner returned {what} for {name}; the clip {keeps}.")
        return other
    return Offer(one_line(text), "captioner")


def advice(clips: Sequence[ClipCaption]) -> str:
    """Return a sentence on how clips without a caption get one, "" where there is none to be had."""
    count = sum(not clip.text and clip.offer is not None for clip in clips)
    if not count:
        return ""
    return f"{count} {'clip' if count == 1 else 'clips'} would get a caption by {using('fill', True)}."
