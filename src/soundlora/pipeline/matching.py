"""What a model makes of a sound that is kept in part is brought to the kept part's level and colour.

A codec changes both. How much it does is heard where the sound and its copy from the latents stand side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor

BAND_OCTAVES = 1 / 3
LOWEST_HZ = 60.0
MOST_DB = 12.0
"""A codec that changes a band by more than this has lost it, and nothing is left to raise."""
_WINDOW_SECONDS = 0.043
_ACTIVE_DB = 30.0  # below a band's loudest moment, a moment tells of noise only
_SILENCE = 1e-10  # of power, where a copy has nothing


def matched(made: Tensor, original: Tensor, copy: Tensor, rate: int) -> Tensor:
    """Return a sound (channels, samples) with the spectrum's envelope changed as from `copy` to `original`.

    original, copy: (channels, samples), the same moments of the file and of its copy from latents. The gain of a band
    is the mean over the moments in which it sounds, within `MOST_DB`. Nothing is changed where there are too few
    samples to tell. rate: samples a second.
    """
    size = 1 << round(torch.log2(torch.tensor(_WINDOW_SECONDS * rate)).item())
    count = min(original.shape[1], copy.shape[1])
    if count < size or made.shape[1] < size:
        return made
    bands = _bands(size, rate)  # (bands, bins)
    before, after = (_power(sound[:, :count], size, bands) for sound in (copy, original))  # (bands, frames)
    loudest = after.amax(dim=1, keepdim=True)
    active = (after >= loudest * 10 ** (-_ACTIVE_DB / 10)) & (after > _SILENCE) & (before > _SILENCE)
    log_ratio = torch.where(active, 10 * (after.clamp_min(_SILENCE) / before.clamp_min(_SILENCE)).log10(), 0.0)
    gain_db = (log_ratio.sum(dim=1) / active.sum(dim=1).clamp_min(1)).clamp(-MOST_DB, MOST_DB)  # (bands,)
    gain = 10 ** ((gain_db @ bands) / 20)  # (bins,)
    window = torch.hann_window(size)
    spectrum = torch.stft(made, size, size // 4, window=window, return_complex=True)  # (channels, bins, frames)
    return torch.istft(spectrum * gain[:, None], size, size // 4, window=window, length=made.shape[1])


def _power(sound: Tensor, size: int, bands: Tensor) -> Tensor:
    """Return the power (bands, frames) of all channels together."""
    spectrum = torch.stft(sound, size, size // 4, window=torch.hann_window(size), return_complex=True)
    power: Tensor = spectrum.abs().square().sum(dim=0) / size
    return bands @ power / bands.sum(dim=1, keepdim=True)


def _bands(size: int, rate: int) -> Tensor:
    """Return the weights (bands, bins) of overlapping bands a third of an octave wide, which add up to one."""
    octaves = (torch.fft.rfftfreq(size, 1 / rate) / LOWEST_HZ).clamp_min(1).log2()  # (bins,)
    centres = torch.arange(0, octaves[-1].item() + BAND_OCTAVES, BAND_OCTAVES)
    weights = (1 - (octaves - centres[:, None]).abs() / BAND_OCTAVES).clamp_min(0)  # (bands, bins)
    return weights[weights.sum(dim=1) > 0]
