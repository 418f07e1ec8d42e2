"""Every container, codec, sample rate and layout that people bring: the sound that comes out is the one that went in.

Each channel carries a sweep of its own, so that a channel in another's place, a delay of a sample, a wrong level or a
wrong polarity all show.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from support import WriteAudio

from soundlora.dataset.decode import decode

SECONDS = 0.4
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
LFE = 3
EXACT = 0.999999

# name, codec, rates, channels, least correlation, samples that may be added at the end.
WHOLE = [
    ("u8.wav", "pcm_u8", (11_025, 44_100), (1, 2), 0.998, 0),
    ("s16.wav", "pcm_s16le", (8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000), (1, 2, 6, 8), EXACT, 0),
    ("s24.wav", "pcm_s24le", (44_100, 48_000, 192_000), (1, 2, 6, 8), EXACT, 0),
    ("s32.wav", "pcm_s32le", (48_000,), (1, 2, 6, 8), EXACT, 0),
    ("f32.wav", "pcm_f32le", (8_000, 32_000, 88_200), (1, 2, 6, 8), EXACT, 0),
    ("f64.wav", "pcm_f64le", (48_000,), (1, 8), EXACT, 0),
    ("mulaw.wav", "pcm_mulaw", (8_000, 44_100), (1, 2), 0.998, 0),
    ("alaw.wav", "pcm_alaw", (8_000,), (1, 2), 0.998, 0),
    ("ms.wav", "adpcm_ms", (8_000, 22_050, 44_100), (1, 2), 0.99, 2_100),
    ("ima.wav", "adpcm_ima_wav", (8_000, 22_050, 44_100), (1, 2), 0.99, 4_100),
    ("a.flac", "flac", (8_000, 44_100, 48_000, 96_000, 192_000), (1, 2, 6, 8), EXACT, 0),
    ("alac.m4a", "alac", (8_000, 44_100, 48_000, 96_000, 192_000), (1, 2, 6, 8), EXACT, 0),
    ("a.mp3", "libmp3lame", (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000), (1, 2), 0.98, 0),
    ("opus.ogg", "libopus", (8_000, 16_000, 48_000), (1, 2, 6, 8), 0.97, 0),
    ("aac.m4a", "aac", (8_000, 44_100, 48_000, 96_000), (1, 2, 6, 8), 0.97, 0),
]
# Nothing in these files says how much the encoder put in front: they start a frame or two late.
LATE = [
    ("adts.aac", "aac", (8_000, 44_100, 48_000, 96_000), (1, 2, 6), 0.97),
    ("headerless.mp3", "libmp3lame", (8_000, 22_050, 44_100, 48_000), (1, 2), 0.98),
]
# Written by libsndfile, so that one library does not merely agree with itself.
FOREIGN = [
    ("vorbis.ogg", "OGG", "VORBIS", (8_000, 22_050, 44_100, 48_000, 96_000), (1, 2), 0.98),
    ("opus.ogg", "OGG", "OPUS", (48_000,), (1, 2), 0.97),
    ("a.mp3", "MP3", "MPEG_LAYER_III", (44_100,), (1, 2), 0.98),
    ("a.flac", "FLAC", "PCM_24", (96_000,), (1, 2, 8), EXACT),
    ("broadcast.wav", "WAVEX", "PCM_24", (48_000,), (1, 2, 6), EXACT),
    ("ima.wav", "WAV", "IMA_ADPCM", (44_100,), (1, 2), 0.99),
    ("ms.wav", "WAV", "MS_ADPCM", (44_100,), (1, 2), 0.99),
    ("alac.m4a", "CAF", "ALAC_16", (44_100,), (2,), EXACT),  # CAF content under another name
]


def cases(rows: Sequence[tuple[Any, ...]], words: int = 2) -> list[object]:
    return [
        pytest.param(*row[:words], rate, channels, *row[words + 2 :], id=f"{row[0]}-{rate}-{LAYOUTS[channels]}")
        for row in rows
        for rate in row[words]
        for channels in row[words + 1]
    ]


def sweeps(rate: int, channels: int, seconds: float = SECONDS) -> np.ndarray:
    """Return (channels, n): a sweep within 150 to 1,500 Hz for each, the LFE's below 100 Hz, levels 0.5 downwards."""
    time = np.arange(round(seconds * rate)) / rate
    sounds = []
    for channel in range(channels):
        low, high = (30, 90) if channel == LFE and channels > 2 else (150 + 90 * channel, 1_500 - 110 * channel)
        if channel % 2:
            low, high = high, low
        phase = 2 * np.pi * (low * time + (high - low) / (2 * seconds) * time**2)
        sounds.append(0.5 * 0.93**channel * np.sin(phase + channel))
    return np.stack(sounds).astype(np.float32)


def lag_and_likeness(sent: np.ndarray, received: np.ndarray) -> tuple[int, float, float]:
    """Return by how many samples `received` is late, the correlation there, and its level over the other's in dB."""
    size = 1 << (2 * max(len(sent), len(received))).bit_length()
    shifts = np.fft.irfft(np.fft.rfft(received, size) * np.conj(np.fft.rfft(sent, size)), size)
    lag = int(shifts.argmax())
    lag = lag - size if lag > size // 2 else lag
    start = max(0, -lag)
    received = received[max(0, lag) :]
    sent = sent[start : start + len(received)]
    received = received[: len(sent)].astype(np.float64)
    inner = float(sent @ received)
    likeness = inner / float(np.linalg.norm(sent) * np.linalg.norm(received))
    return lag, likeness, 20 * np.log10(float(np.linalg.norm(received) / np.linalg.norm(sent)))


def assert_same_sound(sent: np.ndarray, received: np.ndarray, likeness: float, latest: int = 0) -> None:
    """Assert that every channel is there in its place, on time and at its level."""
    for channel in range(len(sent)):
        if channel == LFE and len(sent) > 2 and likeness != EXACT:
            continue  # Lossy codecs keep what they like of the lowest octaves.
        lag, found, level = lag_and_likeness(sent[channel], received[channel])
        assert 0 <= lag <= latest
        assert found >= likeness
        assert abs(level) < 0.5


@pytest.mark.parametrize(("name", "codec", "rate", "channels", "likeness", "extra"), cases(WHOLE))
def test_the_sound_that_comes_out_is_the_one_that_went_in(
    name: str,
    codec: str,
    rate: int,
    channels: int,
    likeness: float,
    extra: int,
    tmp_path: Path,
    write_audio: WriteAudio,
) -> None:
    # Apple's codec knows another 7.1, with speakers at the front centre's sides.
    layout = "7.1(wide)" if (codec, channels) == ("alac", 8) else LAYOUTS[channels]
    audio = decode(write_audio(tmp_path / name, sweeps(rate, channels), rate, codec=codec, layout=layout))
    expected_rate = 48_000 if codec == "libopus" else rate
    sent = sweeps(expected_rate, channels)
    assert (audio.sample_rate, audio.channels, audio.layout) == (expected_rate, channels, layout)
    assert not audio.truncated
    assert audio.damaged_packets == 0
    assert 0 <= audio.samples.shape[1] - sent.shape[1] <= extra
    assert_same_sound(sent, audio.samples, likeness)


@pytest.mark.parametrize(("name", "container", "codec", "rate", "channels", "likeness"), cases(FOREIGN, 3))
def test_files_of_another_writer_come_out_alike(
    name: str, container: str, codec: str, rate: int, channels: int, likeness: float, tmp_path: Path
) -> None:
    sent = sweeps(rate, channels)
    soundfile.write(tmp_path / name, sent.T, rate, format=container, subtype=codec)
    audio = decode(tmp_path / name)
    assert (audio.sample_rate, audio.channels) == (rate, channels)
    assert not audio.truncated
    # FFmpeg drops the last 128 samples of a Vorbis file that fits in a single page.
    added = audio.samples.shape[1] - sent.shape[1]
    assert -128 * (codec == "VORBIS") <= added <= 4_100 * ("ADPCM" in codec)
    assert_same_sound(sent, audio.samples, likeness)


@pytest.mark.parametrize(("name", "codec", "rate", "channels", "likeness"), cases(LATE))
def test_files_that_state_nothing_are_late_by_no_more_than_their_encoder(
    name: str, codec: str, rate: int, channels: int, likeness: float, tmp_path: Path, write_audio: WriteAudio
) -> None:
    sent = sweeps(rate, channels)
    muxer = {"write_xing": "0", "id3v2_version": "0"} if codec == "libmp3lame" else {}
    audio = decode(write_audio(tmp_path / name, sent, rate, codec=codec, muxer=muxer))
    assert (audio.sample_rate, audio.channels) == (rate, channels)
    assert not audio.truncated
    assert_same_sound(sent, audio.samples, likeness, latest=2_400)


def wav_bytes(samples: np.ndarray, rate: int, before: bytes = b"", extensible: bool = False) -> bytes:
    """Return a 16-bit wav written by hand, with the chunks `before` in front of its sound."""
    channels = len(samples)
    plain = struct.pack("<HIIHH", channels, rate, rate * 2 * channels, 2 * channels, 16)
    if extensible:
        subformat = bytes.fromhex("0100000000001000800000aa00389b71")
        form = struct.pack("<H", 0xFFFE) + plain + struct.pack("<HHI", 22, 16, 0x3) + subformat
    else:
        form = struct.pack("<H", 1) + plain
    sound = (samples.T * 32_767).astype("<i2").tobytes()
    chunks = before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def chunk(kind: bytes, size: int) -> bytes:
    return kind + struct.pack("<I", size) + bytes(size + size % 2)


@pytest.mark.parametrize(
    ("before", "extensible"),
    [
        (b"", True),
        (chunk(b"bext", 602), False),  # Broadcast wave: its description, with space for a coding history
        (chunk(b"JUNK", 28) + chunk(b"bext", 858) + chunk(b"iXML", 4_001), True),  # as field recorders write it
        (chunk(b"LIST", 70_001), False),
    ],
    ids=["extensible", "broadcast", "recorder", "long-odd-list"],
)
def test_wav_files_with_more_than_the_plain_header(before: bytes, extensible: bool, tmp_path: Path) -> None:
    sent = sweeps(48_000, 2)
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(sent, 48_000, before, extensible))
    audio = decode(path)
    assert audio.samples.shape == sent.shape
    assert np.abs(audio.samples - sent).max() < 1e-4
    assert not audio.truncated


def test_ffmpeg_writes_extensible_for_what_needs_it(tmp_path: Path, write_audio: WriteAudio) -> None:
    path: Path = write_audio(tmp_path / "a.wav", sweeps(48_000, 6), 48_000, codec="pcm_s24le")
    content = path.read_bytes()
    assert content[content.index(b"fmt ") + 8 :][:2] == b"\xfe\xff"


@pytest.mark.parametrize("quality", ["0", "9"])
def test_mp3_of_variable_rate(quality: str, tmp_path: Path) -> None:
    sent = sweeps(44_100, 2, 2.0)
    # Silence and noise in turns, so that the rate does vary.
    sent[:, 20_000:40_000] = 0
    sent[:, 60_000:] += np.random.default_rng(0).uniform(-0.2, 0.2, sent[:, 60_000:].shape).astype(np.float32)
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libmp3lame", rate=44_100, layout="stereo")
        stream.codec_context.flags |= av.codec.context.Flags.qscale
        stream.codec_context.global_quality = 118 * int(quality)
        frame = av.AudioFrame.from_ndarray(sent, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with av.open(str(path)) as file:
        sizes = {packet.size for packet in file.demux(audio=0) if packet.size}
    assert len(sizes) > 3
    audio = decode(path)
    assert audio.samples.shape == sent.shape
    lag, likeness, _ = lag_and_likeness(sent[0], audio.samples[0])
    assert lag == 0
    assert likeness > 0.9


@pytest.mark.parametrize(("rate", "channels"), [(8_001, 2), (22_254, 1), (44_056, 8), (44_101, 1), (191_999, 2)])
def test_rates_that_would_make_the_models_resampler_huge_come_out_at_a_usual_one(
    rate: int, channels: int, tmp_path: Path, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.wav", sweeps(rate, channels), rate, codec="pcm_f32le")
    audio = decode(path)
    assert (audio.file_rate, audio.sample_rate) == (rate, 48_000)
    wanted = sweeps(48_000, channels)
    assert abs(audio.samples.shape[1] - wanted.shape[1]) <= 48
    for channel in range(channels):
        lag, likeness, level = lag_and_likeness(wanted[channel], audio.samples[channel])
        assert lag == 0
        assert likeness > 0.9999
        assert abs(level) < 0.05
    start = decode(path, 0.2)
    assert start.samples.shape[1] == pytest.approx(9_600, abs=8)
    assert start.seconds == pytest.approx(SECONDS, abs=0.001)


@pytest.mark.parametrize("channels", [6, 8])
def test_vorbis_surround_has_every_channel_once(channels: int, tmp_path: Path) -> None:
    # In which order libsndfile writes them is its own affair; the one that it takes for the LFE's loses its heights.
    sent = sweeps(48_000, channels)
    soundfile.write(tmp_path / "a.ogg", sent.T, 48_000, format="OGG", subtype="VORBIS")
    audio = decode(tmp_path / "a.ogg")
    assert (audio.channels, audio.layout) == (channels, LAYOUTS[channels])
    likeness = np.abs(np.corrcoef(sent, audio.samples[:, : sent.shape[1]])[:channels, channels:])
    assert sorted(likeness.argmax(axis=0)) == list(range(channels))
    assert np.sort(likeness.max(axis=0))[1] > 0.98


@pytest.mark.parametrize("seconds", [0.4, 3.0])
def test_a_short_vorbis_file_is_not_measured_as_days(seconds: float, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", sweeps(8_000, 1, seconds)[0], 8_000, format="OGG", subtype="VORBIS")
    for audio in (decode(tmp_path / "a.ogg"), decode(tmp_path / "a.ogg", 0.2)):
        assert audio.seconds == seconds
