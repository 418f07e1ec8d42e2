"""The plan of a set that is cut from recordings, as `prepared.json` keeps it: edited by hand, it can be done again."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from soundlora.dataset import names
from soundlora.errors import InputError
from soundlora.system.file_names import portable_name

PLAN_NAME = "prepared.json"
FORMATS = ("wav", "flac")
"""What clips are written as. Both keep every sample."""

Keeps = Literal["16 bits", "24 bits", "32 bits", "float", "double"]
"""The samples of a recording and of its clips."""

_VERSION = 1
_MOST_BYTES = 256 * 1024**2
_LONGEST_STEM, _MOST_STEM_BYTES = 100, 200
_LONGEST_NAME = 240
"""The bytes of a clip's name, with which that of its half is a file's name on the usual file systems."""
_MOST_SECONDS, _MOST_SAMPLES = 1e9, 2**53


@dataclass(frozen=True)
class PlannedPiece:
    """The samples from `start` to before `end` of a recording. `clip` is its file's name, or `left_out` says why none.

    `why` says more of it: where a clip begins and ends, or the measure by which a piece is left out.
    """

    start: int
    end: int
    clip: str = ""
    left_out: str = ""
    why: str = ""
    caption: str | None = None


@dataclass(frozen=True)
class PlannedRecording:
    """A recording and its pieces in order. One that can't be read has a `problem` and no pieces.

    `source` is its name within the data. `samples` counts those of a channel, `sample_rate` is in Hz. `caption` is that
    of its clips, None where it has none. `notes` are clauses on what else is to be known.
    """

    source: str
    sample_rate: int = 0
    channels: int = 0
    samples: int = 0
    keeps: Keeps = "16 bits"
    caption: str | None = None
    problem: str = ""
    pieces: tuple[PlannedPiece, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    @property
    def clips(self) -> list[PlannedPiece]:
        return [piece for piece in self.pieces if not piece.left_out]

    def left_out(self) -> Counter[str]:
        """Return the samples that are left out by their reason."""
        found: Counter[str] = Counter()
        for piece in self.pieces:
            if piece.left_out:
                found[piece.left_out] += piece.end - piece.start
        return found


@dataclass(frozen=True)
class Plan:
    """What becomes of every recording. `fade` is in seconds, `settings` are those that the cuts were found with."""

    settings: Mapping[str, Any]
    fade: float
    recordings: tuple[PlannedRecording, ...]

    @property
    def clips(self) -> int:
        return sum(len(recording.clips) for recording in self.recordings)

    @property
    def seconds(self) -> float:
        """The length of all clips in seconds."""
        return sum(
            (piece.end - piece.start) / recording.sample_rate
            for recording in self.recordings
            for piece in recording.clips
        )

    @property
    def source_seconds(self) -> float:
        """The length of all recordings that can be read, in seconds."""
        return sum(recording.seconds for recording in self.recordings)

    def left_out(self) -> dict[str, float]:
        """Return the seconds that are left out by their reason, the most first."""
        found: defaultdict[str, float] = defaultdict(float)
        for recording in self.recordings:
            for why, samples in recording.left_out().items():
                found[why] += samples / recording.sample_rate
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def to_json(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "settings": dict(self.settings),
            "fade": self.fade,
            "recordings": [_recording_to_json(recording) for recording in self.recordings],
        }

    def to_text(self) -> str:
        """Return the plan as JSON with a line a piece, for an editor."""
        value = self.to_json()
        # Numbers stand for the pieces until the rest is laid out.
        lines: list[str] = []
        for recording in value["recordings"]:
            found = [json.dumps(piece, ensure_ascii=False) for piece in recording["pieces"]]
            recording["pieces"] = [f"@{len(lines) + number}" for number in range(len(found))]
            lines += found
        text = json.dumps(value, indent=2, ensure_ascii=False)
        laid_out = []
        for line in text.split("\n"):
            bare = line.strip().rstrip(",")
            is_place = bare.startswith('"@') and bare[2:-1].isdigit()
            laid_out.append(line.replace(bare, lines[int(bare[2:-1])]) if is_place else line)
        return "\n".join(laid_out) + "\n"


def read_plan(path: Path) -> Plan:
    """Read a plan that `to_text` wrote, or that was edited since. Raises InputError with the place of what is wrong."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is larger than any plan; name a prepared.json.", field="plan")
        # Some editors begin UTF-8 with a mark of it.
        value = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_no_number)
    except OSError as error:
        raise InputError(f"The plan {path} can't be read ({error.strerror}).", field="plan") from None
    except UnicodeDecodeError:
        raise InputError(f"The plan {path} is not UTF-8; save it as that.", field="plan") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"The plan {path} is not JSON: {error}.", field="plan") from None
    try:
        json.dumps(value, ensure_ascii=False).encode()
        return _plan_of(value)
    except UnicodeEncodeError:
        raise InputError(f"{path} has half a character in it, such as \\ud800; take it out.", field="plan") from None
    except _WrongPlanError as wrong:
        raise InputError(f"{path}: {wrong}.", field="plan") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


class _WrongPlanError(Exception):
    """A clause about what is wrong with a plan, and where."""


def _plan_of(value: Any) -> Plan:
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        raise _WrongPlanError(f'it is no plan of version {_VERSION}; write one with "soundlora prepare"')
    fade = _number(value, "fade", "the plan")
    recordings = value.get("recordings")
    if not isinstance(recordings, list) or not recordings:
        raise _WrongPlanError('its "recordings" must be a list of recordings')
    plan = Plan(
        value["settings"] if isinstance(value.get("settings"), dict) else {},
        fade,
        tuple(_recording_of(each, number) for number, each in enumerate(recordings, 1)),
    )
    seen: set[str] = set()
    for recording in plan.recordings:
        if (key := recording.source) in seen:
            raise _WrongPlanError(f"{recording.source} stands in it twice; put its pieces together")
        seen.add(key)
    plan = named(plan, str(plan.settings.get("format", "wav")))
    taken: set[str] = set()
    for recording in plan.recordings:
        for piece in recording.clips:
            if (key := names.base_name(piece.clip)) in taken:
                raise _WrongPlanError(f"two clips are named {piece.clip}; rename one of them")
            taken.add(key)
    return plan


def _recording_of(value: Any, number: int) -> PlannedRecording:
    if not isinstance(value, dict) or not isinstance(value.get("source"), str) or not value["source"]:
        raise _WrongPlanError(f'recording {number} must have a "source", the name of a file in the data')
    source = value["source"]
    problem = value.get("problem") or ""
    if problem:
        return PlannedRecording(source, problem=str(problem))
    rate, channels, samples = (_whole(value, key, source) for key in ("sample_rate", "channels", "samples"))
    keeps = value.get("keeps")
    if keeps not in ("16 bits", "24 bits", "32 bits", "float", "double"):
        raise _WrongPlanError(
            f'{source}: its "keeps" is {keeps!r}, but it must be 16 bits, 24 bits, 32 bits, float or double'
        )
    pieces = value.get("pieces")
    if not isinstance(pieces, list):
        raise _WrongPlanError(f'{source}: its "pieces" must be a list')
    read = sorted(
        (_piece_of(piece, rate, samples, f"{source}, piece {place}") for place, piece in enumerate(pieces, 1)),
        key=lambda piece: (piece.start, piece.end),
    )
    return PlannedRecording(
        source, rate, channels, samples, keeps, _text(value, "caption", source), "", _without_gaps(read, samples)
    )


def _piece_of(value: Any, rate: int, samples: int, where: str) -> PlannedPiece:
    if not isinstance(value, dict):
        raise _WrongPlanError(f'{where} must be an object with "offset" and "length" in seconds')
    start = round(_number(value, "offset", where) * rate)
    end = start + round(_number(value, "length", where) * rate)
    if end <= start:
        raise _WrongPlanError(f"{where} has no length; give it one or take it out")
    # The last digits of seconds are rounded.
    if end > samples + 1:
        raise _WrongPlanError(f"{where} ends at {end / rate:.3f} s, but the recording has {samples / rate:.3f} s")
    clip, left_out = _text(value, "clip", where) or "", _text(value, "left_out", where) or ""
    if clip and left_out:
        raise _WrongPlanError(f'{where} has a "clip" and is "left_out"; take one of them out')
    is_odd = portable_name(clip) != clip or clip.startswith(".") or len(clip.encode()) > _LONGEST_NAME
    if clip and (is_odd or names.suffix(clip)[1:] not in FORMATS):
        raise _WrongPlanError(f"{where}: {clip!r} is no name for a clip; write one such as rain_001.wav")
    return PlannedPiece(
        start, min(end, samples), clip, left_out, _text(value, "why", where) or "", _text(value, "caption", where)
    )


def _without_gaps(pieces: Sequence[PlannedPiece], samples: int) -> tuple[PlannedPiece, ...]:
    """Return the pieces with what no piece names between them, which is left out by hand."""
    filled: list[PlannedPiece] = []
    reached = 0
    for piece in pieces:
        if piece.start > reached:
            filled.append(PlannedPiece(reached, piece.start, left_out="by hand", why="no piece of the plan names it"))
        filled.append(piece)
        reached = max(reached, piece.end)
    if reached < samples:
        filled.append(PlannedPiece(reached, samples, left_out="by hand", why="no piece of the plan names it"))
    return tuple(filled)


def named(plan: Plan, format: str) -> Plan:
    """Return the plan with a name for every clip that has none: the recording's, with a number where there are more.

    A recording whose samples FLAC can't hold gets clips in WAV.
    """
    taken = {names.base_name(piece.clip) for each in plan.recordings for piece in each.clips if piece.clip}
    recordings = []
    for recording in plan.recordings:
        stem = _shortened(portable_name(Path(recording.source).stem).lstrip(".")) or "recording"
        suffix = format if recording.keeps in ("16 bits", "24 bits") else "wav"
        clips = recording.clips
        alone = len(clips) == 1 and (clips[0].start, clips[0].end) == (0, recording.samples)
        number, pieces = 0, []
        for piece in recording.pieces:
            if not piece.left_out:
                number += 1
                if not piece.clip:
                    piece = replace(piece, clip=f"{_free(stem, 0 if alone else number, taken)}.{suffix}")
            pieces.append(piece)
        recordings.append(replace(recording, pieces=tuple(pieces)))
    return replace(plan, recordings=tuple(recordings))


def _shortened(stem: str) -> str:
    """Return the start of a name that leaves room for a number and an ending. A file system counts bytes."""
    return stem[:_LONGEST_STEM].encode()[:_MOST_STEM_BYTES].decode("utf-8", "ignore")


def _free(stem: str, number: int, taken: set[str]) -> str:
    """Return a name that no other clip has, whatever the capitals."""
    ending, tries = f"_{number:03d}" if number else "", 1
    name = stem + ending
    while names.base_name(f"{name}.wav") in taken:
        tries += 1
        name = f"{stem}-{tries}{ending}"
    taken.add(names.base_name(f"{name}.wav"))
    return name


def _recording_to_json(recording: PlannedRecording) -> dict[str, Any]:
    if recording.problem:
        return {"source": recording.source, "problem": recording.problem, "pieces": []}
    return {
        "source": recording.source,
        "seconds": round(recording.seconds, 3),
        "sample_rate": recording.sample_rate,
        "channels": recording.channels,
        "samples": recording.samples,
        "keeps": recording.keeps,
        "caption": recording.caption,
        "pieces": [_piece_to_json(piece, recording.sample_rate) for piece in recording.pieces],
    }


def _piece_to_json(piece: PlannedPiece, rate: int) -> dict[str, Any]:
    # A millionth of a second is a fifth of a sample at the highest rate.
    value: dict[str, Any] = {
        "offset": round(piece.start / rate, 6),
        "length": round((piece.end - piece.start) / rate, 6),
    }
    value |= {"left_out": piece.left_out} if piece.left_out else {"clip": piece.clip}
    value |= {"why": piece.why} if piece.why else {}
    return value | ({} if piece.caption is None else {"caption": piece.caption})


def _number(value: Mapping[str, Any], key: str, where: str) -> float:
    number = value.get(key)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= _MOST_SECONDS:
        raise _WrongPlanError(f'{where}: its "{key}" is {number!r}, but it must be a number of seconds')
    return float(number)


def _whole(value: Mapping[str, Any], key: str, where: str) -> int:
    number = value.get(key)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST_SAMPLES:
        raise _WrongPlanError(f'{where}: its "{key}" is {number!r}, but it must be a whole number above 0')
    return number


def _text(value: Mapping[str, Any], key: str, where: str) -> str | None:
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise _WrongPlanError(f'{where}: its "{key}" must be text')
    return text
