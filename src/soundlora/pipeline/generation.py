"""A generated sound: what it came from, the file that it is saved to, and how a notebook shows it."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from torch import Tensor

from soundlora.audio.formats import ENDINGS, encoded, rate_for, write_audio
from soundlora.audio.spectrogram import HEIGHT, WIDTH, side_by_side
from soundlora.errors import InputError
from soundlora.model.mel import resample

USUAL_SECONDS = 5.0  # where nobody gives a length and the base predicts none


@dataclass(frozen=True)
class Generation:
    """Sound (channels, samples) in [−1, 1] at `sample_rate` Hz, and what it came from.

    It is stereo at the base's rate, or as the sound that it was made of. duration: the seconds that were asked for.
    predicted: the base's duration head chose them. A notebook shows it as a picture with a player.
    """

    waveform: Tensor = field(repr=False)
    sample_rate: int
    prompt: str
    seed: int
    duration: float = USUAL_SECONDS
    predicted: bool = False

    @property
    def seconds(self) -> float:
        """The length of the sound."""
        return self.waveform.shape[1] / self.sample_rate

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a file and return its path: .wav (16 bits), .flac (24 bits), .ogg (Vorbis) or .mp3, by the ending.

        A file that is there is replaced. MP3 has few rates; a sound of another one is brought to the next of them.
        Raises InputError for another ending.
        """
        target = Path(path)
        check_ending(target)
        rate = rate_for(target, self.sample_rate)
        sound = self.waveform if rate == self.sample_rate else resample(self.waveform, self.sample_rate, rate)
        write_audio(target, sound, rate)
        return target

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the spectrogram, a player, and what the sound came from."""
        picture = side_by_side([(np.asarray(self.waveform), self.sample_rate)])
        sound = encoded(self.waveform, self.sample_rate, ".wav")
        said = f"{self.prompt} · {self.seconds:.2f} s · seed {self.seed}"
        return (
            f'<figure style="margin: 0; width: {WIDTH}px; max-width: 100%">'
            f'<img src="{data_uri("image/png", picture)}" width="{WIDTH}" height="{HEIGHT}" alt="Spectrogram" '
            'style="display: block; max-width: 100%">'
            f'<audio controls src="{data_uri("audio/wav", sound)}" style="width: 100%"></audio>'
            f"<figcaption>{escape(said)}</figcaption></figure>"
        )


def check_ending(path: Path) -> None:
    """Raise InputError for a file whose ending names no format that sound is written in."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            f"{path.name} doesn't end in the name of a format; end it in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.",
            field="out",
        )


def data_uri(kind: str, content: bytes) -> str:
    """Return an address that holds the content itself. kind: its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
