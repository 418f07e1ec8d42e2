"""Every sample of a recording is in one piece, and clips begin and end where they should."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import inputs

from soundlora.dataset.cuts import Cutting, Piece, cut
from soundlora.dataset.fit import TOLERANCE_SECONDS, target_length
from soundlora.dataset.frames import Frames, hop_of
from soundlora.dataset.stream import Form

LOUD, SILENT = -20.0, -90.0


def frames_of(
    levels: np.ndarray,
    *,
    rate: int = 48_000,
    samples: int | None = None,
    onsets: np.ndarray | None = None,
    flat: np.ndarray | None = None,
    start: int = 0,
    last: bool = True,
) -> Frames:
    """Frames as they would be measured of a recording with these levels."""
    hop, count = hop_of(rate), len(levels)
    levels = levels.astype(np.float32)
    return Frames(
        Form("pcm_s16le", rate, 2, "stereo", "int16", lossy=False),
        start,
        count * hop if samples is None else samples,
        hop,
        levels,
        10 ** (levels / 20) * np.float32(1.4),
        np.ones(count, np.float32) if onsets is None else onsets.astype(np.float32),
        np.zeros(count, np.uint32) if flat is None else flat,
        np.zeros(-(-count // 5), np.uint32),
        0,
        last,
        0.0,
        np.ones(2),
    )


def course(*stretches: tuple[float, float]) -> np.ndarray:
    """Levels of stretches (seconds, dB)."""
    return np.concatenate([np.full(round(seconds * 100), level) for seconds, level in stretches])


def clips(pieces: list[Piece], rate: int = 48_000) -> list[tuple[float, float]]:
    return [(each.start / rate, each.end / rate) for each in pieces if not each.left_out]


@st.composite
def recordings(draw: st.DrawFn) -> Frames:
    rate = draw(st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]))
    stretches = draw(
        st.lists(st.tuples(st.integers(1, 900), st.sampled_from([SILENT, -75.0, -55.0, -45.0, LOUD, -3.0])), max_size=8)
    )
    levels = np.concatenate([np.full(count, level) for count, level in [(1, LOUD), *stretches]])
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    short = draw(st.integers(0, hop_of(rate) - 1))
    return frames_of(
        levels,
        rate=rate,
        samples=len(levels) * hop_of(rate) - short,
        onsets=random.exponential(2, len(levels)),
        flat=(random.random(len(levels)) < 0.02) * np.uint32(hop_of(rate)),
        start=draw(st.sampled_from([0, 1_000_000])),
        last=draw(st.booleans()),
    )


@given(
    recordings(),
    st.sampled_from([(0.1, 0.1), (0.5, 0.5), (1.0, 1.0), (5.0, 5.0), (0.3, 2.0), (2.0, 2.01), (1.0, 10.0)]),
)
@settings(max_examples=inputs(3))
def test_every_sample_is_in_a_clip_or_in_a_reason_exactly_once(frames: Frames, lengths: tuple[float, float]) -> None:
    rate = frames.form.sample_rate
    shortest, longest = (target_length(seconds, rate) for seconds in lengths)

    pieces = cut(frames, Cutting(*lengths))

    assert pieces[0].start == frames.start
    assert pieces[-1].end == frames.start + frames.samples
    assert all(one.end == other.start for one, other in pairwise(pieces))
    assert all(piece.end > piece.start for piece in pieces)
    assert all(piece.detail for piece in pieces if piece.left_out)
    for piece in pieces:
        if not piece.left_out:
            length = piece.end - piece.start
            assert length <= longest
            assert length >= shortest - TOLERANCE_SECONDS * rate - 1
            assert length >= shortest or length == frames.samples
            assert piece.begins
            assert piece.ends


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.99, 1.0, 1.3, 4.95, 4.97, 5.0, 9.99, 10.0, 37.0, 600.0])
@pytest.mark.parametrize("duration", [0.5, 1.0, 5.0])
def test_a_steady_sound_gives_as_many_clips_as_fit(seconds: float, duration: float) -> None:
    frames = frames_of(course((seconds, LOUD)))

    found = clips(cut(frames, Cutting(duration, duration)))

    assert len(found) == int(
        (seconds + TOLERANCE_SECONDS + 1e-9) / duration if seconds < duration else seconds / duration + 1e-9
    )
    assert all(end - start == pytest.approx(min(duration, seconds)) for start, end in found)


def test_silence_parts_and_is_left_out() -> None:
    pieces = cut(frames_of(course((2, SILENT), (5.5, LOUD), (3, SILENT), (5.2, LOUD))), Cutting(5, 5))

    assert len(clips(pieces)) == 2
    silent = [(piece.start, piece.end) for piece in pieces if piece.left_out == "silence"]
    # A sound begins 30 ms before it is loud and dies away for 100 ms.
    assert [(start / 48_000, end / 48_000) for start, end in silent] == [(0, 1.97), (7.6, 10.47)]


def test_a_short_pause_stays_within_a_clip() -> None:
    assert clips(cut(frames_of(course((2, LOUD), (0.9, SILENT), (2.1, LOUD))), Cutting(5, 5))) == [(0, 5)]


def test_a_sound_that_is_a_little_short_takes_silence_in() -> None:
    pieces = cut(frames_of(course((1, SILENT), (3, LOUD), (4, SILENT))), Cutting(5, 5))

    assert clips(pieces) == [(0.97, 5.97)]


def test_a_sound_that_is_far_too_short_is_left_out_with_its_length() -> None:
    pieces = cut(frames_of(course((3, SILENT), (1, LOUD), (6, SILENT))), Cutting(5, 5))

    assert [piece.left_out for piece in pieces] == ["silence", "too short", "silence"]
    assert pieces[1].detail == "1.13 s of sound between silences, shorter than 5 s"


def test_clips_begin_at_onsets() -> None:
    onsets = np.ones(1900)
    onsets[[301, 901]] = 25

    pieces = cut(frames_of(course((19, LOUD)), onsets=onsets), Cutting(5, 5))

    assert [start for start, _ in clips(pieces)][:2] == [3, 9]
    assert [piece.begins for piece in pieces if not piece.left_out] == ["at an onset", "at an onset", "by length"]


def test_better_places_do_not_cost_a_clip() -> None:
    onsets = np.ones(1500)
    onsets[301] = 25

    assert clips(cut(frames_of(course((15, LOUD)), onsets=onsets), Cutting(5, 5))) == [(0, 5), (5, 10), (10, 15)]


def test_a_range_of_lengths_follows_the_onsets() -> None:
    onsets = np.ones(1000)
    onsets[[301, 701]] = 25

    pieces = cut(frames_of(course((10, LOUD)), onsets=onsets), Cutting(2, 8))

    assert clips(pieces) == [(0, 3), (3, 7), (7, 10)]
    assert [piece.ends for piece in pieces] == ["at an onset", "at an onset", "at the end"]


def test_a_range_keeps_all_of_a_steady_sound() -> None:
    found = clips(cut(frames_of(course((61.7, LOUD))), Cutting(3, 10)))

    assert sum(end - start for start, end in found) == pytest.approx(61.7)
    assert len(found) == 7


def test_what_is_too_quiet_or_clipped_says_how_much() -> None:
    flat = np.zeros(1500, np.uint32)
    flat[500:1000] = 100
    frames = frames_of(course((5, -50), (5, LOUD), (5, LOUD)), flat=flat)

    pieces = cut(frames, Cutting(5, 5))

    assert [piece.left_out for piece in pieces] == ["too quiet", "clipped", None]
    assert pieces[0].detail == "its peak is -47 dBFS"
    assert pieces[1].detail == "10.4% of its samples stand on a flat top"
    assert [piece.left_out for piece in cut(frames, Cutting(5, 5, quietest=-60, keep_clipped=True))] == [None] * 3


def test_the_level_of_silence_is_a_setting() -> None:
    frames = frames_of(course((5, -70), (5, LOUD)))

    assert clips(cut(frames, Cutting(5, 5))) == [(4.97, 9.97)]
    assert cut(frames, Cutting(5, 5, silence=-80))[0].left_out == "too quiet"
    assert clips(cut(frames, Cutting(5, 5, silence=-80, quietest=-80))) == [(0, 5), (5, 10)]


def test_a_part_goes_on_where_the_last_one_ended() -> None:
    pieces = cut(frames_of(course((5, LOUD)), start=480_000, last=False), Cutting(5, 5))

    assert [(piece.start, piece.end, piece.begins, piece.ends) for piece in pieces] == [
        (480_000, 720_000, "at silence", "at silence")
    ]
