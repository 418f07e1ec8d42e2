"""The way from a waveform to the log-mel spectrogram that the audio VAE encodes.

The resampler and the mel filters follow torchaudio's defaults to the digit, since the VAE was trained on their output.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.config import AudioConfig

LOG_FLOOR = 1e-5  # magnitudes below this are silence: log(1e-5) = -11.5129

_RATES = range(1_000, 1_000_001)  # Hz
_MOST_TAPS = 1 << 24
_LOWPASS_ZEROS = 6
_ROLLOFF = 0.99
_MINUS_3_DB = 0.707


def to_stereo(waveform: Tensor) -> Tensor:
    """Return stereo (2, samples) of a waveform (channels, samples), at its own rate.

    Mono is doubled. 5.1 (L R C LFE Ls Rs) and 7.1 (L R C LFE Ls Rs Lb Rb) are mixed down without the LFE. Any other
    number of channels is averaged.
    """
    channels = waveform.shape[0]
    if channels == 2:
        return waveform
    if channels == 6:
        left, right, centre, _, ls, rs = waveform
        return torch.stack((left + _MINUS_3_DB * (centre + ls), right + _MINUS_3_DB * (centre + rs))) / (
            1 + 2 * _MINUS_3_DB
        )
    if channels == 8:
        left, right, centre, _, ls, rs, lb, rb = waveform
        return torch.stack((left + _MINUS_3_DB * (centre + ls + lb), right + _MINUS_3_DB * (centre + rs + rb))) / (
            1 + 3 * _MINUS_3_DB
        )
    return waveform.mean(dim=0, keepdim=True).repeat(2, 1)


def resample(waveform: Tensor, rate: int, target_rate: int) -> Tensor:
    """Resample (..., samples) from `rate` to `target_rate` Hz → (..., ⌈samples·target/rate⌉), by a windowed sinc.

    Raises InputError for rates that no sound has, and for those that share no large factor with the target's.
    """
    if rate == target_rate:
        return waveform
    if rate not in _RATES:
        raise InputError(
            f"The sample rate is {rate} Hz, but it must be from {_RATES[0]} to {_RATES[-1]} Hz; give sound of a usual "
            "rate, such as 48000 Hz."
        )
    divisor = math.gcd(rate, target_rate)
    orig, new = rate // divisor, target_rate // divisor
    # Each of `new` phases keeps a filter whose length grows with `orig`: 44,101 Hz would take gigabytes.
    if orig * new > _MOST_TAPS:
        raise InputError(
            f"Sound of {rate} Hz can't be brought to {target_rate} Hz, as the two rates share no large factor; give "
            "sound of a usual rate, such as 48000 Hz."
        )
    kernel, width = _resampling_kernel(orig, new)
    shape = waveform.shape
    flat = F.pad(waveform.reshape(-1, 1, shape[-1]), (width, width + orig))  # (N, 1, padded samples)
    phases = F.conv1d(flat, kernel.to(waveform.device, waveform.dtype), stride=orig)  # (N, new, blocks)
    length = math.ceil(new * shape[-1] / orig)
    return phases.transpose(1, 2).reshape(*shape[:-1], -1)[..., :length]


@lru_cache(maxsize=8)
def _resampling_kernel(orig: int, new: int) -> tuple[Tensor, int]:
    base = min(orig, new) * _ROLLOFF
    width = math.ceil(_LOWPASS_ZEROS * orig / base)
    index = torch.arange(-width, width + orig, dtype=torch.float64)[None, None] / orig
    phase = torch.arange(0, -new, -1, dtype=torch.float64)[:, None, None] / new
    t = ((phase + index) * base).clamp(-_LOWPASS_ZEROS, _LOWPASS_ZEROS)
    kernel = torch.sinc(t) * torch.cos(t * math.pi / _LOWPASS_ZEROS / 2) ** 2 * (base / orig)
    return kernel.float(), width


def log_mel(waveform: Tensor, config: AudioConfig) -> Tensor:
    """Return natural-log mel magnitudes (B, 2, frames, mel bins) of a waveform (B, 2, samples) at the VAE's rate.

    frames is 1 + ⌊samples/hop⌋. Raises ValueError below n_fft/2 + 1 samples, the least that reflect padding can pad.
    """
    least = config.n_fft // 2 + 1
    if waveform.shape[-1] < least:
        raise ValueError(f"{waveform.shape[-1]} samples are too few: the mel front end needs at least {least}")
    window = torch.hann_window(config.n_fft, device=waveform.device)
    spectrum = torch.stft(
        waveform.flatten(0, -2).float(),
        config.n_fft,
        hop_length=config.hop,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    ).abs()
    filters = _mel_filters(config.n_fft // 2 + 1, config.mel_bins, config.sample_rate).to(waveform.device)
    mel = torch.matmul(spectrum.transpose(1, 2), filters)  # (2B, frames, mel bins)
    return mel.clamp_min(LOG_FLOOR).log().reshape(*waveform.shape[:-1], *mel.shape[1:])


@lru_cache(maxsize=4)
def _mel_filters(bins: int, mels: int, sample_rate: int) -> Tensor:
    """Return Slaney's mel filters (bins, mels), from 0 Hz to the Nyquist frequency, each normalised by its area."""
    nyquist = sample_rate / 2
    frequencies = torch.linspace(0, sample_rate // 2, bins)
    edges = _mel_to_hz(torch.linspace(_hz_to_mel(0.0), _hz_to_mel(nyquist), mels + 2))
    width = edges[1:] - edges[:-1]
    slopes = edges[None] - frequencies[:, None]  # (bins, mels + 2)
    rising, falling = -slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]
    filters = torch.minimum(rising, falling).clamp_min(0)
    return filters * (2 / (edges[2:] - edges[:-2]))


_LINEAR_HZ = 200 / 3  # Hz per mel below the break
_BREAK_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27  # per mel above the break


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mels: Tensor) -> Tensor:
    break_mel = _BREAK_HZ / _LINEAR_HZ
    return torch.where(mels >= break_mel, _BREAK_HZ * torch.exp(_LOG_STEP * (mels - break_mel)), _LINEAR_HZ * mels)
