"""This module turns a zip or a folder into clips that are ready for the model, and reports on every clip."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from soundlora.dataset import names
from soundlora.dataset.archive import Archive, open_archive, pair
from soundlora.dataset.captions import MAX_CAPTION_CHARACTERS, is_unicode, one_line, understand_caption, with_trigger
from soundlora.dataset.decode import Audio, decode
from soundlora.dataset.encodings import encoding_of_texts
from soundlora.dataset.fit import Fitted, fit
from soundlora.dataset.fork import helper
from soundlora.dataset.members import Member, hash_of, read_start, save
from soundlora.dataset.problems import UnusableClipError
from soundlora.dataset.refusal import refusal
from soundlora.dataset.report import ClipReport, DatasetReport, IgnoredFile
from soundlora.dataset.review import review
from soundlora.dataset.source import local_source
from soundlora.errors import InputError
from soundlora.net.addresses import is_remote, shown
from soundlora.system.whole_files import temporary_folder

# This is enough for the longest caption in any encoding. A file may be endless.
_CAPTION_BYTES = 16 * MAX_CAPTION_CHARACTERS
_TELLING_BYTES = 4096
_SHORTEST_BUCKET = 0.1
# Starting a process costs as much as reading one or two clips.
_CLIPS_A_PROCESS = 4


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip ready for the model. `samples` are float32 (channels, n), n = int(duration * sample_rate).

    `caption` starts with the trigger phrase. `sha256` is the hash of the source file's bytes. `report` is the clip's
    line of the report.
    """

    name: str
    caption: str
    samples: np.ndarray
    sample_rate: int
    sha256: str
    report: ClipReport


@dataclass(frozen=True)
class _Settings:
    duration: float
    trigger_phrase: str
    normalize: bool
    preserve_pitch: bool
    validation_prompts: tuple[str, ...]
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
) -> DatasetReport:
    """Decode and fit every clip, hand each to `on_clip` in order of name, and return the report.

    `source` is a zip or a folder: a path, the URL of a zip, or a data: URI. `duration` is the bucket in seconds.
    `validation_prompts` are only searched for the trigger phrase. One clip is held in memory at a time.

    Raises InputError when `duration` is below 0.1 s. Raises FileDownloadError, FileTooLargeError, InvalidArchiveError
    or DuplicateNameError when the source cannot be used at all, and a DatasetError that carries the report when no clip
    of it can be used. A zip that is damaged in the middle raises after clips have been handed over.
    """
    settings = _Settings(duration, trigger_phrase, normalize, preserve_pitch, tuple(validation_prompts))
    report = _run(source, settings, on_clip)
    refused = refusal(report)
    if refused is not None:
        raise refused
    return report


def check_source(source: str | os.PathLike[str]) -> None:
    """Raise what `prepare` would raise for what a zip's table of contents or a folder's names tell.

    A source that has to be fetched is not looked at.
    """
    if is_remote(os.fspath(source)):
        return
    with open_archive(Path(source)) as archive:
        clips, orphans = pair(archive)
        empty = DatasetReport(
            source=shown(os.fspath(source)),
            duration=0.0,
            clips=[],
            orphan_captions=[orphan.name for orphan in orphans],
            ignored=_ignored(archive),
            duplicates=[],
        )
    if not clips and (refused := refusal(empty)) is not None:
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
) -> DatasetReport:
    """Return the report that `prepare` would return or raise with. No sound is kept.

    Up to `processes` processes share the work, and each holds one clip in memory. More than one need `os.fork`, and no
    other thread of the caller may run then.

    Raises InputError, FileDownloadError, FileTooLargeError, InvalidArchiveError or DuplicateNameError as `prepare`
    does. Training would be refused when `report.kept` is empty; `refusal` gives the sentence.
    """
    settings = _Settings(duration, trigger_phrase, normalize, preserve_pitch, tuple(validation_prompts))
    return _run(source, settings, lambda clip: None, processes)


def _run(
    source: str | os.PathLike[str], settings: _Settings, on_clip: Callable[[Clip], None], processes: int = 1
) -> DatasetReport:
    """Prepare all clips and return the report. With several processes only this one's clips are handed to `on_clip`."""
    if not settings.duration >= _SHORTEST_BUCKET:
        raise InputError(f"The duration is {settings.duration} s, but it must be at least {_SHORTEST_BUCKET} s.")
    reports: list[ClipReport] = []
    texts: dict[str, str] = {}
    same_sound: dict[bytes, list[str]] = {}
    with (
        local_source(source) as path,
        open_archive(path) as archive,
        temporary_folder() as workspace,
        ExitStack() as stack,
    ):
        pairs, orphans = pair(archive)
        settings = replace(settings, encoding=_encoding(caption for _, caption in pairs if caption is not None))
        processes = max(1, min(processes, len(pairs) // _CLIPS_A_PROCESS))
        parts = [
            stack.enter_context(helper(partial(_part, path, workspace, settings, slice(first, None, processes))))
            for first in range(1, processes)
        ]
        for number, (member, caption) in enumerate(pairs):
            part = number % processes
            prepared = next(parts[part - 1], None) if part else None
            if prepared is None:
                prepared = _prepare_clip(member, caption, workspace / "clip", settings)
            reports.append(prepared.report)
            texts[prepared.report.name] = prepared.text
            if prepared.sound is not None:
                same_sound.setdefault(prepared.sound, []).append(prepared.report.name)
            if prepared.clip is not None:
                on_clip(prepared.clip)
        ignored = _ignored(archive)
        opened = archive.opened
    report = DatasetReport(
        source=shown(os.fspath(source)),
        duration=settings.duration,
        clips=reports,
        orphan_captions=[orphan.name for orphan in orphans],
        ignored=ignored,
        duplicates=[names for names in same_sound.values() if len(names) > 1],
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


def _ignored(archive: Archive) -> list[IgnoredFile]:
    ignored = [IgnoredFile(name, "it is neither audio nor a caption") for name in archive.ignored]
    return ignored + [IgnoredFile(name, "it is hidden, or a system's own file") for name in archive.hidden]


def _part(path: Path, workspace: Path, settings: _Settings, which: slice) -> Iterator[_Prepared]:
    """Yield what becomes of the clips `which`, without their sound."""
    # A fork shares the position in an open file with its parent, so the source is opened again.
    with open_archive(path) as archive:
        for member, caption in pair(archive)[0][which]:
            prepared = _prepare_clip(member, caption, workspace / f"clip{which.start}", settings)
            yield replace(prepared, clip=None)


def _prepare_clip(member: Member, caption_member: Member | None, target: Path, settings: _Settings) -> _Prepared:
    """Unpack one clip to `target`, a name of ours; decode, fit and measure it."""
    text, warnings = _caption(caption_member, settings)
    caption = with_trigger(settings.trigger_phrase, text)
    # The extension stays, because FFmpeg tells some formats apart by it.
    path = member.path or target.with_suffix(names.suffix(member.name))
    audio: Audio | None = None
    fitted: Fitted | None = None
    skip: UnusableClipError | None = None
    try:
        sha256 = hash_of(member) if member.path else save(member, path)
        audio = decode(path, settings.duration)
        fitted = fit(audio, settings.duration, normalize=settings.normalize, preserve_pitch=settings.preserve_pitch)
    except UnusableClipError as error:
        skip = error
    finally:
        if member.path is None:
            path.unlink(missing_ok=True)
    if audio is not None:
        warnings += _losses(audio)
    report = ClipReport(
        name=member.name,
        status="skipped" if skip else "kept",
        caption=caption,
        reason=skip.reason if skip else None,
        problem=skip.problem if skip else None,
        seconds=audio.seconds if audio else None,
        used_seconds=fitted.used_seconds if fitted else None,
        sample_rate=audio.file_rate if audio else None,
        channels=audio.channels if audio else None,
        layout=audio.layout if audio else None,
        codec=audio.codec if audio else None,
        **(vars(fitted.levels) if fitted else {}),
        warnings=[*warnings, *(fitted.warnings if fitted else ())],
    )
    sound = None
    if audio is not None and report.problem != "silent":
        # No two recordings share every seventh sample, and hashing these takes a seventh of the time.
        sound = hashlib.sha256(audio.samples[:, ::7].tobytes()).digest()
    if fitted is None:
        return _Prepared(None, report, text, sound)
    clip = Clip(member.name, caption, fitted.samples, fitted.sample_rate, sha256, report)
    return _Prepared(clip, report, text, sound)


def _encoding(captions: Iterable[Member]) -> str | None:
    """Return the encoding of the captions that are not Unicode, None where all are. Most are short, so few tell it."""
    raws = []
    for member in captions:
        raw = read_start(member, _CAPTION_BYTES)
        if not is_unicode(raw, cut=len(raw) < member.size):
            raws.append(raw[:_TELLING_BYTES])
    return encoding_of_texts(raws) if raws else None


def _caption(member: Member | None, settings: _Settings) -> tuple[str, list[str]]:
    """Return the caption without the trigger phrase, and warnings about it."""
    text, warnings = "", []
    if member is not None:
        raw = read_start(member, _CAPTION_BYTES)
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
