"""Where a recording is cut: along silence, at onsets and quiet moments, into clips of a length or of a range.

Every sample of a recording is in exactly one piece. A piece is a clip, or it is left out and says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from soundlora.dataset.fit import TOLERANCE_SECONDS, target_length
from soundlora.dataset.frames import FRAME_SECONDS, Frames

LeftOut = Literal["silence", "rest", "too short", "too quiet", "clipped", "duplicate", "unreadable", "by hand"]
"""Why a piece is no clip."""

Cut = Literal["at the start", "at the end", "at silence", "at an onset", "at a quiet moment", "by length"]
"""What lies where a clip begins or ends."""

# Shorter silence stays within a clip, up to this share of its length.
_LEAST_SILENCE, _MOST_SILENCE, _SILENT_SHARE = 0.3, 1.0, 0.5
# A sound begins a little before it is loud, and dies away after it.
_BEFORE, _AFTER = 3, 10
# A sound between silences may take so much of them in to fill a clip, and no more.
_HEARD_SHARE = 0.5
_CLIPPED_SHARE = 0.01
# Rises of the spectrum that noise has by itself, and those that are an onset for sure, in dB.
_USUAL_RISE, _SURE_RISE = 2.0, 12.0
_SURE_DIP = 20.0
_TOLD = 0.3
_AROUND = round(0.5 / FRAME_SECONDS)
# A cut at a good place is worth so much of a clip, so that few clips are lost to better places.
_START_WORTH, _END_WORTH = 0.06, 0.04
# Of a range: a cut costs as much as a place that is so good is worth.
_CUT_COST = 0.6
_CUT_WORTH = 0.25
_GRID = round(0.1 / FRAME_SECONDS)


@dataclass(frozen=True)
class Cutting:
    """How recordings are cut. Seconds: a clip has from `shortest` to `longest`. Levels are in dB of full scale.

    A frame below `silence` is silent, a clip whose peak stays below `quietest` too quiet.
    """

    shortest: float
    longest: float
    silence: float = -60.0
    quietest: float = -40.0
    keep_clipped: bool = False
    keep_duplicates: bool = False


@dataclass(frozen=True)
class Piece:
    """The samples from `start` to before `end` of a recording. A clip says where it begins and ends, others why not."""

    start: int
    end: int
    left_out: LeftOut | None = None
    detail: str = ""
    begins: Cut | None = None
    ends: Cut | None = None


def cut(frames: Frames, how: Cutting) -> list[Piece]:
    """Return the pieces of a part of a recording in their order. Together they are the part, without overlap."""
    course = _Course(frames, how)
    pieces: list[Piece] = []
    reached = 0
    for region in course.regions:
        pieces += course.silence(reached, region[0])
        clips = course.clips(*region)
        pieces += course.filled(clips, *region)
        reached = region[1]
    pieces += course.silence(reached, course.count)
    return [piece for piece in pieces if piece.end > piece.start]


class _Course:
    """The frames of a part with what cutting needs: places are frames, `count` of them."""

    def __init__(self, frames: Frames, how: Cutting) -> None:
        self.frames, self.how = frames, how
        self.count = len(frames.levels)
        rate = frames.form.sample_rate
        tolerance = round(TOLERANCE_SECONDS * rate)
        shortest, longest = target_length(how.shortest, rate), target_length(how.longest, rate)
        # A recording that lacks a hair is a clip all the same, as it is for training.
        if shortest - tolerance <= frames.samples < shortest:
            shortest = frames.samples
        self.shortest, self.longest = shortest, max(shortest, longest)
        self.heard = frames.levels >= how.silence
        self.onset, self.dip = _scores(frames)
        self.regions = self._with_neighbours(self._regions())
        self._starts, self._ends_at = {start for start, _ in self.regions}, {end for _, end in self.regions}

    def _regions(self) -> list[tuple[int, int]]:
        """Return where sound is, from silence to silence that is long enough to part it."""
        places = np.flatnonzero(self.heard)
        if not places.size:
            return []
        gap = min(_MOST_SILENCE, max(_LEAST_SILENCE, _SILENT_SHARE * self.how.shortest)) / FRAME_SECONDS
        parted = np.flatnonzero(np.diff(places) > gap)
        starts = places[np.concatenate([[0], parted + 1])]
        ends = places[np.concatenate([parted, [len(places) - 1]])] + 1
        return [
            (max(0, int(start) - _BEFORE), min(self.count, int(end) + _AFTER))
            for start, end in zip(starts, ends, strict=True)
        ]

    def _with_neighbours(self, regions: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Let regions that are a little too short take in silence: what follows them first, then what is before."""
        need = -(-self.shortest // self.frames.hop)
        grown: list[tuple[int, int]] = []
        for number, (start, end) in enumerate(regions):
            before = grown[-1][1] if grown else 0
            after = regions[number + 1][0] if number + 1 < len(regions) else self.count
            if _HEARD_SHARE * need <= end - start < need and after - before >= need:
                end = min(after, start + need)
                start = max(before, end - need)
            grown.append((start, end))
        return grown

    def clips(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the clips of a region as (first, last + 1) samples of the part, in order."""
        if self.sample(end) - self.sample(start) < self.shortest:
            return []
        return self._of_a_range(start, end) if self.longest > self.shortest else self._of_one_length(start, end)

    def _of_one_length(self, start: int, end: int) -> list[tuple[int, int]]:
        """Choose starts so that the most clips fit, at the best places: the weighted scheduling of intervals."""
        length = -(-self.shortest // self.frames.hop)
        # The last frame may be a short one.
        last = min(end - length, (self.frames.samples - self.shortest) // self.frames.hop)
        score = np.maximum(self.onset, self.dip)
        worth = 1 + _START_WORTH * score[start : last + 1]
        ends = np.minimum(np.arange(start, last + 1) + length, self.count - 1)
        values = (worth + _END_WORTH * score[ends]).tolist()
        # best[i] is what the clips that begin before start + i are worth.
        best = [0.0] * (len(values) + 1)
        taken = [False] * (len(values) + 1)
        for place, value in enumerate(values):
            with_it = value + best[max(0, place - length + 1)]
            taken[place + 1] = with_it > best[place]
            best[place + 1] = max(with_it, best[place])
        found, place = [], len(values)
        while place > 0:
            if taken[place]:
                first = self.sample(start + place - 1)
                found.append((first, first + self.shortest))
                place = max(0, place - length)
            else:
                place -= 1
        return found[::-1]

    def _of_a_range(self, start: int, end: int) -> list[tuple[int, int]]:
        """Choose cuts so that most of the sound is kept, at the best places."""
        score = np.maximum(self.onset, self.dip)
        inner = score[start:end]
        peaks = 1 + np.flatnonzero((inner[1:-1] >= _TOLD) & (inner[1:-1] >= inner[:-2]) & (inner[1:-1] >= inner[2:]))
        # A grid makes every length possible where nothing happens. The end of a part is no whole frame.
        places = np.unique(np.concatenate([start + peaks, np.arange(start, end, _GRID), [end]]))
        samples = np.minimum(places * self.frames.hop, self.frames.samples)
        worth = np.where(places < self.count, score[np.minimum(places, self.count - 1)], 0.0)
        unit = _CUT_WORTH * self.shortest
        best = np.zeros(len(places))
        gain = np.zeros(len(places))  # of what is before a place when a clip begins there
        origin = np.full(len(places), -1)
        gain[0] = unit * worth[0] - samples[0]
        firsts = np.searchsorted(samples, samples - self.longest)
        lasts = np.searchsorted(samples, samples - self.shortest, side="right")
        for number in range(1, len(places)):
            best[number] = best[number - 1]
            if firsts[number] < lasts[number]:
                before = firsts[number] + int(gain[firsts[number] : lasts[number]].argmax())
                value = gain[before] + samples[number] + unit * (worth[number] - 2 * _CUT_COST)
                if value > best[number]:
                    best[number], origin[number] = value, before
            gain[number] = best[number] + unit * worth[number] - samples[number]
        found, number = [], len(places) - 1
        while number > 0:
            if origin[number] >= 0:
                found.append((int(samples[origin[number]]), int(samples[number])))
                number = int(origin[number])
            else:
                number -= 1
        return found[::-1]

    def filled(self, clips: list[tuple[int, int]], start: int, end: int) -> list[Piece]:
        """Return the region's pieces: its clips as they are judged, and what lies between them."""
        pieces: list[Piece] = []
        reached, limit = self.sample(start), self.sample(end)
        seconds = (limit - reached) / self.frames.form.sample_rate
        bucket = f"{self.how.shortest:g} s"
        rest = (
            ("rest", f"between clips, shorter than {bucket}")
            if clips
            else ("too short", f"{seconds:.2f} s of sound between silences, shorter than {bucket}")
        )
        for first, last in clips:
            pieces.append(self._left_out(reached, first, *rest))  # type: ignore[arg-type]
            pieces.append(self._judged(first, last))
            reached = last
        pieces.append(self._left_out(reached, limit, *rest))  # type: ignore[arg-type]
        return pieces

    def silence(self, start: int, end: int) -> list[Piece]:
        if end <= start:
            return []
        return [self._left_out(self.sample(start), self.sample(end), "silence", f"below {self.how.silence:g} dBFS")]

    def sample(self, frame: int) -> int:
        """Return the first sample of a frame, counted from the start of the part."""
        return min(frame * self.frames.hop, self.frames.samples)

    def _left_out(self, first: int, last: int, why: LeftOut, detail: str) -> Piece:
        return Piece(self.frames.start + first, self.frames.start + last, why, detail)

    def _judged(self, first: int, last: int) -> Piece:
        """Return a clip, or the piece with the reason for which it is none."""
        hop, frames = self.frames.hop, self.frames
        inside = slice(first // hop, max(first // hop + 1, -(-last // hop)))
        peak = 20 * np.log10(max(float(frames.peaks[inside].max()), 1e-6))
        share = float(frames.flat[inside].sum()) / ((last - first) * frames.form.channels)
        piece = Piece(frames.start + first, frames.start + last)
        if not self.heard[inside].any():
            return replace(piece, left_out="silence", detail=f"below {self.how.silence:g} dBFS")
        if peak < self.how.quietest:
            return replace(piece, left_out="too quiet", detail=f"its peak is {peak:.0f} dBFS")
        if share > _CLIPPED_SHARE and not self.how.keep_clipped:
            return replace(piece, left_out="clipped", detail=f"{share:.1%} of its samples stand on a flat top")
        return replace(piece, begins=self._begins(first), ends=self._ends(last))

    def _begins(self, first: int) -> Cut:
        place = first // self.frames.hop
        if self.frames.start + first == 0:
            return "at the start"
        return "at silence" if place in self._starts else self._place(place)

    def _ends(self, last: int) -> Cut:
        place = last // self.frames.hop
        if self.frames.last and last == self.frames.samples:
            return "at the end"
        return "at silence" if place in self._ends_at else self._place(place)

    def _place(self, place: int) -> Cut:
        place = min(place, self.count - 1)
        if self.onset[place] >= _TOLD and self.onset[place] >= self.dip[place]:
            return "at an onset"
        return "at a quiet moment" if self.dip[place] >= _TOLD else "by length"


def _scores(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Return how good a cut right before each frame is, from 0 to 1: by an onset that follows, and by a dip there."""
    usual = _around(frames.onsets)
    # The spectrum of an attack rises in its own frame or the next one, so the cut lies a frame before the rise.
    rise = np.concatenate([frames.onsets[1:], np.zeros(1, np.float32)]) - usual
    onset = np.clip((rise - _USUAL_RISE) / (_SURE_RISE - _USUAL_RISE), 0, 1)
    levels = np.maximum(frames.levels, -90.0)
    here = np.maximum(levels, np.concatenate([levels[:1], levels[:-1]]))
    dip = np.clip((_around(levels) - here) / _SURE_DIP, 0, 1)
    return onset, dip


def _around(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value and those within half a second of it."""
    summed = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(len(values))
    first, last = np.maximum(0, places - _AROUND), np.minimum(len(values), places + _AROUND + 1)
    return np.asarray((summed[last] - summed[first]) / (last - first))
