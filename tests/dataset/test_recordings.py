"""Recordings become clips: what is in them, what stands beside them, and what is never written over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support import MakeTone, WriteAudio

from soundlora.dataset import clip_files, inspect_dataset
from soundlora.dataset.recordings import prepare_recordings
from soundlora.errors import InputError

RATE = 48_000


def rain(seconds: float, *, level: float = 0.1, seed: int = 0, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, (round(seconds * rate), 2)).clip(-0.8, 0.8)


def recording(path: Path, samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype)
    return path


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A folder with a minute of rain, of which ten seconds are silent, and its caption."""
    samples = rain(60)
    samples[20 * RATE : 30 * RATE] = 0
    recording(tmp_path / "card" / "rain.wav", samples, "PCM_24")
    (tmp_path / "card" / "rain.txt").write_text("heavy rain on a roof\n")
    return tmp_path / "card"


def test_a_recording_becomes_clips_with_captions(card: Path, tmp_path: Path) -> None:
    done = prepare_recordings(card, tmp_path / "out")

    assert (done.written, done.there, done.plan.clips) == (10, 0, 10)
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == sorted(
        ["prepared.json"] + [f"rain_{number:03d}.{suffix}" for number in range(1, 11) for suffix in ("wav", "txt")]
    )
    assert (tmp_path / "out" / "rain_004.txt").read_text() == "heavy rain on a roof\n"
    report = inspect_dataset(tmp_path / "out")
    assert len(report.kept) == 10
    assert {clip.caption for clip in report.clips} == {"heavy rain on a roof"}
    assert not any("prepared.json" in warning for warning in report.warnings)


def test_rows_with_an_offset_are_the_captions_of_the_pieces_from_there_on(card: Path, tmp_path: Path) -> None:
    (card / "metadata.csv").write_text("file_name,offset,text\nrain.wav,18,hail\nrain.wav,40,drizzle\n")
    prepare_recordings(card, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "prepared.json").read_text())
    pieces = [piece for piece in plan["recordings"][0]["pieces"] if "clip" in piece]
    expected = {
        piece["clip"]: "drizzle"
        if piece["offset"] >= 40
        else "hail"
        if piece["offset"] >= 18
        else "heavy rain on a roof"
        for piece in pieces
    }
    assert len(set(expected.values())) == 3
    written = {path.with_suffix(".wav").name: path.read_text().strip() for path in (tmp_path / "out").glob("*.txt")}
    assert written == expected


def test_what_a_recording_carries_becomes_the_captions(tmp_path: Path) -> None:
    described = recording(tmp_path / "card" / "ZOOM0001.wav", rain(11))
    chunk = b"bext" + (602).to_bytes(4, "little") + b"rain on a tin roof".ljust(602, b"\0")
    described.write_bytes(described.read_bytes() + chunk)
    recording(tmp_path / "card" / "ZOOM0002.wav", rain(11, seed=1))
    recording(tmp_path / "card" / "gravel_steps_03.wav", rain(11, seed=2))

    prepare_recordings(tmp_path / "card", tmp_path / "out")

    captions = {path.name: path.read_text() for path in (tmp_path / "out").glob("*_001.txt")}
    assert captions == {"ZOOM0001_001.txt": "rain on a tin roof\n", "gravel_steps_03_001.txt": "gravel steps\n"}

    prepare_recordings(described, tmp_path / "alone")
    assert (tmp_path / "alone" / "ZOOM0001_002.txt").read_text() == "rain on a tin roof\n"


@pytest.mark.parametrize("format", ["wav", "flac"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_samples_stay_as_they_are_between_the_fades(tmp_path: Path, format: Any, subtype: str) -> None:
    source = recording(tmp_path / "card" / "rain.wav", rain(17, rate=44_100), subtype, 44_100)
    whole, _ = soundfile.read(source, dtype="int32")

    done = prepare_recordings(source, tmp_path / "out", format=format)

    [planned] = done.plan.recordings
    assert len(planned.clips) == 3
    for piece in planned.clips:
        path = tmp_path / "out" / piece.clip
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == (format.upper(), subtype, 44_100, 2)
        clip, _ = soundfile.read(path, dtype="int32")
        fade = round(0.005 * 44_100)
        assert np.array_equal(clip[fade:-fade], whole[piece.start + fade : piece.end - fade])
        assert len(clip) == 220_500
        if piece.start:
            assert (np.abs(clip[:fade].astype(float)) <= np.abs(whole[piece.start : piece.start + fade]) + 2**16).all()
            assert abs(clip[0].astype(float)).max() <= 2**20
        else:
            # Where nothing is cut nothing is faded.
            assert np.array_equal(clip[:fade], whole[:fade])


@pytest.mark.parametrize(
    ("subtype", "format", "expected"),
    [
        ("PCM_32", "wav", ("WAV", "PCM_32")),
        ("FLOAT", "wav", ("WAV", "FLOAT")),
        ("DOUBLE", "wav", ("WAV", "DOUBLE")),
        ("FLOAT", "flac", ("WAV", "FLOAT")),
        ("PCM_32", "flac", ("WAV", "PCM_32")),
        ("PCM_U8", "wav", ("WAV", "PCM_16")),
    ],
)
def test_no_sample_loses_bits(tmp_path: Path, subtype: str, format: Any, expected: tuple[str, str]) -> None:
    source = recording(tmp_path / "card" / "rain.wav", rain(5), subtype)

    done = prepare_recordings(source, tmp_path / "out", format=format)

    path = tmp_path / "out" / done.plan.recordings[0].clips[0].clip
    info = soundfile.info(path)
    assert (info.format, info.subtype) == expected
    assert np.array_equal(soundfile.read(path)[0], soundfile.read(source)[0])
    assert bool(done.plan.recordings[0].notes) == (format == "flac")


@pytest.mark.parametrize(
    ("name", "codec", "format", "expected"),
    [
        ("rain.mp3", "libmp3lame", "wav", "FLOAT"),
        ("rain.mp3", "libmp3lame", "flac", "PCM_24"),
        ("rain.ogg", "vorbis", "wav", "FLOAT"),
        ("rain.m4a", "alac", "wav", "PCM_24"),
    ],
)
def test_what_was_coded_with_losses_is_not_coded_so_again(
    tmp_path: Path, write_audio: WriteAudio, name: str, codec: str, format: Any, expected: str
) -> None:
    source = write_audio(tmp_path / name, rain(6).T.astype(np.float32), RATE, codec=codec)

    done = prepare_recordings(source, tmp_path / "out", format=format)

    info = soundfile.info(tmp_path / "out" / done.plan.recordings[0].clips[0].clip)
    assert (info.format, info.subtype) == (format.upper(), expected)


def test_every_piece_that_is_left_out_has_its_reason(tmp_path: Path) -> None:
    samples = rain(60)
    samples[10 * RATE : 20 * RATE] = 0
    samples[22 * RATE : 32 * RATE] *= 0.01
    samples[35 * RATE : 40 * RATE] = np.clip(samples[35 * RATE : 40 * RATE] * 30, -0.99, 0.99)
    samples[50 * RATE :] = samples[: 10 * RATE]
    source = recording(tmp_path / "card" / "rain.wav", samples)

    done = prepare_recordings(source, None, silence=-70)

    left_out = done.plan.left_out()
    assert left_out.keys() == {"silence", "too quiet", "clipped", "duplicate", "rest"}
    assert left_out["silence"] == pytest.approx(9.87)
    assert left_out["duplicate"] == pytest.approx(10)
    assert sum(left_out.values()) + done.plan.seconds == pytest.approx(60)
    assert "it sounds as rain.wav at 0.0 s does" in {piece.why for piece in done.plan.recordings[0].pieces}
    kept = prepare_recordings(source, None, silence=-70, keep_duplicates=True, keep_clipped=True, quietest=-70)
    assert kept.plan.left_out().keys() == {"silence", "rest"}


def test_a_copy_of_a_recording_is_left_out(card: Path, tmp_path: Path) -> None:
    (card / "copy.wav").write_bytes((card / "rain.wav").read_bytes())

    done = prepare_recordings(card, None)

    assert [len(each.clips) for each in done.plan.recordings] == [10, 0]
    assert done.plan.recordings[1].left_out()["duplicate"] == 10 * 5 * RATE


def test_a_zip_and_a_single_file_are_prepared_as_a_folder_is(card: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as bundle:
        for path in card.iterdir():
            bundle.write(path, path.name)
    wanted = prepare_recordings(card, tmp_path / "out").plan

    for source in (tmp_path / "card.zip", card / "rain.wav"):
        done = prepare_recordings(source, tmp_path / f"of_{source.suffix[1:]}")
        assert done.plan == wanted
        one, other = (folder / "rain_007.wav" for folder in (done.folder, tmp_path / "out") if folder)
        assert one.read_bytes() == other.read_bytes()


def test_a_recording_that_cannot_be_read_is_named(card: Path) -> None:
    (card / "broken.wav").write_bytes(b"no sound")

    done = prepare_recordings(card, None)

    assert done.plan.recordings[0].source == "broken.wav"
    assert "not audio" in done.plan.recordings[0].problem
    assert done.plan.clips == 10


def test_an_interrupted_run_leaves_no_half_clip_and_goes_on(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    take, taken = clip_files._Clip.take, 0

    def stop(self: Any, block: np.ndarray, done: int) -> bool:
        nonlocal taken
        taken += 1
        if taken == 20:
            raise KeyboardInterrupt
        return take(self, block, done)

    with monkeypatch.context() as patched:
        patched.setattr(clip_files._Clip, "take", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_recordings(card, out)
    left = {path.name for path in out.iterdir() if path.suffix != ".txt"}
    assert "prepared.json" in left
    assert 1 < len(left) < 10
    assert not any(name.endswith(".partial") for name in left)
    assert all(soundfile.info(out / name).frames == 5 * RATE for name in left - {"prepared.json"})
    (out / "rain_009.wav.0123abcd.partial").write_bytes(b"of a run that was killed")

    done = prepare_recordings(card, out)

    assert (done.written, done.there) == (10 - (len(left) - 1), len(left) - 1)
    assert {path.suffix for path in out.iterdir()} == {".wav", ".txt", ".json"}
    whole = prepare_recordings(card, tmp_path / "whole")
    assert whole.folder is not None
    for path in whole.folder.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


KILLED = """
import os, signal, sys
from soundlora.dataset import clip_files
from soundlora.dataset.recordings import prepare_recordings
take, taken = clip_files._Clip.take, 0
def stop(self, block, done):
    global taken
    taken += 1
    if taken == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, block, done)
clip_files._Clip.take = stop
prepare_recordings(sys.argv[1], sys.argv[2], format=sys.argv[4])
"""


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(
    card: Path, tmp_path: Path, format: Any
) -> None:
    out, halves = tmp_path / "out", 0
    for moment in (1, 7, 8, 13):
        command = [sys.executable, "-c", KILLED, str(card), str(out), str(moment), format]
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
        halves += len(list(out.glob("*.partial")))
    assert halves == 4
    there = {path.name for path in out.glob(f"*.{format}")}
    assert 1 < len(there) < 10

    done = prepare_recordings(card, out, format=format)

    assert (done.written, done.there) == (10 - len(there), len(there))
    whole = prepare_recordings(card, tmp_path / "whole", format=format).folder
    assert whole is not None
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_a_clip_whose_end_is_missing_is_written_again(card: Path, tmp_path: Path) -> None:
    prepare_recordings(card, tmp_path / "out", format="flac")
    cut = tmp_path / "out" / "rain_004.flac"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-3000])
    assert soundfile.info(cut).frames == 5 * RATE

    assert prepare_recordings(card, tmp_path / "out", format="flac").written == 1
    assert cut.read_bytes() == whole


def test_a_caption_that_was_edited_stays(card: Path, tmp_path: Path) -> None:
    prepare_recordings(card, tmp_path / "out")
    (tmp_path / "out" / "rain_002.txt").write_text("rain, and a door")
    (tmp_path / "out" / "rain_003.wav").unlink()

    done = prepare_recordings(card, tmp_path / "out")

    assert (done.written, done.there) == (1, 9)
    assert (tmp_path / "out" / "rain_002.txt").read_text() == "rain, and a door"


def test_an_edited_plan_is_done_as_it_stands(card: Path, tmp_path: Path) -> None:
    prepare_recordings(card, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "prepared.json").read_text())
    plan["recordings"][0]["pieces"] = [
        {"offset": 1.5, "length": 2.25, "clip": "drops.wav", "caption": "single drops"},
        {"offset": 3.0, "length": 4.0},
    ]
    (tmp_path / "edited.json").write_text(json.dumps(plan))

    done = prepare_recordings(card, tmp_path / "again", plan=tmp_path / "edited.json")

    assert done.written == 2
    whole, _ = soundfile.read(card / "rain.wav", dtype="int32")
    for name, start, end in (("drops.wav", 72_000, 180_000), ("rain_002.wav", 144_000, 336_000)):
        clip, _ = soundfile.read(tmp_path / "again" / name, dtype="int32")
        assert np.array_equal(clip[240:-240], whole[start + 240 : end - 240])
    assert (tmp_path / "again" / "drops.txt").read_text() == "single drops\n"
    assert (tmp_path / "again" / "rain_002.txt").read_text() == "heavy rain on a roof\n"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5, 1.0, 4.97, 5.0, 9.9, 60.0, 600.0])
def test_recordings_of_any_length(tmp_path: Path, seconds: float) -> None:
    source = recording(tmp_path / "card" / "rain.wav", rain(seconds, rate=8_000), rate=8_000)

    if seconds < 4.96:
        with pytest.raises(InputError, match="too short"):
            prepare_recordings(source, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert prepare_recordings(source, tmp_path / "out", duration=0.1).plan.clips == round(seconds * 10)
    else:
        done = prepare_recordings(source, tmp_path / "out")
        assert done.written == max(1, int(seconds // 5))
        assert done.plan.seconds == pytest.approx(min(seconds, done.written * 5))


def test_a_dc_offset_does_not_hide_silence_and_stays_in_the_clips(tmp_path: Path) -> None:
    samples = np.zeros((30 * RATE, 2))
    samples[12 * RATE : 18 * RATE] = rain(6)
    source = recording(tmp_path / "card" / "rain.wav", samples + 0.02)

    done = prepare_recordings(source, tmp_path / "out")

    [planned] = done.plan.recordings
    assert planned.notes == ("it has a DC offset of 2.0% of full scale, which its clips keep: a high-pass removes it",)
    assert planned.left_out()["silence"] / RATE == pytest.approx(23.87)
    assert soundfile.read(tmp_path / "out" / planned.clips[0].clip)[0].mean() == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize(
    ("gains", "note"), [((1, 0), "right"), ((0.0005, 1), "left"), ((1, 0.01), ""), ((0.5, 0.5), "")]
)
def test_a_silent_side_is_told(tmp_path: Path, gains: tuple[float, float], note: str) -> None:
    source = recording(tmp_path / "card" / "rain.wav", rain(12) * gains, "PCM_24")

    [planned] = prepare_recordings(source, None).plan.recordings

    wanted = f"its {note} channel is silent, and so it is in its clips; save it as mono unless that is meant"
    assert planned.notes == ((wanted,) if note else ())


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a range that is upside down": ({"shortest": 5, "longest": 2}, "shortest is 5, above longest, which is 2"),
    "half a range": ({"shortest": 5}, "longest is missing"),
    "too long": ({"duration": 61}, "duration is 61, but it must be from 0.1 to 60"),
    "too short": ({"duration": 0.01}, "duration is 0.01"),
    "no number": ({"duration": float("nan")}, "duration is nan"),
    "a level above full scale": ({"silence": 3}, "silence is 3, but it must be from -120 to 0"),
    "a long fade": ({"fade": 2}, "fade is 2, but it must be from 0 to 0.1"),
    "another format": ({"format": "mp3"}, "format is 'mp3', but it must be wav or flac"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_settings_that_cannot_be_are_refused(card: Path, tmp_path: Path, name: str) -> None:
    settings, words = REFUSALS[name]

    with pytest.raises(InputError) as refused:
        prepare_recordings(card, tmp_path / "out", **settings)

    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_nothing_that_stands_in_the_folder_is_written_over(card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "rain_003.txt").write_text("mine")

    with pytest.raises(InputError, match=r"rain_003\.txt stands in .*out already"):
        prepare_recordings(card, out)

    assert [path.name for path in out.iterdir()] == ["rain_003.txt"]
    (out / "rain_003.txt").rename(out / "other.txt")
    prepare_recordings(card, out)
    with pytest.raises(InputError, match="with other settings"):
        prepare_recordings(card, out, duration=4)


@pytest.mark.parametrize("place", [".", "clips", ".."])
def test_the_folder_lies_apart_from_the_data(card: Path, place: str) -> None:
    with pytest.raises(InputError, match="name a folder elsewhere with out="):
        prepare_recordings(card, card / place)


def test_a_file_is_no_folder(card: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")

    with pytest.raises(InputError, match="is a file"):
        prepare_recordings(card, tmp_path / "out")


def test_a_plan_in_the_folder_is_refused(card: Path, tmp_path: Path) -> None:
    prepare_recordings(card, tmp_path / "out")

    with pytest.raises(InputError, match="name a new folder"):
        prepare_recordings(card, tmp_path / "out", plan=tmp_path / "out" / "prepared.json")


def test_a_plan_of_other_recordings_is_refused(card: Path, tmp_path: Path, tone: MakeTone) -> None:
    prepare_recordings(card, tmp_path / "out")
    plan = tmp_path / "out" / "prepared.json"
    recording(card / "rain.wav", rain(60), rate=44_100)
    with pytest.raises(InputError, match="has changed since the plan was made"):
        prepare_recordings(card, tmp_path / "again", plan=plan)
    recording(card / "rain.wav", rain(30))
    with pytest.raises(InputError, match="has changed since the plan was made"):
        prepare_recordings(card, tmp_path / "other", plan=plan)
    assert not any(path.name.endswith(".partial") for path in (tmp_path / "other").iterdir())
    (card / "rain.wav").rename(card / "snow.wav")
    with pytest.raises(InputError, match=r"rain\.wav is not in the data any more"):
        prepare_recordings(card, tmp_path / "third", plan=plan)


@pytest.mark.parametrize(
    ("samples", "settings", "words"),
    [
        (rain(20, level=0.0001), {}, "20.0 s are silence; lower silence=-80"),
        (rain(20, level=0.0001), {"silence": -20}, "20.0 s are silence; lower silence=-40"),
        (np.zeros((20 * RATE, 2)), {}, "no sample in it is above -120 dBFS; use recordings with sound"),
        (rain(20, level=0.0001), {"silence": -120, "quietest": 0}, "are too quiet; lower quietest=-20"),
        (rain(20, level=0.0015), {}, "20.0 s are too quiet; lower quietest=-60"),
        (rain(3), {}, "3.0 s are sounds that are too short; use a shorter duration="),
        (np.clip(rain(20) * 30, -0.99, 0.99), {}, "20.0 s are clipped; keep them with keep_clipped=True"),
    ],
    ids=["silence", "a high bar", "nothing", "no bar", "quiet", "short", "clipped"],
)
def test_where_nothing_is_left_it_says_why_and_what_to_do(
    tmp_path: Path, samples: np.ndarray, settings: dict[str, Any], words: str
) -> None:
    source = recording(tmp_path / "card" / "rain.wav", samples)

    with pytest.raises(InputError) as refused:
        prepare_recordings(source.parent, tmp_path / "out", **settings)

    assert str(refused.value).endswith(".")
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    with pytest.raises(InputError, match="holds no audio file"):
        prepare_recordings(tmp_path / "card", tmp_path / "out")
    (tmp_path / "card" / "a.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"No recording of .*card can be read"):
        prepare_recordings(tmp_path / "card", tmp_path / "out")
    with pytest.raises(InputError):
        prepare_recordings(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.ogg", "vorbis"), ("a.m4a", "aac")],
)
def test_damaged_recordings_are_cut_or_named(tmp_path: Path, write_audio: WriteAudio, name: str, codec: str) -> None:
    """Whatever the damage, it is clips and reasons, or one sentence."""
    whole = write_audio(tmp_path / name, rain(3).T.astype(np.float32), RATE, codec=codec).read_bytes()
    random = np.random.default_rng(0)
    for number in range(25):
        content = bytearray(whole[: random.integers(1, len(whole))] if number % 3 == 0 else whole)
        for place in random.integers(0, min(len(content), 400 if number % 2 else len(content)), 8):
            content[place] = random.integers(256)
        (tmp_path / "card").mkdir(exist_ok=True)
        (tmp_path / "card" / name).write_bytes(content)
        out = tmp_path / f"out{number}"
        done, refusal = None, ""
        try:
            done = prepare_recordings(tmp_path / "card", out, duration=0.5)
        except InputError as error:
            refusal = str(error)
        assert not list(out.glob("*.partial"))
        if done is None:
            assert refusal.endswith(".")
            continue
        for planned in done.plan.recordings:
            assert planned.pieces[0].start == 0
            assert planned.pieces[-1].end == planned.samples
            assert all(one.end == other.start for one, other in pairwise(planned.pieces))
            for piece in planned.clips:
                assert soundfile.info(out / piece.clip).frames == piece.end - piece.start


@pytest.mark.parametrize("alone", [False, True])
def test_files_named_by_a_second_are_the_captions_of_the_pieces_from_there_on(
    card: Path, tmp_path: Path, alone: bool
) -> None:
    (card / "rain@18.5.txt").write_text("hail")
    prepare_recordings(card / "rain.wav" if alone else card, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "prepared.json").read_text())
    for piece in plan["recordings"][0]["pieces"]:
        if "clip" in piece:
            text = (tmp_path / "out" / piece["clip"]).with_suffix(".txt").read_text().strip()
            assert text == ("hail" if piece["offset"] >= 18.5 else "heavy rain on a roof")
