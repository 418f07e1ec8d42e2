"""This module turns a zip or a folder into clips that are ready for the model, and reports on every clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from soundlora.dataset import names
from soundlora.dataset.archive import Archive, open_archive
from soundlora.dataset.caption_source import CaptionRule, CaptionsFrom, Offer, offers_note
from soundlora.dataset.fit import Short
from soundlora.dataset.fork import helper
from soundlora.dataset.long_clips import later_clips
from soundlora.dataset.members import Member, hash_of, on_disk
from soundlora.dataset.partners import Entries, Entry, Partner, Spans, read_spans
from soundlora.dataset.problems import UnusableClipError
from soundlora.dataset.refusal import refusal
from soundlora.dataset.report import ClipReport, DatasetReport, IgnoredFile
from soundlora.dataset.review import review
from soundlora.dataset.sidecars import entries
from soundlora.dataset.sound import Sound, Ways, check_pair, fingerprint, losses, read
from soundlora.dataset.source import local_source
from soundlora.dataset.windows import (
    Windows,
    check_count,
    check_windows,
    is_window,
    rest_warning,
    windows_in,
    without_window,
)
from soundlora.errors import InputError
from soundlora.net.addresses import is_remote, shown
from soundlora.system.whole_files import temporary_folder
from soundlora.wording import setting

_SHORTEST_BUCKET = 0.1
# Starting a process costs as much as reading one or two clips.
_CLIPS_A_PROCESS = 4


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip ready for the model. `samples` are float32 (channels, n), n = int(bucket * sample_rate).

    `bucket` is in seconds, of which the sound fills `used_seconds`; silence follows. `caption` starts with the trigger
    phrase. `sha256` is the hash of the source file's bytes. `report` is the clip's line of the report. `spans` are made
    anew where a mask file stands beside the clip. `reference` is the clip that this one is made of, where it is half of
    a pair. `offset` is where in its file it begins, in seconds.
    """

    name: str
    caption: str
    samples: np.ndarray
    sample_rate: int
    sha256: str
    report: ClipReport
    bucket: float
    used_seconds: float
    spans: Spans = ()
    reference: Clip | None = None
    offset: float = 0.0


@dataclass(frozen=True)
class _Settings:
    ways: Ways
    validation_prompts: tuple[str, ...]
    partner: Partner
    rule: CaptionRule
    windows: Windows
    only: Collection[str] | None = None


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The outcome of one member. `text` is its caption without the trigger phrase, `sound` a hash of its samples.

    `offer` is what it would take as a caption where it has none, and `tags` are its file's own.
    """

    clip: Clip | None
    report: ClipReport
    text: str
    sound: bytes | None
    offer: Offer | None
    tags: Mapping[str, str]


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
    shorter_durations: Sequence[float] = (),
    short: Short = "skip",
    captions_from: CaptionsFrom = "files",
    caption_template: str = "",
    windows: Windows = "first",
    only: Collection[str] | None = None,
) -> DatasetReport:
    """Decode and fit every clip, hand each to `on_clip` in order of name, and return the report.

    `source` is a zip or a folder: a path, the URL of a zip, or a data: URI. `duration` is the bucket in seconds. With
    `shorter_durations` beside it, each clip goes into the longest bucket that it fills. `short` says whether a clip
    that fills none is skipped, or padded with silence. `windows` makes one clip of a long one, or as many as fit.
    `validation_prompts` are only searched for the trigger phrase. `partner` is what every clip needs beside it.
    `captions_from` "all" takes what a clip carries where no file has its caption, and `caption_template` puts captions
    together. With `only`, no file is decoded but those of the clips of these names, and the report is of them. One clip
    is held in memory at a time, with its reference if it has one.

    Raises InputError when `duration` is below 0.1 s, when the template has an unknown field, and for all windows of
    clips with partners. Raises FileDownloadError, FileTooLargeError, InvalidArchiveError, DuplicateNameError or
    MissingPartnerError when the source cannot be used at all, and a DatasetError that carries the report when no clip
    of it can be used. A zip that is damaged in the middle raises after clips have been handed over.
    """
    rule = CaptionRule(trigger_phrase, captions_from, caption_template)
    ways = Ways((duration, *shorter_durations), short == "pad", normalize, preserve_pitch)
    settings = _Settings(ways, tuple(validation_prompts), partner, rule, windows, only)
    report = _run(source, settings, on_clip)
    refused = refusal(report)
    if refused is not None:
        raise refused
    return report


def check_source(source: str | os.PathLike[str], partner: Partner = "", caption_template: str = "") -> None:
    """Raise what `prepare` would raise for what a zip's table of contents or a folder's names tell.

    Fields of the template are looked for in the tables of captions. A source that has to be fetched is not looked at,
    and zips within one stay closed.
    """
    if is_remote(os.fspath(source)):
        return
    with open_archive(Path(source), inner=False) as archive:
        found = entries(archive, partner)
        if caption_template and found.clips:
            CaptionRule(template=caption_template).of(found, archive)
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
    shorter_durations: Sequence[float] = (),
    short: Short = "skip",
    captions_from: CaptionsFrom = "files",
    caption_template: str = "",
    windows: Windows = "first",
) -> DatasetReport:
    """Return the report that `prepare` would return or raise with. No sound is kept.

    Up to `processes` processes share the work, and each holds one clip in memory. More than one need `os.fork`, and no
    other thread of the caller may run then.

    Raises InputError, FileDownloadError, FileTooLargeError, InvalidArchiveError, DuplicateNameError or
    MissingPartnerError as `prepare` does. Training would be refused when `report.kept` is empty; `refusal` gives the
    sentence.
    """
    check_buckets(duration, shorter_durations)
    rule = CaptionRule(trigger_phrase, captions_from, caption_template)
    ways = Ways((duration, *shorter_durations), short == "pad", normalize, preserve_pitch)
    settings = _Settings(ways, tuple(validation_prompts), partner, rule, windows)
    return _run(source, settings, lambda clip: None, processes)


def check_buckets(duration: float, shorter_durations: Sequence[float]) -> None:
    """Raise InputError when one of the shorter buckets is none."""
    for shorter in shorter_durations:
        if shorter >= duration:
            raise InputError(
                f"{setting('shorter_durations')} has {shorter:g} s, which is not less than {setting('duration')}, "
                f"{duration:g} s.",
                field="shorter_durations",
            )


def _run(
    source: str | os.PathLike[str], settings: _Settings, on_clip: Callable[[Clip], None], processes: int = 1
) -> DatasetReport:
    """Prepare all clips and return the report. With several processes only this one's clips are handed to `on_clip`."""
    for duration in settings.ways.durations:
        if not duration >= _SHORTEST_BUCKET:
            raise InputError(
                f"The duration is {duration} s, but it must be at least {_SHORTEST_BUCKET} s.", field="duration"
            )
    settings.rule.check()
    check_windows(settings.windows, settings.partner)
    reports: list[ClipReport] = []
    offers: list[tuple[str, Offer]] = []
    texts: dict[str, str] = {}
    same_sound: dict[bytes, list[str]] = {}
    with (
        local_source(source) as path,
        open_archive(path) as archive,
        temporary_folder() as workspace,
        ExitStack() as stack,
    ):
        found = entries(archive, settings.partner)
        settings = replace(settings, rule=settings.rule.of(found, archive))
        processes = max(1, min(processes, len(found.clips) // _CLIPS_A_PROCESS))
        parts = [
            stack.enter_context(helper(partial(_part, path, workspace, settings, slice(first, None, processes))))
            for first in range(1, processes)
        ]
        for number, entry in enumerate(found.clips):
            if settings.only is not None and not any(is_window(each, entry.clip.name) for each in settings.only):
                continue
            part = number % processes
            elsewhere = next(parts[part - 1], None) if part else None
            for prepared in elsewhere or _prepare_windows(entry, workspace / "clip", settings):
                reports.append(prepared.report)
                check_count(len(reports))
                texts[prepared.report.name] = prepared.text
                if prepared.offer is not None and prepared.report.status == "kept":
                    offers.append((prepared.report.name, prepared.offer))
                if prepared.sound is not None:
                    same_sound.setdefault(prepared.sound, []).append(prepared.report.name)
                if prepared.clip is not None:
                    on_clip(prepared.clip)
        ignored = _ignored(found, archive)
        opened = archive.opened
        spoken = {clip.caption_source for clip in reports}
        unspoken = [] if settings.only else [each.name for each in _later_captions(found) if each.name not in spoken]
    report = DatasetReport(
        source=shown(os.fspath(source)),
        duration=max(settings.ways.durations),
        clips=reports,
        orphan_captions=[orphan.name for orphan in found.orphans],
        ignored=ignored,
        duplicates=[names for names in same_sound.values() if len(names) > 1],
        windows=settings.windows,
    )
    warnings = review(
        report,
        texts,
        normalize=settings.ways.normalize,
        trigger_phrase=settings.rule.trigger_phrase,
        validation_prompts=settings.validation_prompts,
    )
    warnings += [*settings.rule.tables.warnings, *without_window(unspoken, settings.windows), *offers_note(offers)]
    if opened:
        warnings.insert(0, f"The clips lie in archives within it, which were opened: {', '.join(opened[:5])}.")
    return replace(report, warnings=warnings)


def _later_captions(found: Entries) -> list[Member]:
    return [caption for entry in found.clips for _, caption in entry.later]


def _ignored(found: Entries, archive: Archive) -> list[IgnoredFile]:
    ignored = [IgnoredFile(name, "it is neither audio nor a caption") for name in found.ignored]
    ignored += [IgnoredFile(name, "it is a link; put the file itself in its place") for name in archive.links]
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
    # A clip that begins in silence was brought to no bucket.
    bucket = max((each for each in settings.ways.durations if windows_in(seconds, each)), default=None)
    if settings.windows == "first" or bucket is None:
        yield first
        return
    rest = rest_warning(seconds, bucket)
    yield replace(first, report=replace(first.report, warnings=first.report.warnings + rest))
    if windows_in(seconds, bucket) < 2:
        return
    # The first window took a zip's file away again, and a skipped one keeps no hash.
    with on_disk(entry.clip, target) as (path, unpacked):
        sha256 = unpacked or hash_of(entry.clip)
        for report, audio, fitted in later_clips(path, first.report, replace(settings.ways, durations=(bucket,))):
            clip, sound, text, offer = None, None, first.text, first.offer
            if (said := settings.rule.later(entry, report.offset, first.tags)) is not None:
                text, offer, warnings = said.text, said.offer, [*report.warnings, *said.warnings]
                report = replace(report, caption=said.caption, caption_source=said.source, warnings=warnings)
            if audio is not None and fitted is not None:
                held = bucket, fitted.used_seconds
                clip = Clip(report.name, report.caption, fitted.samples, fitted.sample_rate, sha256, report, *held)
                clip, sound = replace(clip, offset=report.offset), fingerprint(audio)
            yield _Prepared(clip, report, text, sound, offer, first.tags)


def _prepare_clip(entry: Entry, target: Path, settings: _Settings) -> _Prepared:
    """Unpack one clip to `target`, a name of ours; decode, fit and measure it, and what stands beside it."""
    member, partner = entry.clip, entry.partner
    spans: Spans = ()
    reference: Sound | None = None
    skip: UnusableClipError | None = None
    found = read(member, target, settings.ways, settings.rule if settings.rule.wants_tags(entry) else None)
    said = settings.rule.said_of(entry, found.tags)
    warnings = said.warnings
    try:
        fitted = found.usable()
        if partner is not None and settings.partner == "spans":
            spans, notes = read_spans(partner, found.bucket)
            warnings += notes
        elif partner is not None:
            reference = read(partner, target, replace(settings.ways, durations=(found.bucket,)))
            check_pair(found, reference, partner)
    except UnusableClipError as error:
        skip = error
    audio = found.audio
    for sound, whose in ((found, ""), (reference, "" if partner is None else f"its start {partner.name}: ")):
        if sound is not None and sound.audio is not None:
            warnings += [whose + loss for loss in losses(sound.audio)]
            warnings += [whose + warning for warning in (sound.fitted.warnings if sound.fitted else ())]
    lengths = [each.audio.seconds for each in (found, reference) if each is not None and each.audio is not None]
    report = ClipReport(
        name=member.name,
        status="skipped" if skip else "kept",
        caption=said.caption,
        caption_source=said.source,
        reason=skip.reason if skip else None,
        problem=skip.problem if skip else None,
        seconds=min(lengths, default=None),
        used_seconds=found.fitted.used_seconds if found.fitted and not skip else None,
        bucket=found.bucket if not skip else None,
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
        return _Prepared(None, report, said.text, same, said.offer, found.tags)
    held = found.bucket, fitted.used_seconds
    clip = Clip(member.name, said.caption, fitted.samples, fitted.sample_rate, found.sha256, report, *held, spans)
    if reference is not None and partner is not None:
        start = reference.usable()
        of = Clip(partner.name, said.caption, start.samples, start.sample_rate, reference.sha256, report, *held)
        clip = replace(clip, reference=of)
    return _Prepared(clip, report, said.text, same, said.offer, found.tags)
