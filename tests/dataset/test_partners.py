"""Clips that need a file beside them: a mask of spans, or the sound that they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tone, write_clip

from soundlora.dataset import (
    Clip,
    DatasetError,
    DuplicateNameError,
    MissingPartnerError,
    Partner,
    check_source,
    inspect_dataset,
    prepare,
)
from soundlora.dataset.partners import checked_spans


def spans_set(folder: Path, **masks: Any) -> Path:
    """A clip of 1 s with a caption and a mask file for each."""
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        write_clip(folder / f"{name}.wav", tone(1.0), f"a {name} tone")
        (folder / f"{name}_mask.json").write_text(mask if isinstance(mask, str) else json.dumps(mask))
    return folder


def pair_set(folder: Path, *names: str, start: float = 1.0, end: float = 1.0) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        write_clip(folder / f"{name}_start.wav", tone(start, 200.0 + 50 * number))
        write_clip(folder / f"{name}_end.wav", tone(end, 900.0 + 50 * number))
        (folder / f"{name}.txt").write_text(f"{name} becomes bright")
    return folder


def prepared(data: Path, partner: Partner, duration: float = 1.0) -> list[Clip]:
    clips: list[Clip] = []
    prepare(data, duration=duration, on_clip=clips.append, partner=partner)
    return clips


def test_spans_stand_in_order_and_are_cut_off_at_the_bucket(tmp_path: Path) -> None:
    (clip,) = prepared(spans_set(tmp_path / "set", rain=[[0.9, 4.0], [0.1, 0.25]]), "spans")
    assert clip.spans == ((0.1, 0.25), (0.9, 1.0))
    assert clip.reference is None
    assert clip.report.partner == "rain_mask.json"
    assert clip.report.spans == [[0.1, 0.25], [0.9, 1.0]]
    assert clip.report.warnings == ["its rain_mask.json names spans beyond 1 s, which are cut off there"]


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ([], "names no span, so there is nothing to make anew"),
        ([[2.0, 3.0]], "has no span within the bucket of 1 s, only from 2 s on"),
        ([[0, 0.6], [0.5, 1.0]], "makes all of it anew, so that nothing is given"),
        ([[0.5, 0.5]], "has a span from 0.5 to 0.5 s, but each must end after it starts"),
        ([[0.5, 0.2]], "has a span from 0.5 to 0.2 s, but each must end after it starts"),
        ([[-1, 0.2]], "has a span from -1 to 0.2 s, but each must end after it starts"),
        ("[[0, NaN]]", "has a span from 0 to nan s, but each must end after it starts"),
        ([0.1, 0.2], "must be [[start, end], …] in seconds"),
        ([["0", "1"]], "must be [[start, end], …] in seconds"),
        ([[True, 2]], "must be [[start, end], …] in seconds"),
        ({"spans": []}, "must be [[start, end], …] in seconds"),
        ("no JSON", "must be [[start, end], …] in seconds"),
        ("[" * 100_000, "must be [[start, end], …] in seconds"),
    ],
)
def test_a_clip_whose_mask_says_nothing_useful_is_skipped_in_words(tmp_path: Path, mask: Any, reason: str) -> None:
    data = spans_set(tmp_path / "set", bad=mask, good=[[0.2, 0.4]])
    report = inspect_dataset(data, duration=1.0, partner="spans")
    assert [clip.name for clip in report.kept] == ["good.wav"]
    assert [(clip.reason, clip.problem) for clip in report.skipped] == [(f"its bad_mask.json {reason}", "spans")]
    with pytest.raises(DatasetError, match="bad_mask"):
        prepared(spans_set(tmp_path / "alone", bad=mask), "spans")


def test_a_clip_without_its_mask_and_a_mask_without_its_clip_are_refused_before_anything_is_decoded(
    tmp_path: Path,
) -> None:
    data = spans_set(tmp_path / "set", rain=[[0.2, 0.4]], wind=[[0.2, 0.4]])
    (data / "wind_mask.json").unlink()
    for look in (lambda: check_source(data, "spans"), lambda: prepared(data, "spans")):
        with pytest.raises(MissingPartnerError, match=r"^wind\.wav has no wind_mask\.json, which names the spans"):
            look()
    (data / "wind.wav").unlink()
    (data / "snow_mask.json").write_text("[[0, 1]]")
    with pytest.raises(MissingPartnerError, match=r"^snow_mask\.json belongs to no clip"):
        check_source(data, "spans")


def test_masks_are_found_whatever_their_folder_and_capitals(tmp_path: Path) -> None:
    data = spans_set(tmp_path / "set", rain=[[0.2, 0.4]])
    (data / "masks").mkdir()
    (data / "rain_mask.json").rename(data / "masks" / "RAIN_Mask.JSON")
    assert [clip.spans for clip in prepared(data, "spans")] == [((0.2, 0.4),)]
    (data / "rain_mask.json").write_text("[[0, 0.5]]")
    with pytest.raises(DuplicateNameError, match="same base name"):
        prepared(data, "spans")


def test_text_to_audio_passes_masks_over(tmp_path: Path) -> None:
    report = inspect_dataset(spans_set(tmp_path / "set", rain=[[0.2, 0.4]]), duration=1.0)
    assert [file.name for file in report.ignored] == ["rain_mask.json"]
    assert report.kept[0].partner is None


def test_a_pair_is_one_clip_with_its_reference(tmp_path: Path) -> None:
    clips = prepared(pair_set(tmp_path / "set", "bell", "drum"), "reference")
    assert [clip.name for clip in clips] == ["bell_end.wav", "drum_end.wav"]
    assert [clip.caption for clip in clips] == ["bell becomes bright", "drum becomes bright"]
    assert [clip.reference and clip.reference.name for clip in clips] == ["bell_start.wav", "drum_start.wav"]
    for clip in clips:
        assert clip.reference is not None
        assert clip.reference.samples.shape == clip.samples.shape
        assert clip.reference.sha256 != clip.sha256
        low, high = (np.abs(np.fft.rfft(each.samples[0])).argmax() for each in (clip.reference, clip))
        assert low < high  # the start is the low tone


def test_the_caption_of_a_pair_may_bear_the_ends_name(tmp_path: Path) -> None:
    data = pair_set(tmp_path / "set", "bell")
    (data / "bell.txt").rename(data / "bell_end.txt")
    assert [clip.caption for clip in prepared(data, "reference")] == ["bell becomes bright"]
    (data / "bell.txt").write_text("another")
    with pytest.raises(DuplicateNameError, match=r"both captions of bell_end\.wav"):
        prepared(data, "reference")


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("bell_start.wav", r"^bell_end\.wav has no bell_start beside it"),
        ("bell_end.wav", r"^bell_start\.wav has no bell_end beside it"),
    ],
)
def test_half_a_pair_is_refused(tmp_path: Path, gone: str, sentence: str) -> None:
    data = pair_set(tmp_path / "set", "bell", "drum")
    (data / gone).unlink()
    with pytest.raises(MissingPartnerError, match=sentence):
        check_source(data, "reference")


def test_a_clip_that_is_neither_start_nor_end_is_refused(tmp_path: Path) -> None:
    data = pair_set(tmp_path / "set", "bell")
    write_clip(data / "bell.wav", tone(1.0))
    with pytest.raises(MissingPartnerError, match=r"^bell\.wav is neither the start nor the end of a pair"):
        prepared(data, "reference")


@pytest.mark.parametrize(
    ("start", "end", "whose"), [(0.4, 1.0, "its start bell_start.wav can't be used: "), (1.0, 0.4, "")]
)
def test_a_pair_with_a_short_side_is_skipped(tmp_path: Path, start: float, end: float, whose: str) -> None:
    data = pair_set(tmp_path / "set", "bell", start=start, end=end)
    report = inspect_dataset(data, duration=1.0, partner="reference")
    (clip,) = report.clips
    assert clip.reason == f"{whose}it is 0.40 s long, shorter than the bucket of 1 s"
    assert (clip.problem, clip.seconds) == ("too_short", 0.4)
    with pytest.raises(DatasetError, match=r"0\.40 s"):
        prepared(data, "reference")


def test_a_pair_of_the_same_sound_is_skipped(tmp_path: Path) -> None:
    data = pair_set(tmp_path / "set", "bell", "drum")
    (data / "bell_end.wav").write_bytes((data / "bell_start.wav").read_bytes())
    report = inspect_dataset(data, duration=1.0, partner="reference")
    assert [(clip.name, clip.problem) for clip in report.skipped] == [("bell_end.wav", "same")]
    assert "the same sound" in (report.skipped[0].reason or "")


def test_several_processes_find_the_same_pairs(tmp_path: Path) -> None:
    data = pair_set(tmp_path / "set", *(f"pair{number}" for number in range(9)))
    one, two = (inspect_dataset(data, duration=1.0, partner="reference", processes=n).to_json() for n in (1, 2))
    assert one == two
    assert one["kept"] == 9


def test_spans_are_sorted() -> None:
    assert checked_spans([[3, 4], (1.0, 2)]) == ((1.0, 2.0), (3.0, 4.0))
