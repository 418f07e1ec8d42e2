"""Stages 3 and 4: the two generators of the vocoder.

    python recipes/nano/codec_vocoder.py stage1 [steps]
    python recipes/nano/codec_vocoder.py bwe [steps]

Stage 1 learns from log-mels, half of them through the VAE, to 16 kHz. The bandwidth extension learns from real 16 kHz
sound to 48 kHz; both against multi-resolution STFTs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from codec_vae import AUDIBLE, audio_config
from pool import RATE, Pool
from runs import Stage, load_modules
from sizes import CONFIG
from torch import Tensor

from soundlora.model.audio_vae import AudioVAE
from soundlora.model.config import parse_config
from soundlora.model.mel import _mel_filters, log_mel, resample
from soundlora.model.vocoder import Vocoder

BATCH, FRAMES = 4, 64  # crops of 0.64 s
RATES = {"stage1": 4e-3, "bwe": 8e-4}
VAE_FROM = 1000  # step of stage 1 from which half of the mels come through the VAE
AUDIO = audio_config()


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


def train_stage1(steps: int) -> None:
    pool, vocoder = Pool(), new_vocoder()
    vae: AudioVAE | None = None
    stage = Stage("stage1", {"generator": vocoder.vocoder}, steps, rate=RATES["stage1"])

    def example(rng: np.random.Generator, held_out: bool) -> tuple[Tensor, Tensor]:
        starts = pool.crops(rng, BATCH, FRAMES + 4, held_out=held_out)
        wave = resample(pool.waves(starts, FRAMES + 4), RATE, AUDIO.sample_rate)
        gain = float(10 ** rng.uniform(-0.8, 0.1))
        mel = log_mel(wave * gain, AUDIO)[:, :, : FRAMES + 1]
        nonlocal vae
        if stage.step >= VAE_FROM and (held_out or rng.random() < 0.5):
            if vae is None:
                vae = AudioVAE(AUDIO).to(memory_format=torch.channels_last)
                vae.load_state_dict(load_modules("vae")["vae"])
            with torch.no_grad():
                mel = vae.decoder(vae.encoder(mel))
        return mel[:, :, :FRAMES], wave[..., : FRAMES * AUDIO.hop] * gain

    def step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        mel, wave = example(rng, False)
        out = vocoder.vocoder.unclamped(mel)
        ours, theirs = log_mel(out, AUDIO), log_mel(wave, AUDIO)
        mel_l1 = F.l1_loss(ours, theirs)
        # Most bins are quiet ones. Without a loss on the loudest of each frame, tones end up far too soft.
        loudness = (theirs - theirs.amax(dim=-1, keepdim=True)).exp()
        peaks = (loudness * (ours - theirs).abs()).sum(dim=-1) / loudness.sum(dim=-1)
        peak_l1 = (peaks * (theirs.amax(dim=-1) > AUDIBLE)).mean()
        stft = stft_loss(out, wave, (256, 512, 1024, 2048))
        figures = {"stft": stft.item(), "mel_l1": mel_l1.item(), "peak_l1": peak_l1.item()}
        return stft + mel_l1 + 2 * peak_l1, figures

    def held_out() -> float:
        rng, total = np.random.default_rng(7), []
        for _ in range(6):
            mel, wave = example(rng, True)
            target = log_mel(wave, AUDIO)
            mask = target > -9
            total.append((log_mel(vocoder.vocoder(mel), AUDIO) - target).abs()[mask].mean().item())
        return sum(total) / len(total)

    _loop(stage, step, held_out)


def train_bwe(steps: int) -> None:
    pool, vocoder = Pool(), new_vocoder()
    stage = Stage("bwe", {"generator": vocoder.bwe_generator}, steps, rate=RATES["bwe"])

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
    what = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else {"stage1": 2500, "bwe": 600}[what]
    (train_stage1 if what == "stage1" else train_bwe)(count)
