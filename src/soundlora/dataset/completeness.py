"""This module finds out whether a file breaks off, since FFmpeg plays what is there and doesn't mention the rest."""

from __future__ import annotations

import math
from pathlib import Path

from av.audio.stream import AudioStream
from av.packet import Packet

# These are the kbit/s of layer III by the header's index. Index 0 means "free": such frames state no size. Index 15 is
# not allowed.
_MPEG1_RATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MPEG2_RATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MPEG1_SAMPLE_RATES = (44_100, 48_000, 32_000)
_OGG_PAGE_HEADER = 27
_OGG_LAST_PAGE = 0x04
_OGG_LARGEST_PAGE = _OGG_PAGE_HEADER + 255 + 255 * 255


def claimed_seconds(
    container: str, path: Path, header_seconds: float | None, found_seconds: float, bit_rate: int
) -> float | None:
    """Return the length in seconds that the file's header states, None where it states none.

    `header_seconds` is FFmpeg's figure, which is only an estimate for some formats. `bit_rate` is in bits a second.
    """
    if header_seconds is None:
        return None
    if container == "wav" and (missing := _missing_wav_bytes(path)):
        return found_seconds + missing * 8 / (bit_rate or math.inf)
    stated = container in ("wav", "flac") or "mp4" in container or (container == "mp3" and _has_length_tag(path))
    return header_seconds if stated else None


def is_cut_frame(container: str, packet: Packet[AudioStream]) -> bool:
    """Return whether the packet of a raw mp3 or ADTS file is shorter than its own header states."""
    if container not in ("mp3", "aac"):
        return False
    head = bytes(memoryview(packet)[:6])
    return packet.size < (_mp3_frame_size(head) if container == "mp3" else _adts_frame_size(head))


def ogg_is_whole(path: Path) -> bool:
    """Return whether the file ends with a complete page that is marked as the last one of its stream."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _OGG_LARGEST_PAGE))
        tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) < start + _OGG_PAGE_HEADER:
        return False
    segments = tail[start + _OGG_PAGE_HEADER : start + _OGG_PAGE_HEADER + tail[start + 26]]
    end = start + _OGG_PAGE_HEADER + tail[start + 26] + sum(segments)
    return len(segments) == tail[start + 26] and end <= len(tail) and bool(tail[start + 5] & _OGG_LAST_PAGE)


def id3_bytes(path: Path) -> int:
    """Return the length in bytes of the ID3 tag at the start of the file, 0 where there is none."""
    with path.open("rb") as file:
        head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _mp3_frame_size(head: bytes) -> int:
    """Return the length in bytes of a frame of layer III with this header, 0 where the header does not say."""
    # The header starts with 11 set bits, two bits of the version and two of the layer.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate_index, sample_rate_index = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if sample_rate_index == 3:
        return 0
    is_mpeg1 = version == 3
    bits = 1000 * (_MPEG1_RATES if is_mpeg1 else _MPEG2_RATES)[rate_index]
    sample_rate = _MPEG1_SAMPLE_RATES[sample_rate_index] // {3: 1, 2: 2, 0: 4}.get(version, 1)
    return (144 if is_mpeg1 else 72) * bits // sample_rate + (head[2] >> 1 & 1) if bits else 0


def _adts_frame_size(head: bytes) -> int:
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _missing_wav_bytes(path: Path) -> int:
    """Return how many bytes the RIFF header promises beyond the end. FFmpeg's own figure only counts what is there."""
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:8], "little")
    # Programs that stream don't know the length, and leave 0 or one of the largest numbers there.
    if head[:4] != b"RIFF" or promised > 0xFFFFFF00:
        return 0
    return max(0, promised + 8 - path.stat().st_size)


def _has_length_tag(path: Path) -> bool:
    """Return whether an mp3 states its length in a Xing, Info or VBRI tag of its first frame."""
    with path.open("rb") as file:
        file.seek(id3_bytes(path))
        first_frame = file.read(2048)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))
