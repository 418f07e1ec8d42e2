"""Every container, codec and channel layout: the sound that comes out is the sound that went in."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st
from support import FrequencyOf, MakeTone, MakeWav, WriteAudio

from soundlora.dataset import completeness as ends
from soundlora.dataset.decode import decode
from soundlora.dataset.fit import fit
from soundlora.dataset.problems import DecodeError

LOSSLESS = [
    ("u8.wav", "pcm_u8", 44_100, 2, 0.006),
    ("s16.wav", "pcm_s16le", 48_000, 1, 4e-5),
    ("s24.wav", "pcm_s24le", 96_000, 6, 2e-7),
    ("s32.wav", "pcm_s32le", 192_000, 8, 1e-7),
    ("f32.wav", "pcm_f32le", 22_050, 2, 1e-7),
    ("f64.wav", "pcm_f64le", 8_000, 1, 1e-7),
    ("s16.flac", "flac", 44_100, 2, 4e-5),
    ("eight.flac", "flac", 48_000, 8, 4e-5),
    ("lossless.m4a", "alac", 44_100, 2, 2e-7),
    ("s16.aiff", "pcm_s16be", 44_100, 2, 4e-5),
    ("s24.aif", "pcm_s24be", 96_000, 6, 2e-7),
    ("f32.aifc", "pcm_f32be", 48_000, 1, 1e-7),
    ("s24.caf", "pcm_s24be", 48_000, 2, 2e-7),
    ("alac.caf", "alac", 44_100, 2, 2e-7),
    ("s24.w64", "pcm_s24le", 48_000, 2, 2e-7),
    ("s16.wv", "wavpack", 48_000, 2, 4e-5),
    ("film.mov", "pcm_s24le", 48_000, 2, 2e-7),
]
# Matroska's own length counts whole frames of the codec, so it is not taken for the sound's.
UNSIZED = [("s16.mka", "flac", 44_100, 2, 4e-5), ("s24.mkv", "pcm_s24le", 48_000, 2, 2e-7)]
LOSSY = [
    ("mulaw.wav", "pcm_mulaw", 8_000, 1, 0),
    ("tagged.mp3", "libmp3lame", 44_100, 2, 0),
    ("vorbis.ogg", "vorbis", 48_000, 2, 0),
    ("opus.ogg", "libopus", 48_000, 6, 0),
    ("opus.opus", "libopus", 48_000, 8, 0),
    ("stereo.m4a", "aac", 44_100, 2, 0),
    ("surround.m4a", "aac", 48_000, 6, 0),
    ("raw.aac", "aac", 44_100, 2, 3_000),
    ("adpcm.wav", "adpcm_ms", 22_050, 2, 1_000),
    ("film.mp4", "aac", 44_100, 2, 0),
    ("voice.webm", "libopus", 48_000, 2, 0),
    ("layer.mp2", "mp2", 48_000, 2, 1_200),
]


@pytest.mark.parametrize(("name", "codec", "rate", "channels", "error"), LOSSLESS + UNSIZED)
def test_lossless_files_decode_sample_for_sample(
    name: str,
    codec: str,
    rate: int,
    channels: int,
    error: float,
    tmp_path: Path,
    tone: MakeTone,
    write_audio: WriteAudio,
) -> None:
    sent = tone(0.7, rate, channels=channels)
    audio = decode(write_audio(tmp_path / name, sent, rate, codec=codec))
    assert audio.sample_rate == rate
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == sent.shape
    assert np.abs(audio.samples - sent).max() <= error
    assert audio.seconds == pytest.approx(0.7, abs=1e-6)
    assert audio.claimed_seconds == (None if name.endswith((".mka", ".mkv")) else audio.seconds)
    assert not audio.truncated
    assert audio.damaged_packets == 0


@pytest.mark.parametrize(("name", "codec", "rate", "channels", "extra"), LOSSY)
def test_lossy_files_keep_length_channels_pitch_and_place(
    name: str,
    codec: str,
    rate: int,
    channels: int,
    extra: int,
    tmp_path: Path,
    tone: MakeTone,
    write_audio: WriteAudio,
    frequency_of: FrequencyOf,
) -> None:
    sent = tone(1.0, rate, channels=channels)
    audio = decode(write_audio(tmp_path / name, sent, rate, codec=codec))
    assert audio.samples.shape[0] == audio.channels == channels
    assert 0 <= audio.samples.shape[1] - rate <= extra  # Only files without a length keep the encoder's padding.
    middle = slice(rate // 4, rate // 4 + rate // 2)
    # The low-frequency channel of lossy surround is filtered; every other one keeps its own level.
    for channel in set(range(channels)) - ({3} if channels > 2 else set()):
        assert frequency_of(audio.samples[channel, middle], rate) == pytest.approx(440, abs=1)
        level = np.abs(audio.samples[channel, middle]).max()
        assert level == pytest.approx(0.5 * 0.9**channel, rel=0.2)
    if not extra:
        assert audio.seconds == pytest.approx(1.0, abs=0.001)
    assert not audio.truncated


@pytest.mark.parametrize(("name", "codec", "rate", "channels", "extra"), [case for case in LOSSY if not case[4]])
def test_lossy_files_are_not_late_by_a_single_sample(
    name: str, codec: str, rate: int, channels: int, extra: int, tmp_path: Path, write_audio: WriteAudio
) -> None:
    time = np.arange(rate) / rate
    sweep = 0.5 * np.sin(2 * np.pi * (200 * time + 1_000 * time**2)).astype(np.float32)
    path = write_audio(tmp_path / name, np.tile(sweep, (channels, 1)), rate, codec=codec)
    received = decode(path).samples[0]
    spectrum = np.fft.rfft(received, 2 * rate) * np.conj(np.fft.rfft(sweep, 2 * rate))
    assert np.fft.irfft(spectrum).argmax() == 0


def test_windows_media_is_read(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, frequency_of: FrequencyOf
) -> None:
    audio = decode(write_audio(tmp_path / "a.wma", tone(1.0, 44_100, channels=2), 44_100, codec="wmav2"))
    assert audio.samples.shape[1] == pytest.approx(44_100, abs=2_100)  # FFmpeg's encoder drops its last frame.
    assert frequency_of(audio.samples[0, 11_025:33_075], 44_100) == pytest.approx(440, abs=1)
    assert not audio.truncated


def test_layouts_have_names(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    for channels, layout in ((1, "mono"), (2, "stereo"), (6, "5.1"), (8, "7.1")):
        audio = decode(write_audio(tmp_path / "clip.wav", tone(0.1, 16_000, channels=channels), 16_000))
        assert audio.layout == layout
        assert audio.codec == "pcm_s16le"


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.m4a", "aac")],
)
def test_only_the_start_is_decoded_but_the_whole_is_measured(
    name: str, codec: str, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / name, tone(3.0, 48_000), 48_000, codec=codec)
    whole, start = decode(path), decode(path, 0.51)
    assert start.samples.shape == (1, 24_480)
    assert np.array_equal(start.samples, whole.samples[:, :24_480])
    assert start.seconds == pytest.approx(3.0, abs=0.001)


def test_aac_in_m4a_is_cut_where_the_sound_ends(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    sent = tone(1.0, 44_100)
    path = write_audio(tmp_path / "a.m4a", sent, 44_100, codec="aac")
    with av.open(str(path)) as file:
        raw = sum(frame.samples for frame in file.decode(audio=0))
    assert raw > 44_100  # The encoder fills its last frame up.
    assert decode(path).samples.shape == (1, 44_100)


def test_overshoot_of_float_files_is_kept(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    path = write_audio(tmp_path / "a.wav", tone(0.1, 16_000, peak=1.5), 16_000, codec="pcm_f32le")
    assert np.abs(decode(path).samples).max() == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [
        ("a.wav", "pcm_s16le", {}),
        ("adpcm.wav", "adpcm_ms", {}),
        ("a.flac", "flac", {}),
        ("a.mp3", "libmp3lame", {}),
        ("a.m4a", "aac", {"movflags": "faststart"}),
        ("a.aiff", "pcm_s16be", {}),
        ("a.caf", "pcm_s24be", {}),
        ("a.w64", "pcm_s16le", {}),
        ("rf64.wav", "pcm_s16le", {"rf64": "always"}),
        ("a.wv", "wavpack", {}),
    ],
)
@pytest.mark.parametrize("max_seconds", [None, 0.5])
def test_a_cut_file_gives_what_is_left_and_says_what_is_lost(
    name: str,
    codec: str,
    muxer: dict[str, str],
    max_seconds: float | None,
    tmp_path: Path,
    tone: MakeTone,
    write_audio: WriteAudio,
) -> None:
    path = write_audio(tmp_path / name, tone(2.0, 44_100), 44_100, codec=codec, muxer=muxer)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    audio = decode(path, max_seconds)
    assert audio.truncated
    assert audio.claimed_seconds == pytest.approx(2.0, abs=0.05)
    assert 0.9 < audio.seconds < 1.4
    assert audio.samples.shape[1] / 44_100 == pytest.approx(max_seconds or audio.seconds, abs=1e-4)


RAW = [
    ("a.mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
    ("a.aac", "aac", {}),
    ("a.ogg", "libopus", {}),
    ("vorbis.ogg", "vorbis", {}),
    ("a.mka", "flac", {}),
    ("a.webm", "libopus", {}),
    ("a.mp2", "mp2", {}),
    ("a.wma", "wmav2", {}),
]


@pytest.mark.parametrize(("name", "codec", "muxer"), RAW)
@pytest.mark.parametrize("max_seconds", [None, 0.5])
def test_a_cut_file_that_states_no_length_is_known_by_its_broken_end(
    name: str,
    codec: str,
    muxer: dict[str, str],
    max_seconds: float | None,
    tmp_path: Path,
    tone: MakeTone,
    write_audio: WriteAudio,
) -> None:
    path = write_audio(tmp_path / name, tone(2.0, 48_000, channels=2), 48_000, codec=codec, muxer=muxer)
    whole = decode(path, max_seconds)
    assert not whole.truncated
    # FFmpeg's encoder of Windows Media drops its last frame, and its container rounds lengths.
    assert whole.seconds == pytest.approx(2.0, abs=0.11 if codec == "wmav2" else 0.06)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10 + 7])
    cut = decode(path, max_seconds)
    assert cut.truncated
    assert cut.claimed_seconds is None
    # Ogg's pages hold up to a second each, and an incomplete one is lost as a whole.
    assert 0.8 < cut.seconds < 1.5


@pytest.mark.parametrize(
    "tag", [b"TAG" + bytes(125), b"APETAGEX" + bytes([208, 7, 0, 0, 32, 0, 0, 0]) + bytes(48)], ids=["id3v1", "ape"]
)
def test_tags_at_the_end_do_not_make_an_mp3_look_cut(
    tag: bytes, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.mp3", tone(1.0, 44_100), 44_100, codec="libmp3lame", muxer={"write_xing": "0"})
    path.write_bytes(path.read_bytes() + tag)
    assert not decode(path).truncated


@given(size=st.integers(0, 300), head=st.binary(min_size=0, max_size=8))
def test_no_header_of_a_frame_confuses_the_look_at_the_end(size: int, head: bytes) -> None:
    packet: av.Packet[Any] = av.Packet(head + bytes(size))
    for container in ("mp3", "aac"):
        assert ends.is_cut_frame(container, packet) in (True, False)


def test_damage_in_the_middle_is_counted(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    path = write_audio(tmp_path / "a.m4a", tone(2.0, 44_100, channels=2), 44_100, codec="aac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    audio = decode(path)
    assert audio.damaged_packets > 0
    assert audio.samples.shape[1] > 44_100


def test_the_content_counts_not_the_extension(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    flac = write_audio(tmp_path / "a.flac", tone(0.5, 16_000), 16_000, codec="flac")
    renamed = flac.rename(tmp_path / "a.mp3")
    assert decode(renamed).codec == "flac"


def test_a_name_that_looks_like_an_address_is_a_file(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audio(tmp_path / "plain.wav", tone(0.1, 16_000), 16_000).rename(tmp_path / "http:x%d.wav")
    monkeypatch.chdir(tmp_path)
    assert decode(Path("http:x%d.wav")).samples.shape == (1, 1_600)


@pytest.mark.parametrize("picture_bytes", [200, 300_000, 3_000_000])
def test_latin_tags_and_cover_pictures_do_no_harm(
    picture_bytes: int, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    plain = write_audio(
        tmp_path / "a.mp3", tone(0.5, 44_100), 44_100, codec="libmp3lame", muxer={"id3v2_version": "0"}
    ).read_bytes()

    def frame(kind: bytes, body: bytes) -> bytes:
        return kind + len(body).to_bytes(4, "big") + b"\0\0" + body

    picture = b"\0image/png\0\3\0" + b"\x89PNG\r\n\x1a\n" + bytes(picture_bytes)
    tags = frame(b"TIT2", b"\0Caf\xe9") + frame(b"TPE1", b"\3\xff\xfe\xe9") + frame(b"APIC", picture)
    size = bytes((len(tags) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "b.mp3").write_bytes(b"ID3\3\0\0" + size + tags + plain)
    audio = decode(tmp_path / "b.mp3")
    assert audio.claimed_seconds == pytest.approx(0.5, abs=0.03)  # The length tag is found behind the ID3 tag.
    assert audio.samples.shape[1] == pytest.approx(22_050, abs=1_200)


def write_film(path: Path, codec: str = "mpeg4", sound: bool = False) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = file.add_stream("aac", rate=44_100, layout="mono") if sound else None
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 44_100, 0
            file.mux([*audio.encode(silence), *audio.encode(None)])
    return path


def test_of_a_video_the_sound_is_used_and_covers_do_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="it holds no audio stream, only video"):
        decode(write_film(tmp_path / "film.mp4").rename(tmp_path / "film.m4a"))
    film = decode(write_film(tmp_path / "film.mp4", sound=True))
    assert film.samples.shape == (1, 44_100)
    assert film.notes == ("it is a video, of which the sound is used",)
    chapters = decode(write_film(tmp_path / "chapters.mov", "mjpeg", sound=True))
    assert chapters.samples.shape == (1, 44_100)
    assert chapters.notes == ()


def test_frames_of_absurd_size_are_not_decoded(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_audio(tmp_path / "a.flac", tone(0.5, 48_000), 48_000, codec="flac")
    assert decode(path).samples.shape == (1, 24_000)
    monkeypatch.setattr(sys.modules["soundlora.dataset.decode"], "_MAX_FRAME_SAMPLES", 100)
    with pytest.raises(DecodeError, match="none of it can be decoded"):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"not audio at all " * 100, bytes(5_000), b"RIFF\xff\xff\xff\xffWAVE"])
def test_what_is_no_audio_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="its content is not audio that can be decoded"):
        decode(path)


def test_a_playlist_cannot_reach_other_files(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    write_audio(tmp_path / "secret.aac", tone(1.0, 44_100), 44_100, codec="aac")
    path = tmp_path / "list.m3u8"  # With this extension FFmpeg would follow it.
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{tmp_path}/secret.aac\n#EXT-X-ENDLIST\n")
    with av.open(str(path), options={"allowed_extensions": "ALL"}) as file:
        assert file.streams.audio
    with pytest.raises(DecodeError, match="not audio that can be decoded"):
        decode(path)


def test_pieces_of_hundreds_of_megabytes_are_not_read(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    # The files are full of holes; FFmpeg would hold all of each in memory.
    path = write_audio(tmp_path / "a.m4a", tone(0.6, 44_100), 44_100, codec="aac", muxer={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    at = content.index(b"stsz") + 16 + 4 * 5
    content[at : at + 4] = (400_000_000).to_bytes(4, "big")
    path.write_bytes(content)
    os.truncate(path, 400_010_000)
    with pytest.raises(DecodeError, match="a single piece of it is larger"):
        decode(path)
    tagged = tmp_path / "a.mp3"
    tagged.write_bytes(b"ID3\3\0\0" + bytes([60, 0, 0, 0]))
    with pytest.raises(DecodeError, match="its tags are larger"):
        decode(tagged)


@pytest.mark.skipif(sys.platform != "linux", reason="FFmpeg's limit is found through /proc")
def test_ffmpeg_does_not_allocate_what_a_small_file_claims(tmp_path: Path, wav: MakeWav) -> None:
    # An INFO comment of 1.5 GB in a file of 20 kB: FFmpeg allocates and clears it before it reads.
    sound = wav()
    comment = b"INFOICMT" + (1_500_000_000).to_bytes(4, "little")
    chunk = b"LIST" + (1_500_000_012).to_bytes(4, "little") + comment
    path = tmp_path / "a.wav"
    path.write_bytes(sound[:12] + chunk + sound[12:])
    code = "import sys; from pathlib import Path; from soundlora.dataset.decode import decode;"
    code += "from contextlib import suppress; from soundlora.dataset.problems import DecodeError\n"
    code += "with suppress(DecodeError): decode(Path(sys.argv[1]))\n"
    code += "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    result = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert int(result.stdout) < 150_000  # kB


def test_an_unknown_codec_is_refused(tmp_path: Path, wav: MakeWav) -> None:
    content = bytearray(wav())
    at = content.index(b"fmt ") + 8
    content[at : at + 2] = b"\x34\x12"
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DecodeError, match="nothing here can decode its codec"):
        decode(tmp_path / "a.wav")


def test_a_wav_without_sound_is_refused(tmp_path: Path, wav: MakeWav) -> None:
    path = tmp_path / "a.wav"
    header = wav()[:40]  # FFmpeg's own files have further chunks before the sound; this is the plain header.
    path.write_bytes(header[:4] + (36).to_bytes(4, "little") + header[8:36] + b"data" + bytes(4))
    with pytest.raises(DecodeError, match="it holds no sound, its length is zero"):
        decode(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_are_none_or_absurd_are_refused(
    value: float, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    samples = tone(0.1, 16_000)
    samples[0, 800] = value
    path = write_audio(tmp_path / "a.wav", samples, 16_000, codec="pcm_f32le")
    with pytest.raises(DecodeError, match="samples that are not numbers, or far larger"):
        decode(path)


def test_floats_on_the_scale_of_integers_are_brought_to_level(
    tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.wav", tone(0.6, 16_000) * 2**31, 16_000, codec="pcm_f32le")
    fitted = fit(decode(path), 0.5)
    assert np.abs(fitted.samples).max() == pytest.approx(10 ** (-0.1 / 20), rel=1e-3)
    assert fitted.levels.loudness_lufs is not None


@pytest.mark.parametrize("rate", [4_000, 384_000])
def test_sample_rates_out_of_range_are_refused(
    rate: int, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.wav", tone(0.1, rate), rate)
    with pytest.raises(DecodeError, match=f"its sample rate is {rate} Hz, only 8000 to 192000 Hz can be used"):
        decode(path)


def test_more_than_eight_channels_are_refused(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    path = write_audio(tmp_path / "a.wav", tone(0.1, 16_000, channels=16), 16_000, layout="hexadecagonal")
    with pytest.raises(DecodeError, match="it has 16 channels, at most 8 can be used"):
        decode(path)


def test_a_stream_that_changes_on_the_way_is_refused(tmp_path: Path, tone: MakeTone, write_audio: WriteAudio) -> None:
    first = write_audio(tmp_path / "a.mp3", tone(1.0, 44_100), 44_100, codec="libmp3lame", muxer={"write_xing": "0"})
    second = write_audio(tmp_path / "b.mp3", tone(1.0, 22_050), 22_050, codec="libmp3lame", muxer={"write_xing": "0"})
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DecodeError, match="changes its sample rate or channels"):
        decode(first)


@pytest.mark.parametrize(("name", "container", "codec"), [("a.m4a", "mp4", "aac"), ("a.mka", "matroska", "flac")])
@pytest.mark.parametrize("default", [0, 1])
def test_of_several_streams_the_default_one_is_taken(
    name: str, container: str, codec: str, default: int, tmp_path: Path, frequency_of: FrequencyOf
) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", format=container) as file:
        streams = [file.add_stream(codec, rate=48_000, layout="mono") for _ in range(2)]
        for number, stream in enumerate(streams):
            assert isinstance(stream, av.AudioStream)
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for number, stream in enumerate(streams):
            assert isinstance(stream, av.AudioStream)
            wave = np.sin(2 * np.pi * (300 + 600 * number) * np.arange(48_000) / 48_000).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None] / 2, format="flt", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            converter = av.AudioResampler(stream.format, "mono", 48_000, frame_size=stream.frame_size or None)
            for converted in [*converter.resample(frame), *converter.resample(None)]:
                file.mux(stream.encode(converted))
            file.mux(stream.encode(None))
    audio = decode(path)
    assert frequency_of(audio.samples[0, :48_000], 48_000) == pytest.approx(300 + 600 * default, abs=2)
    assert audio.notes == ("it holds 2 audio streams, of which the default one is used",)


@pytest.mark.parametrize("tail", [bytes(65_536), b"\xff" * 65_536, bytes(1_000_000)], ids=["zeros", "ones", "many"])
@pytest.mark.parametrize("max_seconds", [None, 0.2])
def test_what_follows_an_mp3_is_no_part_of_it(
    tail: bytes, max_seconds: float | None, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.mp3", tone(0.6, 44_100), 44_100, codec="libmp3lame")
    whole = decode(path)
    assert whole.claimed_seconds == pytest.approx(0.6)
    path.write_bytes(path.read_bytes() + tail)
    audio = decode(path, max_seconds)
    assert audio.seconds == pytest.approx(0.6, abs=0.01)
    assert not audio.truncated
    assert audio.damaged_packets == 0
    assert whole.notes == ()
    if max_seconds is None:
        assert audio.notes == ("what follows its end is no sound and was left out",)
    path.write_bytes(path.read_bytes()[:4000])
    assert decode(path).truncated
