"""Plain samples come out as the header says, whatever width, order and container they are kept in."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from support import FIXTURES

from soundlora.dataset.decode import decode
from soundlora.dataset.pcm import to_full_scale
from soundlora.dataset.problems import DecodeError

RATE = 24_000
TIME = np.arange(28_800) / RATE
SOUND = 0.4 * np.sin(2 * np.pi * (300 * TIME + 200 * TIME**2))
INTEGERS, FLOATS = 1, 3
GUID = bytes.fromhex("000000001000800000aa00389b71")


def integers(bits: int, width: int, *, big: bool = False) -> bytes:
    """Return the sound as integers of `bits` that stand in the upper part of `width` bits."""
    values = np.round(SOUND * (2 ** (bits - 1) - 1)).astype(np.int64) << (width - bits)
    raw = values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, : width // 8]
    return bytes(raw[:, ::-1].tobytes() if big else raw.tobytes())


def extensible(width: int, bits: int, kind: int = INTEGERS) -> bytes:
    frame = width // 8
    return struct.pack("<HHIIHHHHIH", 0xFFFE, 1, RATE, RATE * frame, frame, width, 22, bits, 4, kind) + GUID


def plain(bits: int, frame: int, *, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHIIHH", INTEGERS, 1, RATE, RATE * frame, frame, bits)


def riff(header: bytes, samples: bytes, *, magic: bytes = b"RIFF", order: str = "<") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(f"{order}I", len(content)) + content

    return chunk(magic, b"WAVE" + chunk(b"fmt ", header) + chunk(b"data", samples))


def rf64(header: bytes, samples: bytes) -> bytes:
    sizes = struct.pack("<QQQI", 0, len(samples), len(SOUND), 0)
    body = b"ds64" + struct.pack("<I", len(sizes)) + sizes + b"fmt " + struct.pack("<I", len(header)) + header
    return b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + body + b"data" + struct.pack("<I", 0xFFFFFFFF) + samples


def w64(header: bytes, samples: bytes) -> bytes:
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + tail + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)

    body = b"wave" + tail + chunk(b"fmt ", header) + chunk(b"data", samples)
    return b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 24 + len(body)) + body


def aiff(bits: int, samples: bytes, kind: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">I", len(content)) + content

    exponent = math.floor(math.log2(RATE))
    rate = struct.pack(">HQ", 16383 + exponent, int(RATE / 2**exponent * 2**63))
    common = struct.pack(">HIH", 1, len(SOUND), bits) + rate + (kind + b"\0\0" if kind else b"")
    version = chunk(b"FVER", bytes.fromhex("a2805140")) if kind else b""
    name = b"AIFC" if kind else b"AIFF"
    return chunk(b"FORM", name + version + chunk(b"COMM", common) + chunk(b"SSND", bytes(8) + samples))


def caf(bits: int, frame: int, flags: int, samples: bytes) -> bytes:
    description = struct.pack(">d4sIIIII", RATE, b"lpcm", flags, frame, 1, 1, bits)
    head = b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", len(description)) + description
    return head + b"data" + struct.pack(">q", len(samples) + 4) + bytes(4) + samples


FLOAT32, FLOAT64 = SOUND.astype("<f4").tobytes(), SOUND.astype("<f8").tobytes()
FILES = {
    # bits, file, FFmpeg's name of the sample type
    "24 in 32": (24, riff(extensible(32, 24), integers(24, 32)), "pcm_s32le"),
    "20 in 32": (20, riff(extensible(32, 20), integers(20, 32)), "pcm_s32le"),
    "16 in 32": (16, riff(extensible(32, 16), integers(16, 32)), "pcm_s32le"),
    "20 in 24": (20, riff(extensible(24, 20), integers(20, 24)), "pcm_s24le"),
    "16 in 24": (16, riff(extensible(24, 16), integers(16, 24)), "pcm_s24le"),
    "12 in 16": (12, riff(extensible(16, 12), integers(12, 16)), "pcm_s16le"),
    "8 in 16": (8, riff(extensible(16, 8), integers(8, 16)), "pcm_s16le"),
    "no number of valid bits": (24, riff(extensible(24, 0), integers(24, 24)), "pcm_s24le"),
    "too many valid bits": (24, riff(extensible(32, 33), integers(32, 32)), "pcm_s32le"),
    "float with 24 valid bits": (24, riff(extensible(32, 24, FLOATS), FLOAT32), "pcm_f32le"),
    "double with 53 valid bits": (24, riff(extensible(64, 53, FLOATS), FLOAT64), "pcm_f64le"),
    "24 in 32 without extension": (24, riff(plain(24, 4), integers(24, 32)), "pcm_s32le"),
    "20 in 24 without extension": (20, riff(plain(20, 3), integers(20, 24)), "pcm_s24le"),
    "RIFX 16": (16, riff(plain(16, 2, order=">"), integers(16, 16, big=True), magic=b"RIFX", order=">"), "pcm_s16be"),
    "RIFX 24": (24, riff(plain(24, 3, order=">"), integers(24, 24, big=True), magic=b"RIFX", order=">"), "pcm_s24be"),
    "RF64 24 in 32": (24, rf64(extensible(32, 24), integers(24, 32)), "pcm_s32le"),
    "W64 24 in 32": (24, w64(extensible(32, 24), integers(24, 32)), "pcm_s32le"),
    "AIFF 20": (20, aiff(20, integers(20, 24, big=True)), "pcm_s24be"),
    "AIFF-C little-endian 24": (24, aiff(24, integers(24, 24), b"sowt"), "pcm_s24le"),
    "AIFF-C little-endian 16": (16, aiff(16, integers(16, 16), b"sowt"), "pcm_s16le"),
    "CAF 24": (24, caf(24, 3, 0, integers(24, 24, big=True)), "pcm_s24be"),
    "CAF little-endian float": (24, caf(32, 4, 3, FLOAT32), "pcm_f32le"),
}


@pytest.mark.parametrize("max_seconds", [None, 0.5])
@pytest.mark.parametrize(("bits", "content", "codec"), FILES.values(), ids=FILES)
def test_samples_in_every_width(
    bits: int, content: bytes, codec: str, max_seconds: float | None, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    audio = decode(tmp_path / "a.wav", max_seconds)
    expected = SOUND[: round((max_seconds or 1.2) * RATE)]
    assert audio.samples.shape == (1, len(expected))
    assert np.abs(audio.samples[0] - expected).max() <= 1.5 / 2 ** (bits - 1)
    assert (audio.codec, audio.sample_rate, audio.layout) == (codec, RATE, "mono")
    assert audio.seconds == pytest.approx(1.2)
    assert not audio.truncated
    assert audio.notes == ()


@pytest.mark.parametrize("flags", [0, 2, 4])
def test_a_caf_that_no_library_reads_is_refused_for_the_true_reason(flags: int, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(caf(24, 4, flags, integers(24, 32, big=not flags & 2)))
    with pytest.raises(DecodeError, match="it keeps 24 bits of a sample in 32; save it as WAV with 24 bits"):
        decode(tmp_path / "a.wav")


def test_a_wide_file_that_breaks_off_is_told(tmp_path: Path) -> None:
    content = riff(extensible(32, 24), integers(24, 32))
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    audio = decode(tmp_path / "a.wav")
    assert audio.truncated
    assert audio.seconds == pytest.approx(0.6, abs=0.01)
    assert audio.claimed_seconds == pytest.approx(1.2, abs=0.01)


@pytest.mark.parametrize("frames", [0, 2**31])
def test_a_wide_file_without_sound_or_with_a_lie_about_it(frames: int, tmp_path: Path) -> None:
    content = bytearray(riff(extensible(32, 24), integers(24, 32)[: min(frames, 400)]))
    if frames:
        content[64:68] = struct.pack("<I", 0xFFFFFFF0)
    (tmp_path / "a.wav").write_bytes(content)
    if frames:
        assert decode(tmp_path / "a.wav").samples.shape == (1, 100)
    else:
        with pytest.raises(DecodeError, match="its length is zero"):
            decode(tmp_path / "a.wav")


def test_the_file_of_a_recorder() -> None:
    audio = decode(FIXTURES / "audio" / "container32_valid24.wav")
    assert audio.seconds == pytest.approx(1.2)
    assert audio.samples.shape == (1, 28_800)
    assert 0.4 <= np.abs(audio.samples).max() <= 0.6


# ----------------------------------------------------------------------------------------------------------------------
# floats on the scale of integers


def test_a_float_file_on_the_scale_of_integers() -> None:
    audio = decode(FIXTURES / "audio" / "float_in_integer_scale.wav")
    assert 0.4 <= np.abs(audio.samples).max() <= 0.6
    (note,) = audio.notes
    assert note.startswith("its samples run to 19,2")
    assert note.endswith("on the scale of 16-bit integers: they were divided by 32,768")


@pytest.mark.parametrize(("bits", "peak"), [(16, 32_767), (16, 40_000), (24, 2**23 - 1), (32, 2.0**31), (16, 100)])
@pytest.mark.parametrize("whole", [True, False])
def test_scales_are_told_by_the_peak(bits: int, peak: float, whole: bool) -> None:
    sound = (SOUND / 0.4 * peak).astype(np.float32)[None]
    scaled, note = to_full_scale(np.rint(sound) if whole else sound.copy())
    assert np.abs(scaled).max() == pytest.approx(peak / 2 ** (bits - 1), rel=1e-3)
    assert note is not None
    assert f"{bits}-bit" in note


@pytest.mark.parametrize("peak", [1.0, 4.0, 7.9])
def test_overshoot_is_no_scale(peak: float) -> None:
    sound = (SOUND / 0.4 * peak).astype(np.float32)[None]
    scaled, note = to_full_scale(sound.copy())
    assert np.array_equal(scaled, sound)
    assert note is None


def test_a_spike_is_no_scale() -> None:
    sound = SOUND.astype(np.float32)[None]
    sound[0, 5000:5010] = 20_000.5
    scaled, note = to_full_scale(sound.copy())
    assert np.array_equal(scaled, sound)
    assert note is None


def test_what_is_no_number_is_left_to_be_refused() -> None:
    for value in (np.nan, np.inf):
        sound = np.full((1, 100), value, np.float32)
        scaled, note = to_full_scale(sound.copy())
        assert note is None
        assert np.array_equal(scaled, sound, equal_nan=True)
