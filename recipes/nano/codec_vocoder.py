"""Stages 3 and 4: the two generators of the vocoder.

    python recipes/nano/codec_vocoder.py stage1 [steps] [--warm stage]
    python recipes/nano/codec_vocoder.py bwe [steps] [--warm stage]

Stage 1 learns from log-mels to 16 kHz; once `codec_vae.py reconstruct` has run, half of its mels have been through the
VAE. The bandwidth extension learns from real 16 kHz sound to 48 kHz.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from codec_vae import DECODED
from pool import RATE, Pool
from runs import Stage
from sizes import AUDIBLE, AUDIO, CONFIG
from torch import Tensor

from soundlora.model.config import parse_config
from soundlora.model.mel import LOG_FLOOR, _mel_filters, log_mel, resample
from soundlora.model.vocoder import Vocoder

BATCH, FRAMES = 4, 64  # crops of 0.64 s
RATES = {"stage1": 4e-4, "bwe": 8e-4}
MEL_SCALES = ((256, 24), (512, 40), (2048, 100))  # (window, bands) beside the model's own log-mel


def new_vocoder() -> Vocoder:
    """Fresh generators; the second mel front end is a Hann-windowed DFT and Slaney filters."""
    config = parse_config(CONFIG, {"context_length": 128})
    vocoder = Vocoder(config.vocoder, config.audio.mel_bins)
    n_fft, c = config.vocoder.n_fft, config.vocoder
    bins = n_fft // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(n_fft)) / n_fft
    basis = torch.from_numpy(np.concatenate((np.cos(angle), -np.sin(angle)))).float()
    vocoder.mel_stft.stft_fn.get_buffer("forward_basis").copy_((basis * torch.hann_window(n_fft))[:, None])
    vocoder.mel_stft.get_buffer("mel_basis").copy_(_mel_filters(bins, c.mel_bins, c.input_rate).T)
    for generator in (vocoder.vocoder, vocoder.bwe_generator):
        torch.nn.init.normal_(generator.conv_post.weight, std=0.01)
    return vocoder


def stft_loss(out: Tensor, target: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Log-magnitude L1 plus a bounded spectral convergence, mean over window sizes; (B, 2, n) each."""
    total = out.new_zeros(())
    for size in sizes:
        window = torch.hann_window(size)
        a, b = (
            torch.stft(x.flatten(0, 1), size, size // 4, window=window, return_complex=True).abs()
            for x in (out, target)
        )
        log = F.l1_loss(a.clamp_min(1e-4).log(), b.clamp_min(1e-4).log())
        # Divides by the frame's energy: clamped, or near-silent frames would rule the gradient.
        convergence = (torch.linalg.norm(a - b, dim=1) / torch.linalg.norm(b, dim=1).clamp_min(0.5)).clamp_max(4).mean()
        total = total + log + convergence
    return total / len(sizes)


def mel_loss(out: Tensor, target: Tensor) -> Tensor:
    """Log-mel L1, mean over window sizes; (B, 2, n) each, at the mel's own rate.

    Unlike an STFT's, mel bands leave room for a partial at a neighbouring frequency.
    """
    total = out.new_zeros(())
    for size, bands in MEL_SCALES:
        window, filters = torch.hann_window(size), _mel_filters(size // 2 + 1, bands, AUDIO.sample_rate)
        a, b = (
            torch.stft(x.flatten(0, 1), size, size // 4, window=window, return_complex=True).abs().transpose(1, 2)
            @ filters
            for x in (out, target)
        )
        a, b = a.clamp_min(LOG_FLOOR).log(), b.clamp_min(LOG_FLOOR).log()
        # Most bins of most sounds are quiet ones; errors where nobody hears them count little.
        weight = torch.where(b > AUDIBLE, 1.0, 0.2)
        total = total + (weight * (a - b).abs()).sum() / weight.sum()
    return total / len(MEL_SCALES)


def train_stage1(steps: int, warm: str | None) -> None:
    pool, vocoder = Pool(), new_vocoder()
    stage = Stage("stage1", {"generator": vocoder.vocoder}, steps, rate=RATES["stage1"], warm=warm)
    decoded = np.load(DECODED, mmap_mode="r") if DECODED.exists() else None

    def example(rng: np.random.Generator, held_out: bool) -> tuple[Tensor, Tensor]:
        starts = pool.crops(rng, BATCH, FRAMES, held_out=held_out)
        mel = pool.mels(starts, FRAMES)
        if decoded is not None and (held_out or rng.random() < 0.5):
            mel = torch.from_numpy(np.stack([decoded[:, s : s + FRAMES] for s in starts]).astype(np.float32))
        gain = float(10 ** rng.uniform(-0.8, 0.1))
        return (mel + math.log(gain)).clamp_min(math.log(LOG_FLOOR)), pool.waves(starts, FRAMES, low=True) * gain

    def step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        mel, wave = example(rng, False)
        out = vocoder.vocoder.unclamped(mel)
        ours, theirs = log_mel(out, AUDIO), log_mel(wave, AUDIO)
        # Most bins are quiet ones; the loudest of each frame are to count too. Steady sines stay too soft all the same.
        loudness = (theirs - theirs.amax(dim=-1, keepdim=True)).exp()
        peaks = (loudness * (ours - theirs).abs()).sum(dim=-1) / loudness.sum(dim=-1)
        peak = (peaks * (theirs.amax(dim=-1) > AUDIBLE)).mean()
        audible = (ours - theirs).abs()[theirs > AUDIBLE].mean()
        scales, stft = mel_loss(out, wave), stft_loss(out, wave, (512, 1024))
        figures = {"audible": audible.item(), "scales": scales.item(), "peak": peak.item(), "stft": stft.item()}
        return 2 * audible + scales + peak + 0.3 * stft, figures

    def held_out() -> float:
        rng, total = np.random.default_rng(7), []
        for _ in range(16):
            mel, wave = example(rng, True)
            target = log_mel(wave, AUDIO)
            mask = target > AUDIBLE
            total.append((log_mel(vocoder.vocoder(mel), AUDIO) - target).abs()[mask].mean().item())
        return sum(total) / len(total)

    _loop(stage, step, held_out)


def train_bwe(steps: int, warm: str | None) -> None:
    pool, vocoder = Pool(), new_vocoder()
    stage = Stage("bwe", {"generator": vocoder.bwe_generator}, steps, rate=RATES["bwe"], warm=warm)

    def example(rng: np.random.Generator, held_out: bool) -> tuple[Tensor, Tensor]:
        wave = pool.waves(pool.crops(rng, BATCH, FRAMES, held_out=held_out), FRAMES)
        # Quiet input too: what the generator adds to silence would be a hiss under everything.
        wave = wave * float(10 ** rng.uniform(-2.5, 0))
        return resample(wave, RATE, AUDIO.sample_rate), wave

    def extended(low: Tensor) -> Tensor:
        mel = vocoder.mel_stft(low).transpose(2, 3)
        return vocoder.bwe_generator(mel) + vocoder.skip(low)

    def step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        low, wave = example(rng, False)
        loss = stft_loss(extended(low), wave, (512, 1024, 2048))
        return loss, {"stft": loss.item()}

    def held_out() -> float:
        rng, total = np.random.default_rng(7), []
        for _ in range(4):
            low, wave = example(rng, True)
            total.append(stft_loss(extended(low), wave, (512, 1024, 2048)).item())
        return sum(total) / len(total)

    _loop(stage, step, held_out)


def _loop(
    stage: Stage,
    step: Callable[[np.random.Generator], tuple[Tensor, dict[str, float]]],
    held_out: Callable[[], float],
) -> None:
    while not stage.done:
        loss, figures = step(np.random.default_rng((3, stage.step)))
        stage.update(loss, figures, log_every=20, save_every=100)
        if stage.step % 200 == 0 or stage.done:
            with torch.no_grad():
                stage.log({"held_out": round(held_out(), 4)})


if __name__ == "__main__":
    torch.manual_seed(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=list(RATES))
    parser.add_argument("steps", type=int, nargs="?", default=7000)
    parser.add_argument("--warm")
    arguments = parser.parse_args()
    (train_stage1 if arguments.what == "stage1" else train_bwe)(arguments.steps, arguments.warm)
