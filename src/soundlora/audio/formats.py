"""Sound files of the formats that people share: the ending of the name says which.

| ending | what is written |
|---|---|
| .wav | 16-bit PCM, as the reference saves it |
| .flac | 24 bits, without loss: nothing of a 24-bit source is rounded away |
| .ogg | Vorbis at quality 8 of 10 |
| .mp3 | MPEG layer III at the best of its variable rates |
"""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import soundfile
from torch import Tensor

from soundlora.audio.wav import write_wav
from soundlora.system.whole_files import whole

_WAYS: dict[str, dict[str, Any]] = {
    ".wav": {"format": "WAV", "subtype": "PCM_16"},
    ".flac": {"format": "FLAC", "subtype": "PCM_24"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.2},
    ".mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": 0.0, "bitrate_mode": "VARIABLE"},
}
ENDINGS = tuple(_WAYS)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_BLOCK = 1 << 16
"""Samples that are encoded at once: libsndfile takes its memory for a block of Vorbis from the stack."""


def rate_for(path: Path, sample_rate: int) -> int:
    """Return the rate in Hz at which the file can hold sound of `sample_rate`. Only MP3 has another one, of its few."""
    if path.suffix.lower() != ".mp3" or sample_rate in _MP3_RATES:
        return sample_rate
    return next((rate for rate in _MP3_RATES if rate > sample_rate), _MP3_RATES[-1])


def write_audio(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """Write (channels, samples) in [−1, 1] at `sample_rate` Hz in the format that the path's ending names.

    The file appears under its name when it is complete. The ending is one of `ENDINGS`, and the rate that of
    `rate_for`. Raises MachineError when the file can't be written.
    """
    if path.suffix.lower() == ".wav":
        write_wav(path, waveform, sample_rate)
        return
    with whole(path) as unfinished:
        unfinished.write_bytes(encoded(waveform, sample_rate, path.suffix.lower()))


def encoded(waveform: Tensor, sample_rate: int, ending: str) -> bytes:
    """Return the content of a sound file: (channels, samples) in [−1, 1] at `sample_rate` Hz, by its ending.

    Raises OSError where this machine's libsndfile lacks the format.
    """
    samples = waveform.clamp(-1, 1).T.contiguous().numpy()
    content = io.BytesIO()  # A full disk would be no error to libsndfile.
    try:
        with soundfile.SoundFile(content, "w", sample_rate, samples.shape[1], **_WAYS[ending]) as file:
            for start in range(0, len(samples), _BLOCK):
                file.write(samples[start : start + _BLOCK])
    except soundfile.LibsndfileError as error:
        raise OSError(errno.EINVAL, f"libsndfile can't make it: {error.error_string}") from None
    return content.getvalue()
