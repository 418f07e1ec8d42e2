"""From a zip or a folder to clips ready for the model, one at a time, with a report of every one."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundlora.dataset import names
from soundlora.dataset.archive import Member, open_archive, pair, read_start, save
from soundlora.dataset.captions import MAX_CAPTION_CHARACTERS, one_line, read_caption, with_trigger
from soundlora.dataset.decode import Audio, decode
from soundlora.dataset.errors import ClipsTooShortError, DatasetError, NoAudioError, UndecodableError, UnusableClipError
from soundlora.dataset.fit import Fitted, fit
from soundlora.dataset.names import MEDIA_EXTENSIONS
from soundlora.dataset.report import MAX_TRAINED_DURATION, MIN_DURATION, ClipReport, DatasetReport
from soundlora.dataset.source import local_source, shown
from soundlora.errors import InputError

ADVISED_CLIPS = 10

# Enough for the longest caption in any encoding; a file may be endless.
_CAPTION_BYTES = 16 * MAX_CAPTION_CHARACTERS
_LEVEL_SPREAD_DB = 12.0
_SHORTEST_BUCKET = 0.1


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip ready for the model. `samples` are float32 (channels, n), n = int(duration * sample_rate).

    `caption` has the trigger phrase before it; `sha256` is of the source file's bytes; `report` is its line of the
    report.
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


def prepare(
    source: str | os.PathLike[str],
    *,
    duration: float,
    on_clip: Callable[[Clip], None],
    trigger_phrase: str = "",
    normalize: bool = True,
    preserve_pitch: bool = True,
) -> DatasetReport:
    """Decode and fit every clip, hand each to `on_clip` in order of name, and return the report.

    `source` is a zip or a folder: a path, the URL of a zip, or a data: URI. `duration` is the bucket in seconds. Raises
    FileDownloadError, FileTooLargeError, InvalidArchiveError or DuplicateNameError when the source cannot be used at
    all, and a DatasetError that carries the report when no clip of it can. A zip that turns out to be damaged in the
    middle raises after clips have been handed over.
    """
    settings = _Settings(duration, trigger_phrase, normalize, preserve_pitch)
    report = _run(source, settings, on_clip)
    if not report.kept:
        raise _nothing_usable(report)
    return report


def inspect_dataset(
    source: str | os.PathLike[str],
    *,
    duration: float = 5.0,
    trigger_phrase: str = "",
    normalize: bool = True,
    preserve_pitch: bool = True,
) -> DatasetReport:
    """Return the report that `prepare` would return or raise with, keeping no sound.

    Raises InvalidArchiveError or DuplicateNameError as `prepare` does. Whether training would be refused is
    `not report.kept`; `refusal` gives the sentence.
    """
    return _run(source, _Settings(duration, trigger_phrase, normalize, preserve_pitch), lambda clip: None)


def refusal(report: DatasetReport) -> DatasetError | None:
    """Return the error that `prepare` raises for a data set with this report, None when it would be trained on."""
    return None if report.kept else _nothing_usable(report)


def _run(source: str | os.PathLike[str], settings: _Settings, on_clip: Callable[[Clip], None]) -> DatasetReport:
    if not settings.duration >= _SHORTEST_BUCKET:
        raise InputError(f"The duration is {settings.duration} s, but it must be at least {_SHORTEST_BUCKET} s.")
    reports: list[ClipReport] = []
    same_sound: dict[bytes, list[str]] = {}
    with (
        local_source(source) as path,
        open_archive(path) as archive,
        tempfile.TemporaryDirectory(prefix="soundlora-") as workspace,
    ):
        pairs, orphans = pair(archive)
        for member, caption in pairs:
            clip, report = _prepare_clip(member, caption, Path(workspace), settings)
            reports.append(report)
            if clip is not None:
                same_sound.setdefault(hashlib.sha256(clip.samples.data).digest(), []).append(clip.name)
                on_clip(clip)
        ignored = archive.ignored
    return DatasetReport(
        source=shown(os.fspath(source)),
        duration=settings.duration,
        clips=reports,
        orphan_captions=[orphan.name for orphan in orphans],
        warnings=_warnings(reports, settings, list(same_sound.values()), ignored),
    )


def _prepare_clip(
    member: Member, caption_member: Member | None, workspace: Path, settings: _Settings
) -> tuple[Clip | None, ClipReport]:
    caption, warnings = _caption(caption_member, settings.trigger_phrase)
    path = member.path
    if path is None:
        # A name of ours. The extension stays, for some formats are told apart by it.
        path = workspace / f"clip{names.suffix(member.name)}"
        sha256 = save(member, path)
    else:
        digest = hashlib.sha256()
        for chunk in member.chunks():
            digest.update(chunk)
        sha256 = digest.hexdigest()

    audio: Audio | None = None
    fitted: Fitted | None = None
    skip: UnusableClipError | None = None
    try:
        audio = decode(path, settings.duration)
        fitted = fit(audio, settings.duration, normalize=settings.normalize, preserve_pitch=settings.preserve_pitch)
    except UnusableClipError as error:
        skip = error
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
        peak_dbfs=fitted.peak_dbfs if fitted else None,
        rms_dbfs=fitted.rms_dbfs if fitted else None,
        warnings=[*warnings, *(fitted.warnings if fitted else ())],
    )
    if fitted is None:
        return None, report
    return Clip(member.name, caption, fitted.samples, fitted.sample_rate, sha256, report), report


def _caption(member: Member | None, trigger: str) -> tuple[str, list[str]]:
    """Return the caption as it will be used, and what is to be said about it."""
    text, warnings = "", []
    if member is not None:
        raw = read_start(member, _CAPTION_BYTES)
        text = read_caption(raw, cut=len(raw) < member.size)
    if not text:
        what = "it has no caption" if member is None else f"its caption {member.name} is empty"
        instead = "the trigger phrase stands alone" if one_line(trigger) else "it is trained with an empty caption"
        warnings.append(f"{what}: {instead}")
    elif len(text) > MAX_CAPTION_CHARACTERS:
        text = text[:MAX_CAPTION_CHARACTERS].rsplit(" ", 1)[0]
        warnings.append(f"its caption is longer than {MAX_CAPTION_CHARACTERS} characters and was cut there")
    return with_trigger(trigger, text), warnings


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
    return warnings


def _warnings(
    clips: list[ClipReport], settings: _Settings, same_sound: list[list[str]], ignored: tuple[str, ...]
) -> list[str]:
    """Return what is to be said about the set as a whole."""
    warnings = []
    kept = [clip for clip in clips if clip.status == "kept"]
    if 0 < len(kept) < ADVISED_CLIPS:
        warnings.append(f"Only {_clips(len(kept))} will be trained on; {ADVISED_CLIPS} or more are advised.")
    if settings.duration > MAX_TRAINED_DURATION:
        warnings.append(
            f"The bucket of {settings.duration:g} s is long: the base was trained on up to {MAX_TRAINED_DURATION:g} s."
        )
    levels = [clip.rms_dbfs for clip in kept if clip.rms_dbfs is not None]
    if not settings.normalize and levels and max(levels) - min(levels) > _LEVEL_SPREAD_DB:
        warnings.append(
            f"The levels of the clips differ by {max(levels) - min(levels):.0f} dB; normalising evens them."
        )
    if len(kept) > 1 and len({clip.caption for clip in kept}) == 1:
        warnings.append("All captions are alike; the model learns to tell sounds apart only where captions differ.")
    for same in same_sound:
        if len(same) > 1:
            warnings.append(f"The same sound is there {len(same)} times: {_list(same)}.")
    if ignored:
        warnings.append(f"Ignored, neither audio nor captions: {_list(list(ignored))}.")
    return warnings


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _list(items: list[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")


def _nothing_usable(report: DatasetReport) -> DatasetError:
    source, clips = Path(report.source).name or report.source, report.clips
    if not clips:
        *most, last = MEDIA_EXTENSIONS
        return NoAudioError(f"{source} holds no audio file; put {', '.join(most)} or {last} files in it.", report)
    first = f"{clips[0].name}: {clips[0].reason}"
    short = [clip for clip in clips if clip.problem == "too_short"]
    if short:
        longest = max(short, key=lambda clip: clip.seconds or 0.0)
        length, suggestion = longest.seconds or 0.0, report.suggested_duration
        mend = (
            f"use --duration {suggestion:g} or longer clips"
            if suggestion is not None
            else f"use clips of at least {MIN_DURATION} s"
        )
        return ClipsTooShortError(
            f"No clip of {source} fills the bucket of {report.duration:g} s, the longest, {longest.name}, is "
            f"{length:.2f} s long; {mend}.",
            report,
            bucket=report.duration,
            longest=length,
        )
    if all(clip.problem == "undecodable" for clip in clips):
        return UndecodableError(
            f"None of the {len(clips)} audio files in {source} can be decoded ({first}); save them as .wav or .flac.",
            report,
        )
    return DatasetError(
        f"None of the {len(clips)} audio files in {source} can be used ({first}); replace them.", report
    )
