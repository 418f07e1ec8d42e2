"""The end of an Ogg file is where its last page says, whatever follows it."""

import os
from pathlib import Path

import numpy as np
import pytest
from support import FIXTURES, FrequencyOf, MakeTone, WriteAudio

from soundlora.dataset import inspect_dataset
from soundlora.dataset.decode import decode
from soundlora.dataset.ogg import End, find_end
from soundlora.dataset.problems import DecodeError

FOLLOWS = "what follows its end is no sound and was left out"
CODECS = ["vorbis", "libopus"]


@pytest.fixture(params=CODECS)
def clip(request: pytest.FixtureRequest, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> Path:
    return write_audio(tmp_path / "a.ogg", tone(1.2, 48_000, channels=2), 48_000, codec=request.param)


def test_the_file_that_zeros_follow() -> None:
    path = FIXTURES / "audio" / "ogg_with_zeros_after.ogg"
    for max_seconds in (None, 0.5):
        audio = decode(path, max_seconds)
        assert audio.seconds == pytest.approx(1.2)
        assert not audio.truncated
        assert audio.notes == (FOLLOWS,)
    assert decode(path).samples.shape == (1, 52_920)
    (report,) = inspect_dataset(path.parent, duration=1.0).clips[-1:]
    assert report.name == "ogg_with_zeros_after.ogg"
    assert report.seconds == pytest.approx(1.2)
    assert FOLLOWS in report.warnings


@pytest.mark.parametrize("tail", [bytes(64_000), bytes(1_000_000), b"\xff" * 70_000, b"OggS" * 20_000], ids=len)
def test_other_bytes_after_the_end(tail: bytes, clip: Path) -> None:
    whole = decode(clip)
    clip.write_bytes(clip.read_bytes() + tail)
    for max_seconds in (None, 0.5):
        audio = decode(clip, max_seconds)
        assert audio.seconds == pytest.approx(1.2, abs=0.01)
        assert not audio.truncated
        assert audio.notes == (FOLLOWS,)
    assert np.array_equal(decode(clip).samples, whole.samples)


def test_noise_after_the_end(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes() + os.urandom(200_000))
    assert decode(clip).seconds == pytest.approx(1.2, abs=0.01)


def test_a_tag_after_the_end_is_nothing_to_speak_of(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes() + b"TAG" + bytes(125))
    assert decode(clip).notes == ()


def test_a_file_that_breaks_off_is_told_although_zeros_follow(clip: Path) -> None:
    content = clip.read_bytes()
    cut = content[: content.rindex(b"OggS")]
    assert not find_end_of(clip, cut).whole
    assert not find_end_of(clip, cut + bytes(64_000)).whole
    assert not find_end_of(clip, content[:-10]).whole
    assert find_end_of(clip, content).whole


def find_end_of(path: Path, content: bytes) -> End:
    path.write_bytes(content)
    return find_end(path)


@pytest.mark.parametrize("content", [b"", b"OggS", b"RIFF" + bytes(100), b"OggS" + b"\xff" * 100])
def test_what_has_no_page_is_not_whole(content: bytes, tmp_path: Path) -> None:
    end = find_end_of(tmp_path / "a.ogg", content)
    assert not end.whole
    assert end.granule is None


@pytest.mark.parametrize("codec", CODECS)
def test_streams_that_follow_each_other_are_all_heard(
    codec: str, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, frequency_of: FrequencyOf
) -> None:
    parts = [
        write_audio(
            tmp_path / f"{number}.ogg",
            tone(1.0, 48_000, channels=2, frequency=frequency),
            48_000,
            codec=codec,
            muxer={"serial_offset": str(100 * number)},
        ).read_bytes()
        for number, frequency in enumerate((440, 880))
    ]
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(parts))
    audio = decode(path)
    assert audio.seconds == pytest.approx(2.0, abs=0.03)
    assert not audio.truncated
    assert frequency_of(audio.samples[0, :40_000], 48_000) == pytest.approx(440, abs=2)
    assert frequency_of(audio.samples[0, 54_000:92_000], 48_000) == pytest.approx(880, abs=2)
    assert decode(path, 0.5).seconds == pytest.approx(2.0, abs=0.03)


def test_streams_of_other_rates_are_refused(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    first = write_audio(tmp_path / "1.ogg", tone(1.0, 48_000, channels=2), 48_000, codec="vorbis")
    muxer = {"serial_offset": "100"}
    second = write_audio(tmp_path / "2.ogg", tone(1.0, 44_100, channels=2), 44_100, codec="vorbis", muxer=muxer)
    (tmp_path / "a.ogg").write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DecodeError, match="changes its sample rate or channels"):
        decode(tmp_path / "a.ogg")
