"""This module finds out whether a file breaks off, since FFmpeg plays what is there and doesn't mention the rest."""

from __future__ import annotations

from pathlib import Path

from av.audio.stream import AudioStream
from av.packet import Packet

# These are the kbit/s of layer III by the header's index. Index 0 means "free": such frames state no size. Index 15 is
# not allowed.
_MPEG1_RATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MPEG2_RATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MPEG1_SAMPLE_RATES = (44_100, 48_000, 32_000)
# The same of layer II.
_MPEG1_RATES_2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0)
# Programs that stream leave one of the largest numbers for a size that they don't know.
_ABSURD = 2**62
_MOST_CHUNKS = 1000


def claimed_seconds(
    container: str, path: Path, header_seconds: float | None, found_seconds: float, bit_rate: int
) -> float | None:
    """Return the length in seconds that the file's header states, None where it states none.

    `header_seconds` is FFmpeg's figure, which is only an estimate for some formats. `bit_rate` is in bits a second.
    """
    if header_seconds is None:
        return None
    if container in _SIZED and (missing := _SIZED[container](path)):
        return found_seconds + missing * 8 / bit_rate if bit_rate else None
    if container == "mp3":
        # FFmpeg guesses by the file's size where other bytes follow the sound.
        return _tagged_seconds(path, header_seconds)
    return header_seconds if container in (*_SIZED, "aiff", "flac", "wv") or "mp4" in container else None


def breaks_off(container: str, path: Path) -> bool:
    """Return whether a file that states no length is shorter than the size that it states."""
    if container == "matroska,webm":
        return _missing_matroska_bytes(path) > 0
    if container == "asf":
        return _missing_asf_bytes(path) > 0
    return container in _SIZED and _SIZED[container](path) > 0


def is_cut_frame(container: str, packet: Packet[AudioStream]) -> bool:
    """Return whether the packet of a raw mp3 or ADTS file is shorter than its own header states."""
    if container not in ("mp3", "aac"):
        return False
    head = bytes(memoryview(packet)[:6])
    return packet.size < (_mp3_frame_size(head) if container == "mp3" else _adts_frame_size(head))


def id3_bytes(path: Path) -> int:
    """Return the length in bytes of the ID3 tag at the start of the file, 0 where there is none."""
    with path.open("rb") as file:
        head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _mp3_frame_size(head: bytes) -> int:
    """Return the length in bytes of a frame of layer II or III with this header, 0 where the header does not say."""
    sample_rate, samples = _mp3_rate(head)
    if not sample_rate:
        return 0
    first = head[1] >> 3 & 3 == 3
    rates = (_MPEG1_RATES_2 if _is_layer_2(head) else _MPEG1_RATES) if first else _MPEG2_RATES
    bits = 1000 * rates[head[2] >> 4]
    return samples // 8 * bits // sample_rate + (head[2] >> 1 & 1) if bits else 0


def _adts_frame_size(head: bytes) -> int:
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def is_rf64(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"RF64"


def missing_wav_bytes(path: Path) -> int:
    """Return how many bytes the header of a wav promises beyond the end."""
    with path.open("rb") as file:
        head = file.read(28)
    if head[:4] == b"RIFF":
        promised = int.from_bytes(head[4:8], "little")
        # Programs that stream don't know the length, and leave 0 or one of the largest numbers there.
        return max(0, promised + 8 - path.stat().st_size) if promised <= 0xFFFFFF00 else 0
    if head[:4] == b"RF64" and head[12:16] == b"ds64":
        promised = int.from_bytes(head[20:28], "little")
        return max(0, promised + 8 - path.stat().st_size) if promised < _ABSURD else 0
    return 0


def _missing_w64_bytes(path: Path) -> int:
    """Return how many bytes the header of a Sony Wave64 promises beyond the end. 16 bytes name the kind before it."""
    with path.open("rb") as file:
        promised = int.from_bytes(file.read(24)[16:], "little")
    return max(0, promised - path.stat().st_size) if promised < _ABSURD else 0


def _missing_caf_bytes(path: Path) -> int:
    """Return how many bytes of samples a CAF promises beyond the end. A recorder that streams leaves −1 there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 8
        for _ in range(_MOST_CHUNKS):
            if at >= size:  # no file system seeks to any number that a file may claim
                return 0
            file.seek(at)
            head = file.read(12)
            length = int.from_bytes(head[4:], "big", signed=True)
            if len(head) < 12 or length < 0:
                return 0
            at += 12 + length
            if head[:4] == b"data":
                return max(0, at - size) if at < _ABSURD else 0
    return 0


def _missing_matroska_bytes(path: Path) -> int:
    """Return how many bytes the segment of a Matroska or WebM promises beyond the end."""
    with path.open("rb") as file:
        head = file.read(4096)
    header = _ebml_number(head, 4)
    if head[:4] != b"\x1a\x45\xdf\xa3" or header is None:
        return 0
    at = header[1] + header[0]
    segment = _ebml_number(head, at + 4)
    if head[at : at + 4] != b"\x18\x53\x80\x67" or segment is None:
        return 0
    return max(0, segment[1] + segment[0] - path.stat().st_size)


def _ebml_number(head: bytes, at: int) -> tuple[int, int] | None:
    """Return a number of EBML, whose first bits tell its length, and where it ends; None where it is unknown."""
    if at >= len(head) or not head[at]:
        return None
    length = 9 - head[at].bit_length()
    number = int.from_bytes(head[at : at + length], "big") & (1 << 7 * length) - 1
    # All bits set means that the length was not known yet.
    return None if number == (1 << 7 * length) - 1 else (number, at + length)


def _missing_asf_bytes(path: Path) -> int:
    """Return how many bytes an ASF promises beyond the end, by the sizes of its first two objects, header and data."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(2):
            if at >= size:
                break
            file.seek(at)
            at += int.from_bytes(file.read(24)[16:], "little")
    return max(0, at - size) if at < _ABSURD else 0


_SIZED = {"wav": missing_wav_bytes, "w64": _missing_w64_bytes, "caf": _missing_caf_bytes}
"""Containers of plain samples whose length FFmpeg measures by the file's size."""


def _tagged_seconds(path: Path, header_seconds: float) -> float | None:
    """Return the length that an mp3 states in a Xing, Info or VBRI tag of its first frame, None without a tag.

    A tag that states no number of frames leaves `header_seconds`.
    """
    with path.open("rb") as file:
        file.seek(id3_bytes(path))
        first_frame = file.read(2048)
    at = next((at for tag in (b"Xing", b"Info", b"VBRI") if (at := first_frame.find(tag)) >= 0), None)
    if at is None:
        return None
    is_vbri = first_frame[at : at + 4] == b"VBRI"
    frames = int.from_bytes(first_frame[at + 14 : at + 18] if is_vbri else first_frame[at + 8 : at + 12], "big")
    rate, samples_a_frame = _mp3_rate(first_frame)
    if not rate or not frames or not (is_vbri or first_frame[at + 7] & 1):
        return header_seconds
    samples = frames * samples_a_frame
    # LAME and FFmpeg note how many samples the encoder put before and behind the sound, 12 bits each.
    if not is_vbri and first_frame[at + 120 : at + 124] in (b"LAME", b"Lavc", b"Lavf"):
        added = int.from_bytes(first_frame[at + 141 : at + 144], "big")
        samples -= (added >> 12) + (added & 0xFFF)
    return max(0, samples) / rate


def _mp3_rate(head: bytes) -> tuple[int, int]:
    """Return the sample rate in Hz and the samples of a frame of layer II or III, zeros where it is neither."""
    # The header starts with 11 set bits, two bits of the version and two of the layer.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 not in (0xE2, 0xE4) or head[2] >> 2 & 3 == 3:
        return 0, 0
    version = head[1] >> 3 & 3
    rate = _MPEG1_SAMPLE_RATES[head[2] >> 2 & 3] // {3: 1, 2: 2, 0: 4}.get(version, 1)
    return rate, 1152 if version == 3 or _is_layer_2(head) else 576


def _is_layer_2(head: bytes) -> bool:
    return head[1] & 6 == 4
