"""The causal VAE between log-mel spectrograms and latents.

Tensors are (B, channels, time, mel): time is the height axis and causal, mel the width axis. Latents leave and enter
normalised by the checkpoint's statistics, as tokens (B, T, latent channels × latent bins).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.model.config import AudioConfig

_PIXEL_NORM_EPS = 1e-6


def patchify(latents: Tensor) -> Tensor:
    """Return latents (B, C, T, bins) as tokens (B, T, C·bins), in which the bin runs fastest."""
    return latents.transpose(1, 2).flatten(2)


def unpatchify(tokens: Tensor, channels: int) -> Tensor:
    """Return tokens (B, T, C·bins) as latents (B, C, T, bins), C = `channels`."""
    return tokens.reshape(*tokens.shape[:2], channels, -1).transpose(1, 2)


def _pixel_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _PIXEL_NORM_EPS)


class CausalConv(nn.Module):
    """A k×k convolution that sees no later frame: time is padded in front only, mel on both sides."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.pad = (kernel // 2, kernel // 2, kernel - 1, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, self.pad))
        return result


class ResBlock(nn.Module):
    """Two convolutions behind pixel norm and SiLU, and a shortcut: (B, inputs, T, mel) → (B, outputs, T, mel)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = CausalConv(inputs, outputs)
        self.conv2 = CausalConv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = CausalConv(inputs, outputs, kernel=1)
        self.same = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(_pixel_norm(x)))
        h = self.conv2(F.silu(_pixel_norm(h)))
        result: Tensor = (x if self.same else self.nin_shortcut(x)) + h
        return result


class _Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, (0, 1, 2, 0)))
        return result


class _Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        # The first of the doubled rows would stand for time before the clip's start.
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled[:, :, 1:]


class _Mid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels)
        self.block_2 = ResBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.block_2(self.block_1(x))
        return result


class _Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution where there is one."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(inputs if i == 0 else outputs, outputs) for i in range(blocks))
        if down:
            self.downsample = _Downsample(outputs)
        if up:
            self.upsample = _Upsample(outputs)
        self.down, self.up = down, up

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.down:
            x = self.downsample(x)
        return self.upsample(x) if self.up else x


class AudioEncoder(nn.Module):
    """The half of the VAE that turns a log-mel into latents."""

    def __init__(self, c: AudioConfig) -> None:
        super().__init__()
        widths = [c.base_channels * m for m in c.multipliers]
        self.latent_channels = c.latent_channels
        self.conv_in = CausalConv(c.channels, c.base_channels)
        self.down = nn.ModuleList(
            _Level(c.base_channels if i == 0 else widths[i - 1], width, c.res_blocks, down=i < len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.mid = _Mid(widths[-1])
        self.conv_out = CausalConv(widths[-1], 2 * c.latent_channels)

    def forward(self, mel: Tensor) -> Tensor:
        """Return the posterior mean (B, C, ⌈frames/4⌉, bins/4), not normalised, of a log-mel (B, 2, frames, bins)."""
        return self.moments(mel)[0]

    def moments(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, in the shape of `forward`; only pretraining a base needs the second."""
        h = self.conv_in(mel)
        for level in self.down:
            h = level(h)
        mean, log_variance = self.conv_out(F.silu(_pixel_norm(self.mid(h)))).chunk(2, dim=1)
        return mean, log_variance


class AudioDecoder(nn.Module):
    """The half of the VAE that turns latents into a log-mel."""

    def __init__(self, c: AudioConfig) -> None:
        super().__init__()
        widths = [c.base_channels * m for m in c.multipliers]
        self.conv_in = CausalConv(c.latent_channels, widths[-1])
        self.mid = _Mid(widths[-1])
        self.up = nn.ModuleList(
            _Level(widths[min(i + 1, len(widths) - 1)], width, c.res_blocks + 1, up=i > 0)
            for i, width in enumerate(widths)
        )
        self.conv_out = CausalConv(c.base_channels * c.multipliers[0], c.channels)

    def forward(self, latents: Tensor) -> Tensor:
        """Return the log-mel (B, 2, 4T − 3, 4·bins) of latents (B, C, T, bins) that are not normalised."""
        h = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            h = level(h)
        result: Tensor = self.conv_out(F.silu(_pixel_norm(h)))
        return result


class Statistics(nn.Module):
    """Mean and standard deviation of every token channel over the base's training data."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("std-of-means", torch.ones(channels))
        self.register_buffer("mean-of-means", torch.zeros(channels))

    def normalize(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, T, C·bins) less the mean, over the deviation."""
        return (tokens - self.get_buffer("mean-of-means")) / self.get_buffer("std-of-means")

    def denormalize(self, tokens: Tensor) -> Tensor:
        """Undo `normalize`."""
        return tokens * self.get_buffer("std-of-means") + self.get_buffer("mean-of-means")


class AudioVAE(nn.Module):
    """Encoder and decoder with the statistics they share. Either half may be left out where it is not needed."""

    def __init__(self, config: AudioConfig, *, encoder: bool = True, decoder: bool = True) -> None:
        super().__init__()
        self.config = config
        if encoder:
            self.encoder = AudioEncoder(config)
        if decoder:
            self.decoder = AudioDecoder(config)
        self.per_channel_statistics = Statistics(config.latent_channels * config.latent_bins)

    def encode(self, mel: Tensor) -> Tensor:
        """Return the normalised tokens (B, ⌈frames/4⌉, C·bins) of a log-mel (B, 2, frames, mel bins)."""
        return self.per_channel_statistics.normalize(patchify(self.encoder(mel)))

    def decode(self, tokens: Tensor) -> Tensor:
        """Return the log-mel (B, 2, 4T − 3, mel bins) of normalised tokens (B, T, C·bins)."""
        raw = self.per_channel_statistics.denormalize(tokens)
        result: Tensor = self.decoder(unpatchify(raw, self.config.latent_channels))
        return result
