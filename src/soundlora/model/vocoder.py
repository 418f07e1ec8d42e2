"""The vocoder, from log-mel to 48 kHz stereo: a 16 kHz generator, then a second one that adds the band above 8 kHz.

Both generators are of the BigVGAN kind (Lee et al. 2022, arXiv:2206.04658): transposed convolutions, and residual
blocks whose periodic activation runs at twice the rate between anti-aliasing filters. Everything runs in fp32. Filters
and STFT bases are the checkpoint's own. In shapes F is mel frames.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.model.config import GeneratorConfig, VocoderConfig
from soundlora.model.mel import LOG_FLOOR

_TAPS = 12  # length of the anti-aliasing filters


def kaiser_sinc_filter(cutoff: float = 0.25, half_width: float = 0.3, taps: int = _TAPS) -> Tensor:
    """Return a low-pass filter (1, 1, taps) with sum 1: a sinc in a Kaiser window, whose β follows Kaiser's formula.

    It initialises a new vocoder; a loaded one has the checkpoint's filters. cutoff and half_width, which is that of the
    transition band, are in cycles per sample.
    """
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    window = torch.kaiser_window(taps, beta=beta, periodic=False)
    time = torch.arange(-(taps // 2), taps // 2) + 0.5 if taps % 2 == 0 else torch.arange(taps) - taps // 2
    kernel = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return (kernel / kernel.sum()).view(1, 1, taps)


@cache
def _default_filter() -> Tensor:
    # Every activation asks for it, and building it anew each time would take most of the time of opening a checkpoint.
    with torch.device("cpu"):
        return kaiser_sinc_filter()


def hann_sinc_filter(ratio: int) -> Tensor:
    """Return the interpolation filter (1, 1, 2·7·ratio + 1) of the ×ratio resampler between the two stages."""
    zeros, rolloff = 6, 0.99
    width = math.ceil(zeros / rolloff)
    t = (torch.arange(2 * width * ratio + 1) / ratio - width) * rolloff
    window = torch.cos(t.clamp(-zeros, zeros) * math.pi / zeros / 2) ** 2
    return (torch.sinc(t) * window * rolloff / ratio).view(1, 1, -1)


class _SnakeBeta(nn.Module):
    """BigVGAN's activation x + sin²(x·e^α) / e^β of x (B, channels, n), with α and β per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]
        return torch.addcmul(x, torch.sin(x * alpha).square(), 1 / (beta + 1e-9))


class _Upsample2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", _default_filter().clone())

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.get_buffer("filter").expand(channels, -1, -1)
        padded = F.pad(x, (5, 5), mode="replicate")
        return 2 * F.conv_transpose1d(padded, kernel, stride=2, groups=channels)[..., 15:-15]


class _LowPass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", _default_filter().clone())


class _Downsample2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lowpass = _LowPass()

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.lowpass.get_buffer("filter").expand(channels, -1, -1)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), kernel, stride=2, groups=channels)


class AliasFreeActivation(nn.Module):
    """SnakeBeta at twice the rate, so that the harmonics it makes do not fold back: (B, channels, n) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = _SnakeBeta(channels)
        self.upsample = _Upsample2()
        self.downsample = _Downsample2()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.downsample(self.act(self.upsample(x)))
        return result


class AMPBlock(nn.Module):
    """Residual rounds of a dilated and a plain convolution, each behind an alias-free activation.

    (B, channels, n) → (B, channels, n).
    """

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel * d - d) // 2) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations)
        self.acts1 = nn.ModuleList(AliasFreeActivation(channels) for _ in dilations)
        self.acts2 = nn.ModuleList(AliasFreeActivation(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv1, conv2, act1, act2 in zip(self.convs1, self.convs2, self.acts1, self.acts2, strict=True):
            x = x + conv2(act2(conv1(act1(x))))
        return x


class Generator(nn.Module):
    """Turns a log-mel (B, 2, F, bins) into a stereo waveform (B, 2, F·factor)."""

    def __init__(self, c: GeneratorConfig, mel_bins: int) -> None:
        super().__init__()
        self.clamp = c.final_activation
        self.kernels = len(c.block_kernels)
        self.conv_pre = nn.Conv1d(2 * mel_bins, c.channels, 7, padding=3)
        widths = [c.channels // 2**i for i in range(len(c.upsample_rates) + 1)]
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(widths[i], widths[i + 1], kernel, stride=rate, padding=(kernel - rate) // 2)
            for i, (rate, kernel) in enumerate(zip(c.upsample_rates, c.upsample_kernels, strict=True))
        )
        self.resblocks = nn.ModuleList(
            AMPBlock(width, kernel, dilations)
            for width in widths[1:]
            for kernel, dilations in zip(c.block_kernels, c.block_dilations, strict=True)
        )
        self.act_post = AliasFreeActivation(widths[-1])
        self.conv_post = nn.Conv1d(widths[-1], 2, 7, padding=3, bias=False)

    def forward(self, mel: Tensor) -> Tensor:
        result = self.unclamped(mel)
        return result.clamp(-1, 1) if self.clamp else result

    def unclamped(self, mel: Tensor) -> Tensor:
        """Return the waveform of `forward` before it is clamped to [−1, 1]."""
        x = self.conv_pre(mel.transpose(2, 3).flatten(1, 2))  # (B, channels, F) of (B, 2·bins, F), left first
        for i, up in enumerate(self.ups):
            x = up(x)
            blocks = self.resblocks[i * self.kernels : (i + 1) * self.kernels]
            x = torch.stack([block(x) for block in blocks]).mean(dim=0)
        result: Tensor = self.conv_post(self.act_post(x))
        return result


class _STFTBasis(nn.Module):
    def __init__(self, n_fft: int) -> None:
        super().__init__()
        bins = n_fft // 2 + 1
        self.register_buffer("forward_basis", torch.zeros(2 * bins, 1, n_fft))
        # The file has this tensor, so the module does; nothing inverts the transform.
        self.register_buffer("inverse_basis", torch.zeros(2 * bins, 1, n_fft))


class MelSTFT(nn.Module):
    """The second mel front end. It is causal, and has window, bases and filters from the checkpoint."""

    def __init__(self, c: VocoderConfig) -> None:
        super().__init__()
        self.hop, self.n_fft = c.hop, c.n_fft
        self.register_buffer("mel_basis", torch.zeros(c.mel_bins, c.n_fft // 2 + 1))
        self.stft_fn = _STFTBasis(c.n_fft)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the log-mel (B, 2, bins, samples/hop) of a waveform (B, 2, samples)."""
        padded = F.pad(waveform.flatten(0, 1).unsqueeze(1), (self.n_fft - self.hop, 0))  # (2B, 1, samples + padding)
        # (2B, n_fft + 2, frames), the real half first
        spectrum = F.conv1d(padded, self.stft_fn.get_buffer("forward_basis"), stride=self.hop)
        real, imaginary = spectrum.chunk(2, dim=1)
        mel = torch.matmul(self.get_buffer("mel_basis"), torch.sqrt(real.square() + imaginary.square()))
        return mel.clamp_min(LOG_FLOOR).log().reshape(*waveform.shape[:2], *mel.shape[1:])


class Vocoder(nn.Module):
    """Turns a log-mel (B, 2, F, bins) into sound (B, 2, F·factor·ratio) in [−1, 1] at `config.output_rate` Hz."""

    def __init__(self, config: VocoderConfig, mel_bins: int) -> None:
        super().__init__()
        self.config = config
        self.vocoder = Generator(config.stage1, mel_bins)
        self.bwe_generator = Generator(config.bwe, config.mel_bins)
        self.mel_stft = MelSTFT(config)

    def forward(self, mel: Tensor) -> Tensor:
        return self.extend(self.vocoder(mel.float()))

    def extend(self, low: Tensor) -> Tensor:
        """Extend the band of sound (B, 2, n) at the input rate → (B, 2, n·ratio) at the output rate, in [−1, 1]."""
        length = low.shape[-1]
        padded = F.pad(low, (0, -length % self.config.hop))
        residual = self.bwe_generator(self.mel_stft(padded).transpose(2, 3))
        waveform: Tensor = (residual + self.skip(padded)).clamp(-1, 1)
        return waveform[..., : length * self.config.ratio]

    def skip(self, low: Tensor) -> Tensor:
        """Return the plain interpolation (B, 2, n·ratio) of (B, 2, n), to which the second generator adds."""
        ratio = self.config.ratio
        kernel = hann_sinc_filter(ratio).to(low.device)
        pad = (kernel.shape[-1] - 1) // (2 * ratio)
        padded = F.pad(low.flatten(0, 1).unsqueeze(1), (pad, pad), mode="replicate")
        up = ratio * F.conv_transpose1d(padded, kernel, stride=ratio)
        return up[..., 2 * pad * ratio : ratio - kernel.shape[-1]].reshape(*low.shape[:2], -1)
