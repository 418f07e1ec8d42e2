"""This module turns a zip or a folder into clips that are ready for the model, and reports on every clip."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from soundlora.dataset import names
from soundlora.dataset.archive import Archive, open_archive
from soundlora.dataset.captions import MAX_CAPTION_CHARACTERS, is_unicode, one_line, understand_caption, with_trigger
from soundlora.dataset.decode import Audio, decode
from soundlora.dataset.encodings import encoding_of_texts
from soundlora.dataset.fit import Fitted, fit
from soundlora.dataset.fork import helper
from soundlora.dataset.long_clips import later_clips
from soundlora.dataset.members import Member, hash_of, read_start, save
from soundlora.dataset.partners import Entries, Entry, Partner, Spans, entries, read_spans
from soundlora.dataset.problems import UnusableClipError
from soundlora.dataset.refusal import refusal
from soundlora.dataset.report import ClipReport, DatasetReport, IgnoredFile
from soundlora.dataset.review import review
from soundlora.dataset.source import local_source
from soundlora.dataset.windows import Windows, check_count, check_windows, rest_warning, windows_in
from soundlora.errors import InputError
from soundlora.net.addresses import is_remote, shown
from soundlora.system.whole_files import temporary_folder

# This is enough for the longest caption in any encoding. A file may be endless.
CAPTION_BYTES = 16 * MAX_CAPTION_CHARACTERS
_TELLING_BYTES = 4096
_SHORTEST_BUCKET = 0.1
# Starting a process costs as much as reading one or two clips.
_CLIPS_A_PROCESS = 4


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip ready for the model. `samples` are float32 (channels, n), n = int(duration * sample_rate).

    `caption` starts with the trigger phrase. `sha256` is the hash of the source file's bytes. `report` is the clip's
    line of the report. `spans` are made anew where a mask file stands beside the clip. `reference` is the clip that
    this one is made of, where it is half of a pair. `offset` is where in its file it begins, in seconds.
    """

    name: str
    caption: str
    samples: np.ndarray
    sample_rate: int
    sha256: str
    report: ClipReport
    spans: Spans = ()
    reference: Clip | None = None
    offset: float = 0.0


@dataclass(frozen=True)
class _Settings:
    duration: float
    trigger_phrase: str
    normalize: bool
    preserve_pitch: bool
    validation_prompts: tuple[str, ...]
    partner: Partner
    windows: Windows
    # The encoding of captions that are not Unicode, None until they were looked at.
    encoding: str | None = None


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The outcome of one member. `text` is its caption without the trigger phrase, `sound` a hash of its samples."""

    clip: Clip | None
    report: ClipReport
    text: str
    sound: bytes | None


def prepare(
    source: str | os.PathLike[str],
    *,
    duration: float,
    on_clip: Callable[[Clip], None],
    trigger_phrase: str = "",
    normalize: bool = True,
    preserve_pitch: bool = True,
    validation_prompts: Sequence[str] = (),
    partner: Partner = "",
    windows: Windows = "first",
) -> DatasetReport:
    """Decode and fit every clip, hand each to `on_clip` in order of name, and return the report.

    `source` is a zip or a folder: a path, the URL of a zip, or a data: URI. `duration` is the bucket in seconds.
    `validation_prompts` are only searched for the trigger phrase. `partner` is what every clip needs beside it.
    `windows` makes one clip of a long one, or as many as fit. One clip is held in memory at a time, with its reference
    if it has one.

    Raises InputError when `duration` is below 0.1 s, and for all windows of clips with partners. Raises
    FileDownloadError, FileTooLargeError, InvalidArchiveError, DuplicateNameError or MissingPartnerError when the source
    cannot be used at all, and a DatasetError that carries the report when no clip of it can be used. A zip that is
    damaged in the middle raises after clips have been handed over.
    """
    prompts = tuple(validation_prompts)
    settings = _Settings(duration, trigger_phrase, normalize, preserve_pitch, prompts, partner, windows)
    report = _run(source, settings, on_clip)
    refused = refusal(report)
    if refused is not None:
        raise refused
    return report


def check_source(source: str | os.PathLike[str], partner: Partner = "") -> None:
    """Raise what `prepare` would raise for what a zip's table of contents or a folder's names tell.

    A source that has to be fetched is not looked at, and zips within one stay closed.
    """
    if is_remote(os.fspath(source)):
        return
    with open_archive(Path(source), inner=False) as archive:
        found = entries(archive, partner)
        may_hold_zips = any(names.suffix(name) == ".zip" for name in archive.ignored)
        empty = DatasetReport(
            source=shown(os.fspath(source)),
            duration=0.0,
            clips=[],
            orphan_captions=[orphan.name for orphan in found.orphans],
            ignored=_ignored(found, archive),
            duplicates=[],
        )
    if not found.clips and not may_hold_zips and (refused := refusal(empty)) is not None:
        raise refused


def inspect_dataset(
    source: str | os.PathLike[str],
    *,
    duration: float = 5.0,
    trigger_phrase: str = "",
    normalize: bool = True,
    preserve_pitch: bool = True,
    validation_prompts: Sequence[str] = (),
    processes: int = 1,
    partner: Partner = "",
    windows: Windows = "first",
) -> DatasetReport:
    """Return the report that `prepare` would return or raise with. No sound is kept.

    Up to `processes` processes share the work, and each holds one clip in memory. More than one need `os.fork`, and no
    other thread of the caller may run then.

    Raises InputError, FileDownloadError, FileTooLargeError, InvalidArchiveError, DuplicateNameError or
    MissingPartnerError as `prepare` does. Training would be refused when `report.kept` is empty; `refusal` gives the
    sentence.
    """
    prompts = tuple(validation_prompts)
    settings = _Settings(duration, trigger_phrase, normalize, preserve_pitch, prompts, partner, windows)
    return _run(source, settings, lambda clip: None, processes)


def _run(
    source: str | os.PathLike[str], settings: _Settings, on_clip: Callable[[Clip], None], processes: int = 1
) -> DatasetReport:
    """Prepare all clips and return the report. With several processes only this one's clips are handed to `on_clip`."""
    if not settings.duration >= _SHORTEST_BUCKET:
        raise InputError(f"The duration is {settings.duration} s, but it must be at least {_SHORTEST_BUCKET} s.")
    check_windows(settings.windows, settings.partner)
    reports: list[ClipReport] = []
    texts: dict[str, str] = {}
    same_sound: dict[bytes, list[str]] = {}
    with (
        local_source(source) as path,
        open_archive(path) as archive,
        temporary_folder() as workspace,
        ExitStack() as stack,
    ):
        found = entries(archive, settings.partner)
        captions = (entry.caption for entry in found.clips if entry.caption is not None)
        settings = replace(settings, encoding=_encoding(captions))
        processes = max(1, min(processes, len(found.clips) // _CLIPS_A_PROCESS))
        parts = [
            stack.enter_context(helper(partial(_part, path, workspace, settings, slice(first, None, processes))))
            for first in range(1, processes)
        ]
        for number, entry in enumerate(found.clips):
            part = number % processes
            elsewhere = next(parts[part - 1], None) if part else None
            for prepared in elsewhere or _prepare_windows(entry, workspace / "clip", settings):
                reports.append(prepared.report)
                check_count(len(reports))
                texts[prepared.report.name] = prepared.text
                if prepared.sound is not None:
                    same_sound.setdefault(prepared.sound, []).append(prepared.report.name)
                if prepared.clip is not None:
                    on_clip(prepared.clip)
        ignored = _ignored(found, archive)
        opened = archive.opened
    report = DatasetReport(
        source=shown(os.fspath(source)),
        duration=settings.duration,
        clips=reports,
        orphan_captions=[orphan.name for orphan in found.orphans],
        ignored=ignored,
        duplicates=[names for names in same_sound.values() if len(names) > 1],
        windows=settings.windows,
    )
    warnings = review(
        report,
        texts,
        normalize=settings.normalize,
        trigger_phrase=settings.trigger_phrase,
        validation_prompts=settings.validation_prompts,
    )
    if opened:
        warnings.insert(0, f"The clips lie in archives within it, which were opened: {', '.join(opened[:5])}.")
    return replace(report, warnings=warnings)


def _ignored(found: Entries, archive: Archive) -> list[IgnoredFile]:
    ignored = [IgnoredFile(name, "it is neither audio nor a caption") for name in found.ignored]
    return ignored + [IgnoredFile(name, "it is hidden, or a system's own file") for name in archive.hidden]


def _part(path: Path, workspace: Path, settings: _Settings, which: slice) -> Iterator[list[_Prepared]]:
    """Yield what becomes of the clips `which`, without their sound."""
    # A fork shares the position in an open file with its parent, so the source is opened again.
    with open_archive(path) as archive:
        for entry in entries(archive, settings.partner).clips[which]:
            found = _prepare_windows(entry, workspace / f"clip{which.start}", settings)
            yield [replace(prepared, clip=None) for prepared in found]


def _prepare_windows(entry: Entry, target: Path, settings: _Settings) -> Iterator[_Prepared]:
    """Yield what becomes of a clip, and where all windows are wanted of those that follow its first one."""
    first = _prepare_clip(entry, target, settings)
    seconds = first.report.seconds or 0.0
    if settings.windows == "first" or windows_in(seconds, settings.duration) < 1:
        yield first
        return
    rest = rest_warning(seconds, settings.duration)
    yield replace(first, report=replace(first.report, warnings=first.report.warnings + rest))
    if windows_in(seconds, settings.duration) < 2:
        return
    member = entry.clip
    path = member.path or target.with_suffix(names.suffix(member.name))
    try:
        # The first window took a zip's file away again, and a skipped one keeps no hash.
        sha256 = hash_of(member) if member.path else save(member, path)
        fitting = {"normalize": settings.normalize, "preserve_pitch": settings.preserve_pitch}
        for report, audio, fitted in later_clips(path, first.report, settings.duration, **fitting):
            clip, sound = None, None
            if audio is not None and fitted is not None:
                clip = Clip(report.name, report.caption, fitted.samples, fitted.sample_rate, sha256, report)
                clip, sound = replace(clip, offset=report.offset), _Sound(sha256, audio).fingerprint()
            yield _Prepared(clip, report, first.text, sound)
    finally:
        if member.path is None:
            path.unlink(missing_ok=True)


def _prepare_clip(entry: Entry, target: Path, settings: _Settings) -> _Prepared:
    """Unpack one clip to `target`, a name of ours; decode, fit and measure it, and what stands beside it."""
    text, warnings = _caption(entry.caption, settings)
    caption = with_trigger(settings.trigger_phrase, text)
    member, partner = entry.clip, entry.partner
    spans: Spans = ()
    reference: _Sound | None = None
    skip: UnusableClipError | None = None
    found = _sound(member, target, settings)
    try:
        fitted = found.usable()
        if partner is not None and settings.partner == "spans":
            spans, notes = read_spans(partner, settings.duration)
            warnings += notes
        elif partner is not None:
            reference = _sound(partner, target, settings)
            _check_pair(found, reference, partner)
    except UnusableClipError as error:
        skip = error
    audio = found.audio
    for sound, whose in ((found, ""), (reference, "" if partner is None else f"its start {partner.name}: ")):
        if sound is not None and sound.audio is not None:
            warnings += [whose + loss for loss in _losses(sound.audio)]
            warnings += [whose + warning for warning in (sound.fitted.warnings if sound.fitted else ())]
    lengths = [each.audio.seconds for each in (found, reference) if each is not None and each.audio is not None]
    report = ClipReport(
        name=member.name,
        status="skipped" if skip else "kept",
        caption=caption,
        reason=skip.reason if skip else None,
        problem=skip.problem if skip else None,
        seconds=min(lengths, default=None),
        used_seconds=found.fitted.used_seconds if found.fitted and not skip else None,
        sample_rate=audio.file_rate if audio else None,
        channels=audio.channels if audio else None,
        layout=audio.layout if audio else None,
        codec=audio.codec if audio else None,
        **(vars(found.fitted.levels) if found.fitted else {}),
        partner=partner.name if partner else None,
        spans=[list(span) for span in spans] or None,
        warnings=warnings,
    )
    same = found.fingerprint() if audio is not None and report.problem != "silent" else None
    if skip is not None:
        return _Prepared(None, report, text, same)
    clip = Clip(member.name, caption, fitted.samples, fitted.sample_rate, found.sha256, report, spans)
    if reference is not None and partner is not None:
        start = reference.usable()
        of = Clip(partner.name, caption, start.samples, start.sample_rate, reference.sha256, report)
        clip = replace(clip, reference=of)
    return _Prepared(clip, report, text, same)


@dataclass(frozen=True, eq=False)
class _Sound:
    """A file as it was decoded and fitted, as far as that went, and why it went no further."""

    sha256: str
    audio: Audio | None = None
    fitted: Fitted | None = None
    problem: UnusableClipError | None = None

    def usable(self) -> Fitted:
        """Return the fitted sound, or raise the problem with it."""
        if self.problem is not None:
            raise self.problem
        assert self.fitted is not None
        return self.fitted

    def fingerprint(self) -> bytes:
        """Return a hash that no other recording has, of every seventh sample, which takes a seventh of the time."""
        assert self.audio is not None
        return hashlib.sha256(self.audio.samples[:, ::7].tobytes()).digest()


def _sound(member: Member, target: Path, settings: _Settings) -> _Sound:
    """Unpack a file to `target`, decode and fit it."""
    # The extension stays, because FFmpeg tells some formats apart by it.
    path = member.path or target.with_suffix(names.suffix(member.name))
    found = _Sound("")
    try:
        found = _Sound(hash_of(member) if member.path else save(member, path))
        found = replace(found, audio=decode(path, settings.duration))
        assert found.audio is not None
        fitted = fit(
            found.audio, settings.duration, normalize=settings.normalize, preserve_pitch=settings.preserve_pitch
        )
        return replace(found, fitted=fitted)
    except UnusableClipError as error:
        return replace(found, problem=error)
    finally:
        if member.path is None:
            path.unlink(missing_ok=True)


def _check_pair(found: _Sound, reference: _Sound, partner: Member) -> None:
    """Raise UnusableClipError when the start of a pair can't be used, or is the end itself."""
    try:
        reference.usable()
    except UnusableClipError as error:
        raise UnusableClipError(f"its start {partner.name} can't be used: {error.reason}", error.problem) from None
    if found.fingerprint() == reference.fingerprint():
        raise UnusableClipError(f"its start {partner.name} is the same sound, so there is nothing to learn", "same")


def _encoding(captions: Iterable[Member]) -> str | None:
    """Return the encoding of the captions that are not Unicode, None where all are. Most are short, so few tell it."""
    raws = []
    for member in captions:
        raw = read_start(member, CAPTION_BYTES)
        if not is_unicode(raw, cut=len(raw) < member.size):
            raws.append(raw[:_TELLING_BYTES])
    return encoding_of_texts(raws) if raws else None


def _caption(member: Member | None, settings: _Settings) -> tuple[str, list[str]]:
    """Return the caption without the trigger phrase, and warnings about it."""
    text, warnings = "", []
    if member is not None:
        raw = read_start(member, CAPTION_BYTES)
        text, notes = understand_caption(raw, cut=len(raw) < member.size, encoding=settings.encoding)
        warnings = [f"its caption {member.name} {note}" for note in notes]
    if not text and not warnings:
        what = "it has no caption" if member is None else f"its caption {member.name} is empty"
        instead = (
            "the trigger phrase stands alone"
            if one_line(settings.trigger_phrase)
            else "it is trained with an empty caption"
        )
        warnings.append(f"{what}: {instead}")
    elif len(text) > MAX_CAPTION_CHARACTERS:
        text = text[:MAX_CAPTION_CHARACTERS].rsplit(" ", 1)[0]
        warnings.append(f"its caption is longer than {MAX_CAPTION_CHARACTERS} characters and was cut there")
    return text, warnings


def _losses(audio: Audio) -> list[str]:
    warnings = []
    if audio.truncated and audio.claimed_seconds is not None:
        warnings.append(
            f"it is cut off or damaged: {audio.seconds:.2f} s are there of the {audio.claimed_seconds:.2f} s it claims"
        )
    elif audio.truncated:
        warnings.append(f"its end is missing: {audio.seconds:.2f} s are there, how much is lost nothing says")
    if audio.damaged_packets:
        count = audio.damaged_packets
        warnings.append(f"{count} damaged {'piece' if count == 1 else 'pieces'} of it could not be decoded")
    return [*warnings, *audio.notes]
