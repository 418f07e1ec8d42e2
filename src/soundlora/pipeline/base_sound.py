"""What a base's codec makes of the clips, and what the base samples, in figures.

The figures come from plain spectra and levels. The model's own mel front end would hide its faults.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from soundlora.dataset.decode import decode
from soundlora.model.audio_vae import AudioVAE
from soundlora.model.mel import resample
from soundlora.weights.base import Codec

CLIPS = Path(__file__).parents[1] / "clips"
SECONDS = 2.4
_RATE = 16_000  # Hz, of all figures
_WINDOW, _HOP = 1024, 160  # samples at that rate
_BANDS = 32
_AUDIBLE_DB = 45.0  # below a sound's loudest band
_FLOOR = 1e-5
_DECODED = 5  # clips; the vocoder takes the most time


@dataclass(frozen=True)
class Clip:
    """Stereo sound (2, n) at `rate` Hz with its caption."""

    caption: str
    waveform: Tensor
    rate: int


def clips() -> list[Clip]:
    """Return the clips that come with the package, all of one length."""
    captions = json.loads((CLIPS / "captions.json").read_text(encoding="utf-8"))
    result = []
    for name, caption in captions.items():
        audio = decode(CLIPS / name)
        samples = torch.from_numpy(audio.samples)[:, : round(SECONDS * audio.sample_rate)]
        result.append(Clip(caption, samples, audio.sample_rate))
    return result


def bands(waveform: Tensor, rate: int) -> Tensor:
    """Return levels in dB (frames, bands) of both channels as one: 32 bands from 60 Hz to 7.6 kHz, every 10 ms."""
    mono = resample(waveform.float(), rate, _RATE).mean(dim=0)
    spectrum = torch.stft(mono, _WINDOW, _HOP, window=torch.hann_window(_WINDOW), return_complex=True).abs().square()
    edges = torch.logspace(math.log10(60), math.log10(7600), _BANDS + 1) / _RATE * _WINDOW
    rows = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        first = int(low)
        rows.append(spectrum[first : max(first + 1, int(high))].mean(dim=0))
    return 10 * torch.log10(torch.stack(rows, dim=1) / _WINDOW + 1e-10)


def level(waveform: Tensor) -> float:
    """Return the level in dB of sound (…, n)."""
    return 20 * math.log10(max(_FLOOR, float(waveform.float().square().mean().sqrt())))


@dataclass(frozen=True)
class Trip:
    """What the way to latents and back does to the clips, see `round_trip`."""

    error: float
    shuffled: float
    level: float
    slope: float
    lag: float
    stereo: float
    order: float
    spread: float
    causal: float
    high: float
    mono: float
    balance: float


def round_trip(codec: Codec, sounds: list[Clip]) -> tuple[Trip, Tensor]:
    """Return what becomes of the clips, and their latents (N, T, C).

    error: mean distance in dB of audible bands. shuffled: the same from one clip's sound to another clip. level, slope:
    the median change in dB, and the change in dB for one of 12 dB. lag: how late the clips are, in 10 ms. stereo:
    the difference in dB between the channels of a sound with 12 dB. order: how much more the latents' deviations
    scatter with their statistics in the order that was read than in the other, as a ratio. spread: how far the median
    channel's deviation is from 1, as a factor. causal: what the end of a sound changes in the latents of its beginning.
    high: the median level in dB above 8 kHz that is lost. mono: how far the latents of mono are from those of the same
    sound on both sides. balance: how many dB louder that comes out on the left.
    """
    latents = torch.stack([codec.encode(clip.waveform, clip.rate) for clip in sounds])
    sounds = sounds[:_DECODED]
    made = [codec.decode(one) for one in latents[:_DECODED]]
    rate = codec.sample_rate
    before = [bands(clip.waveform, clip.rate) for clip in sounds]
    after = [bands(one, rate) for one in made]
    quiet = sounds[1]
    soft = codec.decode(codec.encode(quiet.waveform / 4, quiet.rate))
    mono = sounds[0].waveform.mean(dim=0, keepdim=True)
    alone, doubled = (codec.encode(sound, sounds[0].rate) for sound in (mono, mono.repeat(2, 1)))
    centre = codec.decode(alone)
    heights = [_high(clip.waveform, clip.rate) - _high(one, rate) for clip, one in zip(sounds, made, strict=True)]
    trip = Trip(
        error=_mean([_distance(a, b) for a, b in zip(before, after, strict=True)]),
        shuffled=_mean([_distance(a, b) for a, b in zip(before, after[1:] + after[:1], strict=True)]),
        level=_median([level(one) - level(clip.waveform) for clip, one in zip(sounds, made, strict=True)]),
        slope=level(made[1]) - level(soft),
        lag=_lag(before, after),
        stereo=_difference(codec, sounds[0]),
        order=_order(codec.vae, latents),
        spread=float(latents.std(dim=(0, 1)).median()),
        causal=_causality(codec, sounds[0]),
        high=_median(heights),
        mono=float((alone - doubled).square().mean().sqrt() / doubled.square().mean().sqrt()),
        balance=level(centre[0]) - level(centre[1]),
    )
    return trip, latents


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _median(values: list[float]) -> float:
    return float(torch.tensor(values).median())


def _distance(before: Tensor, after: Tensor) -> float:
    """Return the mean distance in dB of two sounds' bands where the first one is audible."""
    count = min(len(before), len(after)) - 2
    before, after = before[2:count], after[2:count]
    heard = before > before.max() - _AUDIBLE_DB
    return float((before - after).abs()[heard].mean())


def _high(waveform: Tensor, rate: int) -> float:
    """Return the level in dB of what is above 8 kHz."""
    spectrum = torch.fft.rfft(waveform.float().mean(dim=0))
    first = round(8_500 / rate * waveform.shape[-1])
    last = round(16_000 / rate * waveform.shape[-1])
    power = spectrum[first:last].abs().square().sum() / waveform.shape[-1] ** 2
    return 10 * math.log10(float(power) + 1e-12)


def _lag(before: list[Tensor], after: list[Tensor]) -> float:
    """Return by how many frames of 10 ms all sounds together are late, from −8 to 8."""
    reach = 8
    scores = torch.zeros(2 * reach + 1)
    for one, other in zip(before, after, strict=True):
        count = min(len(one), len(other))
        a, b = (each[:count] - each[:count].mean(dim=0) for each in (one.clamp_min(-70), other.clamp_min(-70)))
        for k in range(-reach, reach + 1):
            scores[k + reach] += (a[reach : count - reach] * b[reach + k : count - reach + k]).sum()
    return float(scores.argmax() - reach)


def _difference(codec: Codec, clip: Clip) -> float:
    """Return how many dB louder the left channel comes out where it went in 12 dB louder than the right one."""
    mono = clip.waveform.mean(dim=0)
    out = codec.decode(codec.encode(torch.stack((mono, mono / 4)), clip.rate))
    return level(out[0]) - level(out[1])


def _order(vae: AudioVAE, latents: Tensor) -> float:
    """Return the scatter of the channels' deviations, over what it would be with statistics as (bin, channel)."""
    statistics, c = vae.per_channel_statistics, vae.config
    raw = statistics.denormalize(latents.to(statistics.get_buffer("std-of-means").device)).cpu()
    deviation, mean = (statistics.get_buffer(f"{name}-of-means").cpu() for name in ("std", "mean"))

    def other(x: Tensor) -> Tensor:
        return x.view(c.latent_bins, c.latent_channels).T.flatten()

    def scatter(centre: Tensor, scale: Tensor) -> float:
        z = (raw - centre) / scale
        return float(z.std(dim=(0, 1)).log().std() + z.mean(dim=(0, 1)).square().mean().sqrt())

    others = [scatter(f(mean), f(deviation)) for f in (other, lambda x: other_back(x, c.latent_bins))]
    return scatter(mean, deviation) / min(others)


def other_back(x: Tensor, bins: int) -> Tensor:
    """Return a vector in the order (channel, bin) as (bin, channel)."""
    return x.view(-1, bins).T.flatten()


def _causality(codec: Codec, clip: Clip) -> float:
    """Return the change of the first half's latents, over the second's, where the sound's second half is silent."""
    cut = clip.waveform.clone()
    cut[:, cut.shape[1] // 2 :] = 0
    whole, part = codec.encode(clip.waveform, clip.rate), codec.encode(cut, clip.rate)
    middle = len(whole) // 2
    change = (whole - part).square().mean(dim=1)
    return float((change[: middle - 2].mean() / change[middle + 2 :].mean().clamp_min(1e-12)).sqrt())
