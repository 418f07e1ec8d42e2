"""Sound that goes on from a file, leads into it, mends it, or is made of it.

Where a file is kept, its own samples are kept, at its own rate. What is generated joins them with a cross-fade, in
which the file's samples fade over to their copy from the latents. Time is counted in frames of the mel spectrogram: the
first T latents of a sound stand for its first 4T − 3 frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from soundlora.contract.modes import MODES
from soundlora.dataset import Spans, UnusableClipError, decode
from soundlora.dataset.fit import PEAK_DBFS, SILENCE
from soundlora.dataset.partners import checked_spans
from soundlora.errors import InputError
from soundlora.model.condition import Given, at_end, at_start, outside
from soundlora.model.latents import generation_latents
from soundlora.model.mel import resample, to_stereo
from soundlora.pipeline.matching import matched
from soundlora.pipeline.settings import checked
from soundlora.system.cache_root import expanded
from soundlora.weights.base import Codec
from soundlora.wording import setting, using

MAX_SECONDS = 60.0
FADE_SECONDS = 0.020
_HEARD_SECONDS = 1.0  # of the file that is gone on from or led into, where nobody says how many
_PEAK = 10 ** (PEAK_DBFS / 20)  # at which clips are trained
_WINDOW_SECONDS = 10.0  # around spans of a long file
_SHARE = 0.6  # of a window, that spans may reach over

_KINDS: dict[str, tuple[Any, bool]] = {
    "mode": (str, False),
    "audio": (str | os.PathLike[str], False),
    "conditioning_seconds": (float, True),
    "added_seconds": (float, True),
    "decoded": (bool, False),
}
"""What each argument of a source must be, and whether it may be None."""

Make = Callable[[Given, int], Tensor]
"""Generates sound (2, samples), at the codec's rate, of what is given and the number of the window."""


@dataclass(frozen=True)
class Source:
    """A sound file, and what is to become of it.

    mode: "extend-prefix" goes on from its end, "extend-suffix" leads into its start, "inpaint" makes `spans` of it
    anew, "a2a" makes another sound of it. conditioning_seconds: seconds of its end or start that the model hears; None
    means 1. added_seconds: seconds that are generated in all; None means one window's. decoded: the file comes back as
    the latents hold it instead of as it was. spans: pairs of start and end in seconds.
    Raises InputError for a value of the wrong type, and for spans that end before they start.
    """

    mode: str
    audio: str | os.PathLike[str]
    spans: Spans = ()
    conditioning_seconds: float | None = None
    added_seconds: float | None = None
    decoded: bool = False

    def __post_init__(self) -> None:
        for name, (kind, optional) in _KINDS.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), None, kind, optional))
        if self.spans != ():
            try:
                object.__setattr__(self, "spans", checked_spans(self.spans))
            except ValueError as error:
                raise InputError(f"{setting('spans')} {error}.", field="spans") from None

    @property
    def path(self) -> Path:
        """Where the sound lies."""
        return expanded(self.audio)


def check_source(source: Source, duration: float | None) -> None:
    """Raise InputError for what does not belong together, before anything is loaded. duration: of a window."""
    mode = MODES.get(source.mode)
    if mode is None or mode.given == "nothing":
        names = [each.name for each in MODES.values() if each.given != "nothing"]
        raise InputError(f"{setting('mode')} is {source.mode!r}, but it must be one of {', '.join(names)}.")
    if not source.path.is_file():
        raise InputError(f"{source.path} does not exist, or is no file.", field="audio_url")
    if mode.given == "spans" and not source.spans:
        raise InputError(f"{setting('spans')} is missing: name the seconds that are made anew.", field="spans")
    if mode.given != "spans" and source.spans:
        raise InputError(f"{setting('spans')} is for mending a sound; leave it out.", field="spans")
    for name, value in (("conditioning_seconds", source.conditioning_seconds), ("added_seconds", source.added_seconds)):
        if value is not None and not mode.takes_seconds:
            raise InputError(
                f"{setting(name)} is for going on from a sound or leading into one; leave it out.", field=name
            )
        if value is not None and not 0 < value <= 3600:
            raise InputError(f"{setting(name)} is {value:g}, but it must be above 0 and at most 3600.", field=name)
    heard = source.conditioning_seconds or _HEARD_SECONDS
    if mode.takes_seconds and duration is not None and heard >= duration:
        raise InputError(
            f"{setting('conditioning_seconds')} is {heard:g}, but it must be less than the {duration:g} s that are "
            "generated at a time.",
            field="conditioning_seconds",
        )


def generated(source: Source, codec: Codec, duration: float | None, make: Make) -> tuple[Tensor, int]:
    """Return the sound (channels, samples) that becomes of a file, and its rate in Hz, which is the file's.

    duration: seconds of a window; None means 5, and of mending and making the whole file where that is not too long.
    Raises InputError when the file can't be used.
    """
    editor = _Editor(source, codec, make)
    work = {"start": editor.go_on, "end": editor.lead_in, "spans": editor.mend, "reference": editor.remake}
    return work[MODES[source.mode].given](duration), editor.rate


class _Editor:
    def __init__(self, source: Source, codec: Codec, make: Make) -> None:
        self.source, self.codec, self.make, self.audio = source, codec, make, codec.config.audio
        try:
            found = decode(source.path, 3600.0)
        except UnusableClipError as error:
            raise InputError(f"{source.path.name} can't be used: {error.reason}.", field="audio_url") from None
        samples = torch.from_numpy(found.samples)
        self.rate = found.sample_rate
        self.sound = samples if len(samples) <= 2 else to_stereo(samples)  # (1 or 2, samples)
        peak = self.sound.abs().max().item() if self.sound.numel() else 0.0
        if peak < SILENCE:
            raise InputError(f"{source.path.name} can't be used: it is silent.", field="audio_url")
        self.gain = _PEAK / peak
        self.seconds = self.sound.shape[1] / self.rate
        self._windows = 0

    def go_on(self, duration: float | None) -> Tensor:
        """Return the file with what follows it."""
        tokens = self._tokens(duration)
        sound, wanted = self.sound, self._wanted(tokens)
        while sound.shape[1] < wanted:
            count = self._heard(tokens, sound)
            seam = self.samples(4 * count - 3)
            latents = self._encode(sound[:, -seam:])[:count]  # (count, C)
            rest = latents.new_zeros(tokens - count, latents.shape[1])
            made = self._make(Given(torch.cat((latents, rest)), at_start(tokens, count)))
            made = self._matched(made, sound[:, -seam:], made[:, :seam])
            sound = joined(sound, made, seam, self._fade, self.source.decoded)
        return sound[:, :wanted]

    def lead_in(self, duration: float | None) -> Tensor:
        """Return the file with what comes before it."""
        tokens = self._tokens(duration)
        sound, wanted = self.sound, self._wanted(tokens, 3)
        while sound.shape[1] < wanted:
            count = self._heard(tokens, sound)
            heard = sound[:, : self.samples(4 * count)]
            # The encoder hears what came before. A mirror of the sound is nearer to that than silence.
            before = heard.flip(1)[:, -self.samples(4 * count - 3) :]
            latents = self._encode(torch.cat((before, heard), dim=1))[-count:]  # (count, C)
            rest = latents.new_zeros(tokens - count, latents.shape[1])
            made = self._make(Given(torch.cat((rest, latents)), at_end(tokens, count)))
            seam = self.samples(4 * count)
            made = self._matched(made, heard, made[:, -seam:])
            sound = joined(sound.flip(1), made.flip(1), seam, self._fade, self.source.decoded).flip(1)
        return sound[:, -wanted:]

    def mend(self, duration: float | None) -> Tensor:
        """Return the file with its spans made anew."""
        if self.source.spans[0][0] >= self.seconds:
            raise InputError(
                f"{setting('spans')} names no span within the {self.seconds:.2f} s of {self.source.path.name}.",
                field="spans",
            )
        window = min(
            duration or (self.seconds if self.seconds <= 2 * _WINDOW_SECONDS else _WINDOW_SECONDS), self.seconds
        )
        sound = self.sound.clone()
        for begin, spans in self._groups(window):
            first = round(begin * self.rate)
            part = self.sound[:, first : first + round(window * self.rate)]
            latents = self._encode(self._padded(part))
            mask = outside(len(latents), spans, self.audio)
            made = self._make(Given(latents, mask))[:, : part.shape[1]]
            if self.source.decoded:
                sound[:, first : first + made.shape[1]] = made
                continue
            weight = part.new_zeros(made.shape[1])  # of what is made anew
            for start, end in spans:
                weight = torch.maximum(weight, _hill(len(weight), start * self.rate, end * self.rate, self._fade))
            kept = sound[:, first : first + made.shape[1]]
            made = self._matched(made, kept * (1 - weight), made * (1 - weight))
            sound[:, first : first + made.shape[1]] = kept + weight * (made - kept)
        return sound

    def remake(self, duration: float | None) -> Tensor:
        """Return the sound that is made of the file, as long as the file."""
        if duration is None and self.seconds > MAX_SECONDS:
            raise InputError(
                f"{self.source.path.name} is {self.seconds:.1f} s long, but at most {MAX_SECONDS:g} s are made at "
                f"once; take its first seconds with {using('duration', MAX_SECONDS)}.",
                field="audio_url",
            )
        part = self.sound if duration is None else self.sound[:, : round(duration * self.rate)]
        latents = self._encode(self._padded(part))
        given = Given(torch.zeros_like(latents), at_start(len(latents), 0), latents)
        return self._make(given)[:, : part.shape[1]]

    # ------------------------------------------------------------------------------------------------------------------

    def samples(self, frames: int) -> int:
        """Return the samples at the file's rate of so many frames."""
        return round(frames * self.audio.hop * self.rate / self.audio.sample_rate)

    @property
    def _fade(self) -> int:
        return round(FADE_SECONDS * self.rate)

    def _tokens(self, duration: float | None) -> int:
        return max(2, generation_latents(duration or 5.0, self.audio))

    def _wanted(self, tokens: int, lost: int = 0) -> int:
        """Return the samples of the file with all that is added. lost: frames that the start of a window lacks."""
        heard = min(
            max(1, round((self.source.conditioning_seconds or _HEARD_SECONDS) * self.audio.latent_rate)), tokens - 1
        )
        added = self.source.added_seconds
        return self.sound.shape[1] + (
            self.samples(4 * (tokens - heard) - lost) if added is None else round(added * self.rate)
        )

    @property
    def _wished(self) -> int:
        """The latents of the file that are to be heard."""
        return max(1, round((self.source.conditioning_seconds or _HEARD_SECONDS) * self.audio.latent_rate))

    def _heard(self, tokens: int, sound: Tensor) -> int:
        """Return the latents that are given of a window."""
        there = int(sound.shape[1] / self.samples(1)) // 4
        if there < 1:
            raise InputError(
                f"{self.source.path.name} is {self.seconds:.3f} s long, but at least 0.04 s are needed.",
                field="audio_url",
            )
        return min(self._wished, there, tokens - 1)

    def _encode(self, sound: Tensor) -> Tensor:
        return self.codec.encode(sound * self.gain, self.rate)

    def _padded(self, sound: Tensor) -> Tensor:
        """Return the sound with 4 frames behind it, so that its last latent is whole."""
        return F.pad(sound, (0, self.samples(4)))

    def _make(self, given: Given) -> Tensor:
        """Return a window of sound with the file's channels, rate and level."""
        made = resample(self.make(given, self._windows), self.codec.sample_rate, self.rate) / self.gain
        self._windows += 1
        return made if len(self.sound) == 2 else made.mean(dim=0, keepdim=True)

    def _matched(self, made: Tensor, original: Tensor, copy: Tensor) -> Tensor:
        """Return what was made with the file's level and colour. copy: of `original`, from latents."""
        return made if self.source.decoded else matched(made, original, copy, self.rate)

    def _groups(self, window: float) -> list[tuple[float, Spans]]:
        """Return windows by where they begin in the file, with their spans in seconds from there."""
        spans = [(start, min(end, self.seconds)) for start, end in self.source.spans if start < self.seconds]
        groups: list[list[tuple[float, float]]] = []
        for span in spans:
            whole = window >= self.seconds
            if groups and (whole or span[1] - groups[-1][0][0] <= _SHARE * window):
                groups[-1].append(span)
            else:
                groups.append([span])
        found = []
        for group in groups:
            first, last = group[0][0], max(end for _, end in group)
            if window < self.seconds and last - first > window:
                raise InputError(
                    f"The span from {first:g} to {last:g} s is longer than the window of {window:g} s; lengthen it "
                    f"with {using('duration', round(min(MAX_SECONDS, 1.5 * (last - first)), 1))}.",
                    field="spans",
                )
            begin = min(max(0.0, (first + last - window) / 2), self.seconds - window)
            # The padding behind the file is no silence that a span at its end would have to lead to.
            found.append(
                (
                    begin,
                    tuple((start - begin, end - begin + (1.0 if end >= self.seconds else 0.0)) for start, end in group),
                )
            )
        return found


def joined(sound: Tensor, made: Tensor, seam: int, fade: int, decoded: bool = False) -> Tensor:
    """Return a sound (channels, samples) with what follows it.

    made: (channels, more samples), of which the first `seam` samples stand for the sound's last ones. Within the last
    `fade` of those the sound turns into them; with `decoded` they take its place altogether.
    """
    fade = seam if decoded else min(fade, seam)
    kept = sound[:, : sound.shape[1] - fade]
    if decoded:
        return torch.cat((kept, made), dim=1)
    weight = torch.linspace(0, 1, fade + 2)[1:-1]
    mixed = sound[:, -fade:] * (1 - weight) + made[:, seam - fade : seam] * weight
    return torch.cat((kept, mixed, made[:, seam:]), dim=1)


def _hill(length: int, start: float, end: float, fade: int) -> Tensor:
    """Return weights (length,) that are 1 from sample `start` to `end`, and rise and fall within `fade` around that."""
    index = torch.arange(length)
    rising, falling = (index - (start - fade)) / fade, ((end + fade) - index) / fade
    return torch.minimum(rising, falling).clamp(0, 1)
