"""libsndfile reads plain samples whose header FFmpeg misreads, such as 24 bits in 32 and big-endian WAV.

FFmpeg takes the number of valid bits for the width of a sample, so noise of full scale comes out and nothing fails.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from soundlora.dataset.problems import DecodeError

_BIG_ENDIAN = ("AIFF", "CAF")
_FORMATS = ("WAV", "WAVEX", "RF64", "W64", *_BIG_ENDIAN)
# libsndfile's names of sample types, with FFmpeg's. FFmpeg adds the order of the bytes where there are several.
_TYPES = {
    "PCM_S8": "pcm_s8",
    "PCM_U8": "pcm_u8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
    "DOUBLE": "pcm_f64",
}
# Floats on the scale of integers have these magnitudes. A little more is overshoot.
_INTEGER_SCALES = {16: 2.0**15, 24: 2.0**23, 32: 2.0**31}
_OVERSHOOT = 1.5
# No recording overshoots full scale by 18 dB in more than a moment.
_TOO_LOUD = 8.0
_A_MOMENT = 0.05


@dataclass(frozen=True)
class Header:
    """What libsndfile reads from a header. `codec` is FFmpeg's name of the sample type, `frames` counts samples.

    `bit_rate` is in bits a second.
    """

    codec: str
    channels: int
    sample_rate: int
    frames: int

    @property
    def bit_rate(self) -> int:
        return int("".join(filter(str.isdigit, self.codec))) * self.channels * self.sample_rate


def misread(path: Path, codec: str) -> Header | None:
    """Return the right header of `path` where FFmpeg takes its samples for `codec` and they are another type.

    `codec` is "" where FFmpeg found none. None says that FFmpeg is right, or that these are no plain samples. Raises
    DecodeError for a CAF whose samples neither library reads.
    """
    if codec and not codec.startswith("pcm_"):
        return None
    with _opened(path) as file:
        if file is None:
            _check_caf(path, codec)
            return None
        if file.format not in _FORMATS or file.subtype not in _TYPES:
            return None
        name = _TYPES[file.subtype]
        if not name.endswith("8"):
            name += "be" if file.endian == "BIG" or (file.endian == "FILE" and file.format in _BIG_ENDIAN) else "le"
        # A frame has at least a byte a channel, whatever the header claims.
        frames = min(file.frames, path.stat().st_size)
        return None if name == codec else Header(name, file.channels, file.samplerate, frames)


def read(path: Path, frames: int) -> np.ndarray:
    """Return the first `frames` samples as float32 (channels, n); integers are scaled to ±1.

    Raises DecodeError when they can't be read.
    """
    with _opened(path) as file:
        if file is None:
            raise DecodeError("its samples can't be read")
        return np.ascontiguousarray(file.read(frames, dtype="float32", always_2d=True).T)


def to_full_scale(samples: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Divide float samples that stand on the scale of integers by it, in place. Return them and a clause that says so.

    A float file of another program may hold samples up to ±32,767. A spike alone is no such scale.
    """
    peak = float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
    # NaN fails this comparison, too; the caller refuses it.
    if not peak > _TOO_LOUD:
        return samples, None
    loud = np.abs(samples) > 1
    if loud.mean() < _A_MOMENT and not np.array_equal(samples, np.rint(samples)):
        return samples, None
    bits = next((bits for bits, scale in _INTEGER_SCALES.items() if peak <= _OVERSHOOT * scale), None)
    if bits is None:
        return samples, None
    samples /= np.float32(_INTEGER_SCALES[bits])
    return samples, (
        f"its samples run to {peak:,.0f}, on the scale of {bits}-bit integers: they were divided by "
        f"{_INTEGER_SCALES[bits]:,.0f}"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile | None]:
    """Open `path` with libsndfile; yield None where it can't."""
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError):
        yield None
        return
    with file:
        yield file


def _check_caf(path: Path, codec: str) -> None:
    """Raise DecodeError for samples in a CAF that are wider than the bits that they use."""
    with path.open("rb") as file:
        head = file.read(52)
    if head[:4] != b"caff" or head[28:32] != b"lpcm" or not codec:
        return
    bytes_a_packet, samples_a_packet, channels, bits = (
        int.from_bytes(head[at : at + 4], "big") for at in (36, 40, 44, 48)
    )
    width = bytes_a_packet / max(1, samples_a_packet * channels)
    if width != math.ceil(bits / 8):
        raise DecodeError(f"it keeps {bits} bits of a sample in {8 * width:g}; save it as WAV with {bits} bits")
