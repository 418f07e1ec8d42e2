"""Stage 5 trains the vocoder's bandwidth extension from real 16 kHz sound to 48 kHz.

    python recipes/nano/codec_vocoder.py [steps] [--warm stage]

--warm takes the first weights from an earlier stage file.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from pool import RATE, Pool
from runs import Stage
from sizes import AUDIO, MODEL
from torch import Tensor

from soundlora.model.mel import _mel_filters, resample
from soundlora.model.vocoder import Vocoder

BATCH, FRAMES = 4, 64  # crops of 0.64 s


def new_vocoder() -> Vocoder:
    """Return a vocoder with fresh generators. Its second mel front end is a Hann-windowed DFT with Slaney filters."""
    vocoder = Vocoder(MODEL.vocoder, MODEL.audio.mel_bins)
    n_fft, c = MODEL.vocoder.n_fft, MODEL.vocoder
    bins = n_fft // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(n_fft)) / n_fft
    basis = torch.from_numpy(np.concatenate((np.cos(angle), -np.sin(angle)))).float()
    vocoder.mel_stft.stft_fn.get_buffer("forward_basis").copy_((basis * torch.hann_window(n_fft))[:, None])
    vocoder.mel_stft.get_buffer("mel_basis").copy_(_mel_filters(bins, c.mel_bins, c.input_rate).T)
    for generator in (vocoder.vocoder, vocoder.bwe_generator):
        torch.nn.init.normal_(generator.conv_post.weight, std=0.01)
    return vocoder


def stft_loss(out: Tensor, target: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the log-magnitude L1 plus a bounded spectral convergence of (B, 2, n) each, as the mean over `sizes`."""
    total = out.new_zeros(())
    for size in sizes:
        window = torch.hann_window(size)
        a, b = (
            torch.stft(x.flatten(0, 1), size, size // 4, window=window, return_complex=True).abs()
            for x in (out, target)
        )
        log = F.l1_loss(a.clamp_min(1e-4).log(), b.clamp_min(1e-4).log())
        # This divides by the frame's energy. Without the clamp near-silent frames would rule the gradient.
        convergence = (torch.linalg.norm(a - b, dim=1) / torch.linalg.norm(b, dim=1).clamp_min(0.5)).clamp_max(4).mean()
        total = total + log + convergence
    return total / len(sizes)


def train(steps: int, warm: str | None) -> None:
    pool, vocoder = Pool(), new_vocoder()
    stage = Stage("bwe", {"generator": vocoder.bwe_generator}, steps, rate=8e-4, warm=warm)

    def extended(low: Tensor) -> Tensor:
        mel = vocoder.mel_stft(low).transpose(2, 3)
        wave: Tensor = vocoder.bwe_generator(mel) + vocoder.skip(low)
        return wave

    def loss(rng: np.random.Generator, held_out: bool) -> Tensor:
        wave = pool.waves(pool.crops(rng, BATCH, FRAMES, held_out=held_out), FRAMES)
        # Some input is quiet, because anything that the generator adds to silence is a hiss under every sound.
        wave = wave * float(10 ** rng.uniform(-2.5, 0))
        return stft_loss(extended(resample(wave, RATE, AUDIO.sample_rate)), wave, (512, 1024, 2048))

    while not stage.done:
        current = loss(np.random.default_rng((3, stage.step)), False)
        stage.update(current, {"stft": current.item()}, log_every=20, save_every=100)
        if stage.step % 200 == 0 or stage.done:
            with torch.no_grad():
                rng = np.random.default_rng(7)
                total = sum(loss(rng, True).item() for _ in range(4))
                stage.log({"held_out": round(total / 4, 4)})


if __name__ == "__main__":
    torch.manual_seed(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=400)
    parser.add_argument("--warm")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.warm)
