"""Faults of the codec, switches of the generations, and damaged weights; see `base_variants`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from base_faults import (
    BLOCKS,
    Build,
    Config,
    Tensors,
    Variant,
    attending,
    patched,
    rewritten,
    scaled,
    with_weights,
    wrapped,
)
from torch import Tensor

from soundlora.model import audio_vae, mel, transformer, vocoder
from soundlora.weights import base as bases


def codec_faults() -> list[Variant]:
    def seeing(self: Any, x: Tensor) -> Tensor:
        half = self.pad[2] // 2
        result: Tensor = self.conv(F.pad(x, (self.pad[0], self.pad[1], half, half)))
        return result

    def down(self: Any, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, (0, 1, 1, 1)))
        return result

    def up(self: Any, x: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled[:, :, :-1]

    def variance(original: Any, self: Any, mel: Tensor) -> Any:
        mean, log_variance = original(self, mel)
        return log_variance, mean

    def other_order(x: Tensor) -> Tensor:
        return x.view(8, 16).T.flatten()

    def statistics(original: Any, self: Any, tokens: Tensor) -> Tensor:
        mean, std = (other_order(self.get_buffer(f"{n}-of-means")) for n in ("mean", "std"))
        result: Tensor = (tokens - mean) / std if original.__name__ == "normalize" else tokens * std + mean
        return result

    def power(original: Any, waveform: Tensor, config: Any) -> Tensor:
        result: Tensor = (2 * original(waveform, config)).clamp_min(math.log(1e-5))
        return result

    def decimal(original: Any, waveform: Tensor, config: Any) -> Tensor:
        result: Tensor = original(waveform, config) / math.log(10)
        return result

    def late(original: Any, waveform: Tensor, config: Any) -> Tensor:
        """Without reflection: the frames begin where their windows do."""
        result: Tensor = original(F.pad(waveform, (512, 0))[..., : waveform.shape[-1]], config)
        return result

    def htk(bins: int, mels: int, rate: int) -> Tensor:
        edges = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + rate / 1400), mels + 2) / 2595) - 1)
        slopes = edges[None] - torch.linspace(0, rate // 2, bins)[:, None]
        width = edges[1:] - edges[:-1]
        return torch.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]).clamp_min(0)

    def centred(self: Any, waveform: Tensor) -> Tensor:
        half = (self.n_fft - self.hop) // 2
        padded = F.pad(waveform.flatten(0, 1).unsqueeze(1), (half, self.n_fft - self.hop - half))
        real, imaginary = F.conv1d(padded, self.stft_fn.get_buffer("forward_basis"), stride=self.hop).chunk(2, dim=1)
        made = torch.matmul(self.get_buffer("mel_basis"), torch.sqrt(real.square() + imaginary.square()))
        return made.clamp_min(1e-5).log().reshape(*waveform.shape[:2], *made.shape[1:])

    def bounded(original: Any, self: Any, mel: Tensor) -> Tensor:
        result: Tensor = original(self, mel)
        return result if self.clamp else result.tanh() * 0.5

    def narrow(original: Any, self: Any, mel: Tensor) -> Tensor:
        self.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result: Tensor = original(self, mel)
        return result.float()

    def one_side(original: Any, waveform: Tensor) -> Tensor:
        stereo: Tensor = original(waveform).clone()
        stereo[1] = 0
        return stereo

    vae = audio_vae

    def front(wrap: Callable[..., Any]) -> Build:
        return patched(wrapped(bases, "log_mel", wrap))

    def both(name: str) -> Callable[[], Any]:
        return wrapped(vae.Statistics, name, statistics)

    found = [
        Variant("trap 16", "statistics as (bin, channel)", patched(both("normalize"), both("denormalize"))),
        Variant(
            "trap 17",
            "convolutions that see later frames",
            patched(lambda: patch.object(vae.CausalConv, "forward", seeing)),
        ),
        Variant(
            "trap 17",
            "downsampling padded on both sides",
            patched(lambda: patch.object(vae._Downsample, "forward", down)),
        ),
        Variant(
            "trap 17",
            "upsampling that drops the last row",
            patched(lambda: patch.object(vae._Upsample, "forward", up)),
        ),
        Variant("trap 18", "the log-variance for the mean", patched(wrapped(vae.AudioEncoder, "moments", variance))),
        Variant("trap 19", "power for magnitude", front(power)),
        Variant("trap 19", "decimal logarithms", front(decimal)),
        Variant("trap 19", "frames half a window late", front(late)),
        Variant("trap 19", "HTK's mel filters", patched(lambda: patch.object(mel, "_mel_filters", htk))),
        Variant(
            "trap 19", "the second mel centred", patched(lambda: patch.object(vocoder.MelSTFT, "forward", centred))
        ),
        Variant(
            "trap 21",
            "an activation after the second generator",
            patched(wrapped(vocoder.Generator, "forward", bounded)),
        ),
        Variant("trap 21", "the vocoder in bf16", patched(wrapped(vocoder.Vocoder, "forward", narrow))),
        Variant("trap 25", "mono on one side alone", patched(wrapped(bases, "to_stereo", one_side))),
    ]
    return [replace(variant, codec=True, brief=True) for variant in found]


def switches() -> list[Variant]:
    def no_bias(tensors: Tensors) -> None:
        for name in tensors:
            if name.startswith(BLOCKS) and ".audio_ff." in name and name.endswith(".bias"):
                tensors[name] = tensors[name] * 0

    def same_prompt(forward: Any, self: Any, t: Tensor, dtype: torch.dtype) -> Any:
        rows, embedded = forward(self, t, dtype)
        return (rows * 0, embedded) if self.rows == 2 else (rows, embedded)

    single = transformer.AdaLayerNormSingle
    no_prompt = lambda tensors, config: _without_prompt(tensors, config)  # noqa: E731
    return [
        Variant("audio_ff_bias", "off where it is on", with_weights(no_bias)),
        Variant("use_prompt_adaln_single", "off where it is on, by the file", rewritten(no_prompt)),
        Variant(
            "use_prompt_adaln_single",
            "off where it is on, by the code",
            patched(wrapped(single, "forward", same_prompt)),
        ),
        Variant("apply_gated_attention", "off where it is on", attending(gate="none")),
    ]


def _without_prompt(tensors: Tensors, config: Config) -> None:
    config["transformer"]["use_prompt_adaln_single"] = False
    for name in [name for name in tensors if ".audio_prompt_adaln_single." in name]:
        del tensors[name]


def _changed(ending: str, change: Callable[[Tensor], Tensor]) -> Build:
    def each(tensors: Tensors) -> None:
        (name,) = [name for name in tensors if name.endswith(ending)]
        torch.manual_seed(1)
        tensors[name] = change(tensors[name])

    return with_weights(each)


def _noise(x: Tensor) -> Tensor:
    return (torch.randn(x.shape) * x.float().std()).to(x.dtype)


def _cut(share: float) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        flat = x.clone().flatten()
        flat[round(len(flat) * (1 - share)) :] = 0
        return flat.view(x.shape)

    return change


def damage() -> list[Variant]:
    def exchanged(tensors: Tensors) -> None:
        first, second = f"{BLOCKS}1.", f"{BLOCKS}2."
        for name in [name for name in tensors if name.startswith(first)]:
            other = second + name.removeprefix(first)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    def unscaled(tensors: Tensors) -> None:
        """As in a repack in fp8 whose scales are not read."""
        for name, x in tensors.items():
            if name.startswith(BLOCKS) and x.dim() == 2 and "table" not in name and "gate" not in name:
                tensors[name] = x * (448 / x.abs().amax(dim=1, keepdim=True))

    def coarse(tensors: Tensors) -> None:
        for name, x in tensors.items():
            if name.startswith(BLOCKS) and x.dim() == 2 and "table" not in name:
                tensors[name] = (x.float() / x.float().std()).round().to(x.dtype) * x.float().std().to(x.dtype)

    def swapped(tensors: Tensors) -> None:
        q, v = (f"{BLOCKS}1.audio_attn1.to_{part}.weight" for part in "qv")
        tensors[q], tensors[v] = tensors[v], tensors[q]

    def bits(x: Tensor) -> Tensor:
        flat = x.clone().flatten().view(torch.int16)
        flat[len(flat) // 2] ^= 1 << 14  # the highest one of the exponent, which makes a weight huge
        return flat.view(x.dtype).view(x.shape)

    one = f"{BLOCKS}1."
    return [
        Variant("damage", "one matrix of queries times four", scaled(4, "blocks.1.audio_attn1.to_q.weight")),
        Variant("damage", "one matrix of values times four", scaled(4, "blocks.2.audio_attn1.to_v.weight")),
        Variant("damage", "one feed-forward matrix times four", scaled(4, "blocks.1.audio_ff.net.2.weight")),
        Variant("damage", "one feed-forward matrix a quarter", scaled(0.25, "blocks.3.audio_ff.net.0.proj.weight")),
        Variant("damage", "one text matrix times four", scaled(4, "blocks.0.audio_attn2.to_k.weight")),
        Variant("damage", "one output projection times a half", scaled(0.5, "blocks.0.audio_attn1.to_out.0.weight")),
        Variant("damage", "a page of zeros in a matrix", _changed(f"{one}audio_ff.net.0.proj.weight", _cut(0.03))),
        Variant("damage", "the second half of a matrix zero", _changed(f"{one}audio_attn1.to_v.weight", _cut(0.5))),
        Variant("damage", "a matrix of noise", _changed(f"{one}audio_attn1.to_out.0.weight", _noise)),
        Variant("damage", "a matrix transposed", _changed(f"{one}audio_attn1.to_out.0.weight", lambda x: x.T)),
        Variant("damage", "the highest bit of an exponent", _changed(f"{one}audio_ff.net.2.weight", bits)),
        Variant("damage", "two blocks exchanged", with_weights(exchanged)),
        Variant("damage", "queries and values exchanged", with_weights(swapped)),
        Variant("trap 38", "an fp8 repack without its scales", with_weights(unscaled)),
        Variant("precision", "blocks in about three bits", with_weights(coarse)),
        Variant("damage", "the text projection half zero", _changed("audio_aggregate_embed.weight", _cut(0.5))),
        Variant(
            "damage",
            "a connector matrix of noise",
            _changed("connector.transformer_1d_blocks.0.attn1.to_v.weight", _noise),
        ),
        Variant(
            "damage",
            "a VAE encoder's convolution times two",
            scaled(2, "audio_vae.encoder.conv_in.conv.weight"),
            codec=True,
        ),
        Variant(
            "damage",
            "a VAE decoder's convolution of noise",
            _changed("audio_vae.decoder.up.1.block.0.conv1.conv.weight", _noise),
            codec=True,
        ),
        Variant(
            "damage",
            "the vocoder's last convolution of noise",
            _changed("vocoder.vocoder.conv_post.weight", _noise),
            codec=True,
        ),
        Variant(
            "damage",
            "the second generator of noise",
            _changed("vocoder.bwe_generator.conv_post.weight", _noise),
            codec=True,
        ),
        Variant(
            "damage",
            "NaN in one matrix",
            _changed(f"{one}audio_ff.net.2.weight", lambda x: x.index_fill(0, torch.tensor([5]), math.nan)),
        ),
    ]
