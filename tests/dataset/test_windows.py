"""A long recording as many clips: their sound, their names, their places, and what is said of the rest."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from soundlora.dataset import Clip, DatasetReport, inspect_dataset, prepare
from soundlora.dataset import windows as module
from soundlora.dataset.windows import rest_warning, window_name, windows_in
from soundlora.errors import InputError

RATE = 48_000


def rain(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * RATE), 2)).clip(-0.9, 0.9)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """23.2 s of rain, of which the third 5 s are silent, and 6 s of wind."""
    (tmp_path / "card").mkdir()
    samples = rain(23.2)
    samples[10 * RATE : 15 * RATE] = 0
    soundfile.write(tmp_path / "card" / "rain.wav", samples, RATE)
    soundfile.write(tmp_path / "card" / "wind.flac", rain(6, 1), RATE)
    (tmp_path / "card" / "rain.txt").write_text("heavy rain")
    return tmp_path / "card"


def prepared(source: Path, **settings: Any) -> tuple[list[Clip], DatasetReport]:
    clips: list[Clip] = []
    chosen: dict[str, Any] = {"duration": 5.0, "windows": "all"} | settings
    report = prepare(source, on_clip=clips.append, **chosen)
    return clips, report


def test_a_long_clip_gives_as_many_as_fit(card: Path) -> None:
    clips, report = prepared(card, normalize=False, trigger_phrase="tin roof")

    assert [clip.name for clip in clips] == ["rain.wav", "rain.wav @ 5 s", "rain.wav @ 15 s", "wind.flac"]
    assert [clip.offset for clip in clips] == [0, 5, 15, 0]
    assert [clip.caption for clip in clips] == ["tin roof heavy rain"] * 3 + ["tin roof"]
    whole, _ = soundfile.read(card / "rain.wav", dtype="float32")
    for clip in clips[:3]:
        start = round(clip.offset * RATE)
        assert np.array_equal(clip.samples, whole[start : start + 5 * RATE].T)
    assert len({clip.sha256 for clip in clips[:3]}) == 1
    assert report.windows == "all"


def test_what_is_not_used_is_said(card: Path) -> None:
    _, report = prepared(card)

    by_name = {clip.name: clip for clip in report.clips}
    assert by_name["rain.wav @ 10 s"].status == "skipped"
    assert by_name["rain.wav @ 10 s"].problem == "silent"
    assert by_name["rain.wav @ 10 s"].peak_dbfs is None
    assert by_name["rain.wav"].warnings == ["its last 3.20 s are not used: they are shorter than the bucket"]
    assert by_name["wind.flac"].warnings[-1] == "its last 1.00 s are not used: they are shorter than the bucket"
    assert by_name["rain.wav @ 15 s"].warnings == []


def test_seconds_are_counted_once(card: Path) -> None:
    _, report = prepared(card)

    assert report.source_seconds == pytest.approx(29.2)
    assert report.total_seconds == pytest.approx(20)
    assert report.to_json()["source_seconds"] == 29.2
    buckets = {bucket.duration: bucket.clips for bucket in report.buckets}
    assert (buckets[1.0], buckets[5.0], buckets[10.0], buckets[20.0]) == (29, 5, 2, 1)


def test_the_first_window_alone_is_the_default(card: Path) -> None:
    clips, report = prepared(card, windows="first")

    assert [clip.name for clip in clips] == ["rain.wav", "wind.flac"]
    assert report.windows == "first"
    assert {bucket.duration: bucket.clips for bucket in report.buckets}[1.0] == 2


@pytest.mark.parametrize("windows", ["first", "all"])
def test_a_start_is_the_same_clip_either_way(card: Path, windows: str) -> None:
    [first, *_], _ = prepared(card, windows=windows)
    [alone, *_], _ = prepared(card, windows="first")

    assert np.array_equal(first.samples, alone.samples)


def test_a_recording_that_begins_in_silence_has_its_later_windows(tmp_path: Path) -> None:
    samples = rain(15)
    samples[: 5 * RATE] = 0
    soundfile.write(tmp_path / "rain.wav", samples, RATE)

    clips, report = prepared(tmp_path)

    assert [clip.name for clip in clips] == ["rain.wav @ 5 s", "rain.wav @ 10 s"]
    assert [clip.status for clip in report.clips] == ["skipped", "kept", "kept"]
    assert clips[0].sha256


def test_a_zip_gives_the_same_clips(card: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as bundle:
        for path in card.iterdir():
            bundle.write(path, path.name)
    wanted, report = prepared(card)

    found, other = prepared(tmp_path / "card.zip")

    assert [(clip.name, clip.sha256) for clip in found] == [(clip.name, clip.sha256) for clip in wanted]
    assert all(np.array_equal(one.samples, two.samples) for one, two in zip(found, wanted, strict=True))
    assert other.clips == report.clips


def test_several_processes_report_the_same(tmp_path: Path) -> None:
    for number in range(9):
        soundfile.write(tmp_path / f"{number}.wav", rain(1.3, number), RATE)

    alone, shared = (
        inspect_dataset(tmp_path, duration=0.5, windows="all", processes=processes) for processes in (1, 2)
    )

    assert len(alone.kept) == 18
    assert shared == alone


def test_the_same_window_twice_is_told(tmp_path: Path) -> None:
    samples = rain(10)
    samples[5 * RATE :] = samples[: 5 * RATE]
    soundfile.write(tmp_path / "loop.wav", samples, RATE)

    _, report = prepared(tmp_path)

    assert report.duplicates == [["loop.wav", "loop.wav @ 5 s"]]


def test_one_that_lacks_a_hair_at_its_end_is_a_window(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "rain.wav", rain(9.97), RATE)

    clips, report = prepared(tmp_path)

    assert [clip.name for clip in clips] == ["rain.wav", "rain.wav @ 5 s"]
    assert {clip.samples.shape for clip in clips} == {(2, 5 * RATE)}
    assert not any("last" in warning for warning in report.clips[0].warnings)


@pytest.mark.parametrize("partner", ["spans", "reference"])
def test_clips_with_partners_have_no_windows(card: Path, partner: Any) -> None:
    with pytest.raises(InputError, match="windows='all' makes many clips of a long one") as refused:
        prepared(card, partner=partner)
    assert refused.value.field == "windows"


@pytest.mark.parametrize(
    ("seconds", "duration", "count", "rest"),
    [
        (0.1, 5, 0, ""),
        (4.97, 5, 1, ""),
        (5, 5, 1, ""),
        (9.9, 5, 1, "4.90"),
        (10, 5, 2, ""),
        (600, 5, 120, ""),
        (600, 0.7, 857, "0.10"),
        (3.3, 1.1, 3, ""),
    ],
)
def test_how_many_fit_and_what_is_left(seconds: float, duration: float, count: int, rest: str) -> None:
    assert windows_in(seconds, duration) == count
    warnings = rest_warning(seconds, duration)
    assert warnings == ([f"its last {rest} s are not used: they are shorter than the bucket"] if rest else [])


def test_names_say_the_place() -> None:
    assert window_name("a.wav", 0) == "a.wav"
    assert window_name("a.wav", 3 * 0.1) == "a.wav @ 0.3 s"
    assert window_name("a.wav", 123_456.5) == "a.wav @ 123456.5 s"


def test_a_set_has_only_so_many_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WINDOWS", 20)
    soundfile.write(tmp_path / "rain.wav", rain(10), RATE)

    assert len(inspect_dataset(tmp_path, duration=0.5, windows="all").kept) == 20
    with pytest.raises(InputError, match="makes more than 20 clips of this data; use a longer duration="):
        inspect_dataset(tmp_path, duration=0.4, windows="all")


def test_memory_holds_one_window(tmp_path: Path) -> None:
    """Twenty minutes are 230 MB as float32."""
    with soundfile.SoundFile(tmp_path / "rain.wav", "w", 24_000, 2) as file:
        for number in range(20):
            file.write(np.random.default_rng(number).normal(0, 0.1, (60 * 24_000, 2)))
    tracemalloc.start()
    try:
        report = inspect_dataset(tmp_path, windows="all")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(report.kept) == 240
    assert peak < 25e6


TABLE = "file_name,offset,text,room\nrain.wav,4,thunder,hall\nrain.wav,15,drizzle,\nwind.flac,,wind,\n"


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_with_an_offset_give_windows_their_own_captions(card: Path, processes: int) -> None:
    (card / "metadata.csv").write_text(TABLE)
    for number in range(8):
        soundfile.write(card / f"x{number}.wav", rain(5, number + 2), RATE)
    report = inspect_dataset(card, windows="all", trigger_phrase="tin roof", processes=processes)
    said = {clip.name: (clip.caption, clip.caption_source) for clip in report.kept[:4]}
    assert said == {
        "rain.wav": ("tin roof heavy rain", "rain.txt"),
        "rain.wav @ 5 s": ("tin roof thunder", "metadata.csv"),
        "rain.wav @ 15 s": ("tin roof drizzle", "metadata.csv"),
        "wind.flac": ("tin roof wind", "metadata.csv"),
    }
    assert not any("share their captions" in warning for warning in report.warnings)
    # The start of a recording has the recording's caption, with windows and without.
    assert inspect_dataset(card).clips[0].caption == "heavy rain"


def test_a_template_takes_the_fields_of_the_windows_own_row(card: Path) -> None:
    (card / "metadata.csv").write_text(TABLE)
    clips, _ = prepared(card, caption_template="{caption}, {room}")
    assert [clip.caption for clip in clips] == ["heavy rain, hall", "thunder, hall", "drizzle", "wind"]


def test_windows_that_share_a_caption_are_told(card: Path) -> None:
    _, report = prepared(card)
    sentence = (
        "3 windows share their captions with others in rain.wav; a table with a column offset gives them their own, "
        "and soundlora prepare writes a clip and a caption for each piece."
    )
    assert sentence in report.warnings
    soundfile.write(card / "wind.flac", rain(11, 1), RATE)
    (card / "wind.txt").write_text("wind")
    _, report = prepared(card)
    assert any(warning.startswith("5 windows share their captions with others in 2 recordings, 3 of them in rain.wav;")
               for warning in report.warnings)  # fmt: skip
    assert not any("share their captions" in warning for warning in prepared(card, windows="first")[1].warnings)


def texts(folder: Path, **captions: str) -> None:
    for name, caption in captions.items():
        (folder / f"{name}.txt").write_text(caption)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_files_named_by_a_second_give_windows_their_own_captions(
    card: Path, tmp_path: Path, processes: int, packed: bool
) -> None:
    (card / "RAIN.wav @ 15 s.txt").write_text("drizzle")
    texts(card, **{"rain@4,5": "thunder", "rain@4": "hail", "rain@11": "never", "wind@0": "wind", "snow@5": "snow"})
    for number in range(8):
        soundfile.write(card / f"x{number}.wav", rain(5, number + 2), RATE)
    source = tmp_path / "card.zip" if packed else card
    if packed:
        with zipfile.ZipFile(source, "w") as bundle:
            for path in card.iterdir():
                # Of a zip, texts may lie in another folder.
                bundle.write(path, f"texts/{path.name}" if path.suffix == ".txt" else path.name)
    folder = "texts/" if packed else ""
    report = inspect_dataset(source, windows="all", trigger_phrase="tin roof", processes=processes)
    said = {clip.name: (clip.caption, clip.caption_source) for clip in report.clips[:5]}
    assert said == {
        "rain.wav": ("tin roof heavy rain", f"{folder}rain.txt"),
        "rain.wav @ 5 s": ("tin roof thunder", f"{folder}rain@4,5.txt"),
        "rain.wav @ 10 s": ("tin roof thunder", f"{folder}rain@4,5.txt"),
        "rain.wav @ 15 s": ("tin roof drizzle", f"{folder}RAIN.wav @ 15 s.txt"),
        "wind.flac": ("tin roof wind", f"{folder}wind@0.txt"),
    }
    assert report.orphan_captions == [f"{folder}snow@5.txt"]
    # No window begins between the 4th second and 4.5, nor between the 11th and the 15th.
    assert (
        f"2 captions of later seconds are not used, such as {folder}rain@4.txt: no window begins between it and the "
        "next one, or the recording ends before."
    ) in report.warnings


def test_the_first_window_alone_has_none_of_later_seconds_and_the_report_says_so(card: Path) -> None:
    texts(card, **{"rain@5": "thunder"})
    report = inspect_dataset(card)
    assert [clip.caption for clip in report.clips] == ["heavy rain", ""]
    assert report.orphan_captions == []
    assert (
        "A caption of later seconds is not used, such as rain@5.txt: windows='all' makes clips of these, and so does "
        "soundlora prepare."
    ) in report.warnings
    assert not any("later seconds" in warning for warning in inspect_dataset(card, windows="all").warnings)


def test_files_and_rows_hold_up_to_the_next_one_of_either(card: Path) -> None:
    (card / "metadata.csv").write_text(TABLE)  # thunder from 4 s, drizzle from 15 s
    soundfile.write(card / "rain.wav", rain(31), RATE)
    texts(card, **{"rain@10": "hail", "rain@15": "snow", "rain@20": "", "rain@25": "wind"})
    clips, _ = prepared(card, caption_template="{caption}, {room}")
    said = ["heavy rain, hall", "thunder, hall", "hail, hall", "snow", "heavy rain, hall", "wind"]
    assert [clip.caption for clip in clips if clip.name.startswith("rain")] == said


def test_a_clip_that_is_called_so_keeps_its_caption(card: Path) -> None:
    soundfile.write(card / "rain@5.wav", rain(6, 5), RATE)
    texts(card, **{"rain@5": "sleet", "rain@x": "no", "rain@-5": "no", "rain@1e9": "no", "@5": "no"})
    report = inspect_dataset(card, windows="all")
    said = {clip.name: clip.caption for clip in report.kept}
    assert (said["rain@5.wav"], said["rain.wav @ 5 s"]) == ("sleet", "heavy rain")
    assert report.orphan_captions == ["@5.txt", "rain@-5.txt", "rain@1e9.txt", "rain@x.txt"]


def test_clips_with_partners_have_no_captions_of_later_seconds(card: Path) -> None:
    for stem in ("rain", "wind"):
        (card / f"{stem}_mask.json").write_text("[[0, 1]]")
    texts(card, **{"rain@5": "thunder"})
    assert inspect_dataset(card, partner="spans").orphan_captions == ["rain@5.txt"]
