"""The whole way from a zip or a folder to clips and their report."""

import base64
import hashlib
import json
import os
import signal
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import MakeTone, MakeWav, WriteAudio, WriteZip

from soundlora.dataset import (
    Clip,
    ClipsTooShortError,
    DatasetError,
    DuplicateNameError,
    InvalidArchiveError,
    NoAudioError,
    UndecodableError,
    decode,
    inspect_dataset,
    prepare,
    refusal,
)
from soundlora.dataset.decode import Audio
from soundlora.dataset.report import DatasetReport
from soundlora.errors import InputError
from soundlora.net.download import FileDownloadError
from soundlora.wording import command_line_words, wording


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


def clips_of(source: str | Path, **settings: Any) -> tuple[list[Clip], DatasetReport]:
    """Return the clips that `prepare` hands over, and its report."""
    clips: list[Clip] = []
    report = prepare(source, duration=settings.pop("duration", 0.5), on_clip=clips.append, **settings)
    return clips, report


@pytest.fixture
def mixed(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> Path:
    """A zip with one clip of each fate."""
    return write_zip(
        tmp_path / "mixed.zip",
        {
            "b/long.wav": wav(0.9, channels=2),
            "a/exact.wav": wav(0.5),
            "a/exact.txt": b"zvk a dog\r\nbarks",
            "short.wav": wav(0.3),
            "silent.wav": wav(0.6, peak=0.0),
            "broken.mp3": b"this is no mp3",
            "empty.txt": b"",
            "stray.txt": b"whose am I?",
            "cover.png": b"png",
        },
    )


def test_each_clip_is_handed_over_in_order_with_its_sound_caption_and_hash(mixed: Path, wav: MakeWav) -> None:
    clips, report = clips_of(mixed, trigger_phrase="zvk")
    exact, long = clips
    assert (exact.name, long.name) == ("a/exact.wav", "b/long.wav")
    assert (exact.caption, long.caption) == ("zvk a dog barks", "zvk")
    assert exact.sha256 == hashlib.sha256(wav(0.5)).hexdigest()
    assert exact.samples.shape == (1, 8_000)
    assert long.samples.shape == (2, 8_000)
    assert long.sample_rate == 16_000
    for clip in clips:
        assert clip.samples.dtype == np.float32
        assert 20 * np.log10(np.abs(clip.samples).max()) == pytest.approx(-0.1, abs=0.01)
    assert [clip.report for clip in clips] == report.kept


def test_the_report_gives_every_clip_its_fate(mixed: Path) -> None:
    report = inspect_dataset(mixed, duration=0.5, trigger_phrase="zvk")
    fates = {clip.name: (clip.status, clip.problem, clip.reason) for clip in report.clips}
    assert list(fates) == ["a/exact.wav", "b/long.wav", "broken.mp3", "short.wav", "silent.wav"]
    assert fates["a/exact.wav"] == ("kept", None, None)
    assert fates["b/long.wav"] == ("kept", None, None)
    assert fates["broken.mp3"][:2] == ("skipped", "undecodable")
    assert "its content is not audio that can be decoded" in str(fates["broken.mp3"][2])
    assert fates["short.wav"] == ("skipped", "too_short", "it is 0.30 s long, shorter than the bucket of 0.5 s")
    assert fates["silent.wav"] == ("skipped", "silent", "it is silent: no sample of it is above -96 dBFS")
    long = report.clips[1]
    assert (long.seconds, long.used_seconds, long.sample_rate, long.channels) == (0.9, 0.5, 16_000, 2)
    assert (long.codec, long.layout) == ("pcm_s16le", "stereo")
    assert long.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert (report.clips[0].caption_source, long.caption_source) == ("a/exact.txt", None)
    assert long.warnings == ["it has no caption: the trigger phrase stands alone"]
    assert long.loudness_lufs == pytest.approx(-7.05, abs=0.1)
    assert (long.silence_start_seconds, long.silence_end_seconds, long.clipped_share) == (0, 0, 0)
    assert report.orphan_captions == ["empty.txt", "stray.txt"]
    assert report.total_seconds == 1.0
    assert report.warnings == [
        "Only 2 clips will be trained on; 10 or more are advised.",
        "1 of 2 clips have no caption, the others do: b/long.wav.",
        "Ignored, neither audio nor captions: cover.png.",
        "1 clip has no caption but carries words, such as 'long' (file name of b/long.wav); --captions-from all uses "
        "them.",
    ]
    assert refusal(report) is None
    json.dumps(report.to_json(), allow_nan=False)


def test_prepare_and_inspect_agree_and_so_do_zip_and_folder(mixed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(mixed) as bundle:
        bundle.extractall(tmp_path / "folder")
    from_zip, zip_report = clips_of(mixed)
    from_folder, folder_report = clips_of(str(tmp_path / "folder"))
    assert zip_report == inspect_dataset(mixed, duration=0.5)
    assert zip_report.clips == folder_report.clips
    for left, right in zip(from_zip, from_folder, strict=True):
        assert left.sha256 == right.sha256
        assert np.array_equal(left.samples, right.samples)


def test_nothing_of_an_archive_stays_or_keeps_its_name(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace = tmp_path / "temporary"
    workplace.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    seen: set[str] = set()
    prepare(mixed, duration=0.5, on_clip=lambda clip: seen.update(p.name for p in workplace.rglob("*") if p.is_file()))
    assert seen == set()  # A clip is deleted as soon as it is decoded.
    assert list(workplace.iterdir()) == []


def test_the_settings_reach_the_clips(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    source = write_zip(tmp_path / "a.zip", {"a.wav": wav(0.48)})
    (plain,), _ = clips_of(source, normalize=False, preserve_pitch=False)
    assert not plain.samples[:, 7_680:].any()
    assert np.abs(plain.samples).max() == pytest.approx(0.5, abs=0.001)
    (stretched,), _ = clips_of(source, normalize=False, preserve_pitch=True)
    assert np.abs(stretched.samples[:, 7_680:]).max() > 0.1
    (longer,), _ = clips_of(source, duration=0.25)
    assert longer.samples.shape == (1, 4_000)


@pytest.mark.parametrize(
    ("members", "caption", "warning"),
    [
        ({"a.txt": b""}, "", "its caption a.txt is empty: it is trained with an empty caption"),
        ({}, "", "it has no caption: it is trained with an empty caption"),
        (
            {"a.txt": b"ab " * 2_000},
            ("ab " * 1_333).strip(),
            "its caption is longer than 4000 characters and was cut there",
        ),
    ],
)
def test_captions_that_are_missing_or_too_long_are_warned_about(
    members: dict[str, bytes], caption: str, warning: str, tmp_path: Path, wav: MakeWav, write_zip: WriteZip
) -> None:
    (clip,), _ = clips_of(write_zip(tmp_path / "a.zip", {"a.wav": wav(), **members}))
    assert clip.caption == caption
    assert clip.report.warnings == [warning]


def test_an_endless_caption_is_read_in_part_only(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    endless = ("雨の音" * 100_000).encode()
    (clip,), _ = clips_of(write_zip(tmp_path / "a.zip", {"a.wav": wav(), "a.txt": endless}))
    assert clip.caption == ("雨の音" * 2_000)[:4_000]


def test_a_cut_clip_that_fills_the_bucket_is_kept_with_a_warning(
    tmp_path: Path, wav: MakeWav, write_zip: WriteZip
) -> None:
    source = write_zip(tmp_path / "a.zip", {"a.wav": wav(1.0)[:24_000], "a.txt": b"x"})
    (clip,), _ = clips_of(source)
    assert clip.report.warnings == ["it is cut off or damaged: 0.75 s are there of the 1.00 s it claims"]


def test_a_cut_clip_that_states_no_length_is_kept_with_a_warning(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, write_zip: WriteZip
) -> None:
    path = write_audio(tmp_path / "a.aac", tone(1.0, 44_100), 44_100, codec="aac")
    source = write_zip(tmp_path / "a.zip", {"a.aac": path.read_bytes()[:-30], "a.txt": b"x"})
    (clip,), _ = clips_of(source)
    assert "its end is missing: 1.0" in clip.report.warnings[0]


def test_the_report_names_the_files_own_sample_rate(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    write_audio(tmp_path / "a.wav", tone(0.6, 44_101), 44_101)
    (clip,), report = clips_of(tmp_path)
    assert (report.clips[0].sample_rate, clip.sample_rate) == (44_101, 48_000)
    assert clip.samples.shape == (1, 24_000)


def test_warnings_about_the_set_as_a_whole(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    members = {f"{number:02}.wav": wav(0.5 + number / 100) for number in range(10)}
    loud, quiet = wav(0.5, frequency=200), wav(0.5, frequency=300, peak=0.05)
    members |= {"loud.wav": loud, "loud_copy.wav": loud, "quiet.wav": quiet}
    captions = {name.replace(".wav", ".txt"): b"a tone" for name in members}
    source = write_zip(tmp_path / "a.zip", members | captions)
    report = inspect_dataset(source, duration=0.5, normalize=False)
    assert report.warnings == [
        "The clips differ by 20 dB in loudness, from quiet.wav to 00.wav; normalising evens their peaks.",
        "All captions are alike; the model learns to tell sounds apart only where captions differ.",
        "The same sound is there 10 times: 00.wav, 01.wav, 02.wav, 03.wav, 04.wav and 5 more; it will be learned as "
        "often.",
        "The same sound is there 2 times: loud.wav, loud_copy.wav; it will be learned as often.",
    ]
    assert report.duplicates[1] == ["loud.wav", "loud_copy.wav"]
    long = inspect_dataset(source, duration=20.5).warnings
    assert long[0] == "The bucket of 20.5 s is long: the base was trained on up to 20 s."


def test_the_same_sound_is_known_in_another_format_and_when_it_is_too_short(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    for name, codec in (("a.wav", "pcm_s16le"), ("b.flac", "flac")):
        write_audio(tmp_path / name, tone(0.6, 44_100), 44_100, codec=codec)
    write_audio(tmp_path / "d.wav", tone(0.6, 44_100, frequency=441), 44_100)
    for duration in (0.5, 5.0):
        assert inspect_dataset(tmp_path, duration=duration).duplicates == [["a.wav", "b.flac"]]


def test_every_other_file_is_listed_with_its_reason(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    names = ["cover.png", "__MACOSX/._a.wav", ".hidden/b.wav", "Thumbs.db"]
    source = write_zip(tmp_path / "a.zip", {"a.wav": wav()} | dict.fromkeys(names, b"x"))
    with zipfile.ZipFile(source) as bundle:
        bundle.extractall(tmp_path / "folder")
    for path in (source, tmp_path / "folder"):
        reasons = {file.name: file.reason for file in inspect_dataset(path, duration=0.5).ignored}
        assert reasons.pop("cover.png") == "it is neither audio nor a caption"
        assert set(reasons.values()) == {"it is hidden, or a system's own file"}
        assert len(reasons) == 3


def test_what_on_clip_raises_comes_through_and_nothing_stays(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail(clip: Clip) -> None:
        raise RuntimeError(clip.name)

    with pytest.raises(RuntimeError, match="exact"):
        prepare(mixed, duration=0.5, on_clip=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["mixed.zip"]


def error_of(source: str | Path, duration: float = 0.5) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        prepare(source, duration=duration, on_clip=lambda clip: None)
    report = inspect_dataset(source, duration=duration)
    assert caught.value.report == report
    assert str(refusal(report)) == str(caught.value)
    assert isinstance(caught.value, InputError)
    json.dumps(caught.value.ctx)
    return caught.value


def test_no_audio_at_all(tmp_path: Path, write_zip: WriteZip) -> None:
    error = error_of(write_zip(tmp_path / "a.zip", {"film.avi": b"x", "a.txt": b"x"}))
    assert isinstance(error, NoAudioError)
    assert str(error) == ("a.zip holds no audio file; put .wav, .flac, .mp3, .m4a, .aiff or other audio files in it.")
    assert error.report.orphan_captions == ["a.txt"]
    assert error.type == "archive_file_count_below_minimum"
    assert (error.ctx["min_count"], error.ctx["provided_count"]) == (1, 0)
    assert ".wav" in error.ctx["supported_extensions"]
    assert isinstance(error_of(tmp_path), NoAudioError)


def test_all_too_short(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    members = {"a.wav": wav(0.9), "b.wav": wav(1.3), "c.wav": wav(1.26), "bad.wav": b"x"}
    error = error_of(write_zip(tmp_path / "a.zip", members), duration=5.0)
    assert isinstance(error, ClipsTooShortError)
    assert str(error) == (
        "No clip of a.zip fills the bucket of 5 s, the longest, b.wav, is 1.30 s long; "
        "use --duration 0.9 (0.9 s keeps 3 of 3 clips, 3 s of sound), or for text to audio --short pad, "
        "which fills clips with silence."
    )
    assert (error.bucket, error.longest) == (5.0, 1.3)
    assert (error.type, error.ctx) == ("audio_duration_too_short", {"min_duration": 5.0, "provided_duration": 1.3})


def test_all_too_short_for_any_bucket(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    error = error_of(write_zip(tmp_path / "a.zip", {"a.wav": wav(0.2)}))
    assert str(error).endswith(
        "is 0.20 s long; use for text to audio --short pad, which fills clips with silence, or clips of at least 0.5 s."
    )


def test_clips_go_into_several_buckets(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{n}.wav": wav(length) for n, length in enumerate((0.3, 0.6, 1.1, 2.5))})
    clips, report = clips_of(path, duration=2.0, shorter_durations=(0.5, 1.0))
    assert [(clip.name, clip.bucket, clip.samples.shape[1]) for clip in clips] == [
        ("1.wav", 0.5, 8_000),
        ("2.wav", 1.0, 16_000),
        ("3.wav", 2.0, 32_000),
    ]
    assert [clip.bucket for clip in report.clips] == [None, 0.5, 1.0, 2.0]
    assert report.clips[0].reason == "it is 0.30 s long, shorter than the bucket of 0.5 s"
    assert report.total_seconds == 3.5


def test_short_clips_are_padded_in_the_shortest_bucket(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{n}.wav": wav(length) for n, length in enumerate((0.05, 0.3, 2.5))})
    clips, report = clips_of(path, duration=2.0, shorter_durations=(1.0,), short="pad")
    assert [(clip.name, clip.bucket, clip.used_seconds) for clip in clips] == [("1.wav", 1.0, 0.3), ("2.wav", 2.0, 2.0)]
    assert [clip.problem for clip in report.clips] == ["too_short", None, None]
    assert any(warning.startswith("1 of 2 clips is filled with silence") for warning in report.warnings)


def test_none_decodable(tmp_path: Path, write_zip: WriteZip) -> None:
    error = error_of(write_zip(tmp_path / "a.zip", {"a.wav": b"x", "b.wav": b"y"}))
    assert isinstance(error, UndecodableError)
    assert error.type == "unsupported_audio_format"
    assert ".flac" in error.ctx["supported_formats"]
    assert str(error).startswith("None of the 2 audio files in a.zip can be decoded (a.wav: its content is not audio")


def test_all_silent(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    error = error_of(write_zip(tmp_path / "a.zip", {"a.wav": wav(peak=0.0)}))
    assert type(error) is DatasetError
    assert "can be used (a.wav: it is silent" in str(error)


def test_what_cannot_be_read_raises_in_both(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    duplicates = write_zip(tmp_path / "a.zip", {"a.wav": wav(), "x/a.wav": wav()})
    damaged = write_zip(tmp_path / "b.zip", {"a.wav": wav()})
    content = bytearray(damaged.read_bytes())
    content[300:340] = bytes(40)
    damaged.write_bytes(content)
    for source, kind, name in (
        (duplicates, DuplicateNameError, "value_error"),
        (damaged, InvalidArchiveError, "invalid_archive"),
        (tmp_path / "none", InvalidArchiveError, "invalid_archive"),
        ("data:;base64,!", FileDownloadError, "file_download_error"),
    ):
        with pytest.raises(kind) as caught:
            inspect_dataset(source)
        assert caught.value.type == name
        with pytest.raises(kind):
            prepare(source, duration=0.5, on_clip=lambda clip: None)


def test_a_data_uri_is_a_source_like_any_other(mixed: Path) -> None:
    uri = "data:application/zip;base64," + base64.b64encode(mixed.read_bytes()).decode()
    report = inspect_dataset(uri, duration=0.5)
    assert report.clips == inspect_dataset(mixed, duration=0.5).clips
    assert report.source == "data: URI"


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), 0.05])
def test_a_bucket_that_is_no_length_is_refused(duration: float, mixed: Path) -> None:
    with pytest.raises(InputError, match=r"but it must be at least 0\.1 s"):
        inspect_dataset(mixed, duration=duration)


@pytest.fixture
def many(wav: MakeWav, mixed: Path) -> dict[str, bytes]:
    """The members of `mixed` and twelve clips more, of which two are alike."""
    with zipfile.ZipFile(mixed) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    return members | {f"more/{number:02}.wav": wav(0.6, frequency=200 + number // 2 * 2) for number in range(12)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_several_processes_give_the_same_report(
    many: dict[str, bytes], tmp_path: Path, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_zip(tmp_path / "many.zip", many)
    with zipfile.ZipFile(source) as bundle:
        bundle.extractall(tmp_path / "folder")
    forks = []
    fork = os.fork

    def counted() -> int:
        forks.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    for data in (source, tmp_path / "folder"):
        alone = inspect_dataset(data, duration=0.5)
        assert not forks
        assert inspect_dataset(data, duration=0.5, processes=3) == alone
        assert len(forks) == 2
        forks.clear()
    assert len(alone.duplicates) == 6
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_that_dies_costs_nothing_of_the_report(
    many: dict[str, bytes], tmp_path: Path, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_zip(tmp_path / "many.zip", many)
    alone = inspect_dataset(source, duration=0.5)
    module, here = sys.modules["soundlora.dataset.sound"], os.getpid()

    def fatal(path: Path, seconds: float | None) -> Audio:
        if os.getpid() != here and "clip" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(path, seconds)

    monkeypatch.setattr(module, "decode", fatal)
    assert inspect_dataset(source, duration=0.5, processes=2) == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_damage_is_told_whichever_process_meets_it(many: dict[str, bytes], tmp_path: Path, write_zip: WriteZip) -> None:
    for damaged in ("more/04.wav", "more/05.wav"):
        source = write_zip(tmp_path / "many.zip", many)
        with zipfile.ZipFile(source) as bundle:
            place = bundle.getinfo(damaged).header_offset + 30 + len(damaged) + 200
        raw = bytearray(source.read_bytes())
        raw[place] ^= 0xFF
        source.write_bytes(raw)
        with pytest.raises(InvalidArchiveError, match=damaged):
            inspect_dataset(source, duration=0.5, processes=2)


@pytest.mark.parametrize("shorter", [5.0, 9.0])
def test_a_look_at_a_data_set_refuses_the_buckets_that_a_training_refuses(clips: Path, shorter: float) -> None:
    with pytest.raises(InputError, match="which is not less than --duration, 5 s") as refused:
        inspect_dataset(clips, duration=5.0, shorter_durations=[shorter])
    assert refused.value.field == "shorter_durations"


def test_a_bucket_that_no_latent_fills_is_a_matter_of_the_duration(clips: Path) -> None:
    with pytest.raises(InputError, match=r"must be at least 0\.1 s") as refused:
        inspect_dataset(clips, duration=0.01)
    assert refused.value.field == "duration"
