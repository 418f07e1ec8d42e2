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
    if container == "mp3":
        # FFmpeg guesses by the file's size where other bytes follow the sound.
        return _tagged_seconds(path, header_seconds)
    return header_seconds if container in ("wav", "flac") or "mp4" in container else None


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
    """Return the length in bytes of a frame of layer III with this header, 0 where the header does not say."""
    sample_rate, samples = _mp3_rate(head)
    if not sample_rate:
        return 0
    bits = 1000 * (_MPEG1_RATES if samples == 1152 else _MPEG2_RATES)[head[2] >> 4]
    return samples // 8 * bits // sample_rate + (head[2] >> 1 & 1) if bits else 0


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
    """Return the sample rate in Hz and the samples of a frame of layer III, zeros where the header does not say."""
    # The header starts with 11 set bits, two bits of the version and two of the layer.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 2 & 3 == 3:
        return 0, 0
    version = head[1] >> 3 & 3
    return _MPEG1_SAMPLE_RATES[head[2] >> 2 & 3] // {3: 1, 2: 2, 0: 4}.get(version, 1), 1152 if version == 3 else 576
