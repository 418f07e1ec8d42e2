"""Blocks and windows hold what `decode` returns at once, in the samples that the file keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import MakeTone, WriteAudio

from soundlora.dataset.decode import decode
from soundlora.dataset.problems import DecodeError
from soundlora.dataset.stream import BLOCK, blocks, to_float, windows

CODECS = [
    ("a.wav", "pcm_s16le", "int16"),
    ("a.wav", "pcm_s24le", "int32"),
    ("a.wav", "pcm_s32le", "int32"),
    ("a.wav", "pcm_f32le", "float32"),
    ("a.wav", "pcm_f64le", "float64"),
    ("a.wav", "pcm_u8", "int16"),
    ("a.wav", "adpcm_ms", "int16"),
    ("a.flac", "flac", "int16"),
    ("a.mp3", "libmp3lame", "float32"),
    ("a.ogg", "vorbis", "float32"),
    ("a.ogg", "libopus", "float32"),
    ("a.aac", "aac", "float32"),
    ("a.m4a", "aac", "float32"),
    ("a.m4a", "alac", "int32"),
]


@pytest.mark.parametrize(("name", "codec", "kind"), CODECS)
def test_blocks_are_what_decode_returns(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, name: str, codec: str, kind: str
) -> None:
    path = write_audio(tmp_path / name, tone(3.7, 48_000, channels=2), 48_000, codec=codec)

    read = list(blocks(path))

    assert {form.kind for form, _ in read} == {kind}
    assert {(form.sample_rate, form.channels, form.layout) for form, _ in read} == {(48_000, 2, "stereo")}
    assert [len(block) for _, block in read[:-1]] == [BLOCK] * (len(read) - 1)
    together = to_float(np.concatenate([block for _, block in read])).T
    assert np.array_equal(together, decode(path).samples)


@pytest.mark.parametrize("codec", ["flac", "libmp3lame", "vorbis", "pcm_s16le"])
def test_lossy_codecs_are_told(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, codec: str) -> None:
    suffix = {"flac": "flac", "libmp3lame": "mp3", "vorbis": "ogg", "pcm_s16le": "wav"}[codec]
    path = write_audio(tmp_path / f"a.{suffix}", tone(1, 48_000, channels=2), 48_000, codec=codec)

    assert next(blocks(path))[0].lossy == (codec in ("libmp3lame", "vorbis"))


def test_24_bits_come_as_they_are(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**23), 2**23, (1000, 2)).astype(np.int32) << 8
    soundfile.write(tmp_path / "a.wav", samples, 48_000, "PCM_24")

    [(_, block)] = blocks(tmp_path / "a.wav")

    assert np.array_equal(block, samples)


@pytest.mark.parametrize("seconds", [0.1, 0.75, 1.0, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("rate", [44_100, 22_050, 11_025])
def test_windows_follow_one_another(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, seconds: float, rate: int
) -> None:
    path = write_audio(tmp_path / "a.wav", tone(4.0, rate, channels=2), rate)
    whole = decode(path).samples

    found = list(windows(path, seconds))

    assert {rate for _, rate in found} == {rate}
    for number, (samples, _) in enumerate(found):
        start = round(number * seconds * rate)
        end = min(start + int(np.ceil(seconds * rate)), whole.shape[1])
        assert np.array_equal(samples, whole[:, start:end])
    assert sum(samples.shape[1] for samples, _ in found) >= whole.shape[1]


def test_the_first_window_is_what_decode_returns_at_an_unusual_rate(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.wav", tone(2.5, 44_101), 44_101)
    (first, rate), *others = windows(path, 1.0)

    assert rate == decode(path, 1.0).sample_rate == 48_000
    assert np.array_equal(first, decode(path, 1.0).samples)
    assert len(others) == 2


@pytest.mark.parametrize("content", [b"", b"nothing", b"RIFF\xff\xff\xff\xffWAVEfmt "], ids=["empty", "text", "cut"])
def test_what_is_no_sound_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)

    with pytest.raises(DecodeError):
        list(blocks(path))


def test_a_recording_that_breaks_off_ends_there(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    path = write_audio(tmp_path / "a.wav", tone(4.0, 48_000), 48_000)
    path.write_bytes(path.read_bytes()[:200_044])

    # FFmpeg writes a header of 78 bytes.
    assert sum(len(block) for _, block in blocks(path)) == (200_044 - 78) // 2 == decode(path).samples.shape[1]
