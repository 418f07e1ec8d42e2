"""Stage 2 trains the audio VAE on log-mels.

    python recipes/nano/codec_vae.py [steps]

It is resumable, as every stage is.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from layers import numbers_of
from pool import Pool
from runs import Stage
from sizes import AUDIBLE, AUDIO
from torch import Tensor

from soundlora.model.audio_vae import AudioVAE

BATCH, FRAMES = 4, 101  # crops of 1 s
DEVIATIONS = (1.1, 1.0, 0.9, 0.8, 0.8, 0.45, 0.25, 0.15)  # of the normalised latents, along their principal axes
KL_WEIGHT = 3e-4  # This keeps the latents' scale and is far too little to blur them.


def audible_l1(predicted: torch.Tensor, mel: torch.Tensor) -> float:
    mask = mel > AUDIBLE
    return float((predicted - mel).abs()[mask].mean())


@torch.no_grad()
def validate(vae: AudioVAE, pool: Pool) -> float:
    rng = np.random.default_rng(99)
    total = []
    for _ in range(8):
        mel = pool.mels(pool.crops(rng, 8, FRAMES, held_out=True), FRAMES)
        total.append(audible_l1(vae.decoder(vae.encoder(mel)), mel))
    return sum(total) / len(total)


def new_vae() -> AudioVAE:
    vae: AudioVAE = AudioVAE(AUDIO).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return vae


@torch.no_grad()
def balance(vae: AudioVAE, encoded: Tensor) -> None:
    """Turn the latent channels into their principal axes, and normalise each to its own deviation of `DEVIATIONS`.

    All eight channels follow the loudness at first, which has 80 % of the variance then. Whether a moment is loud or
    quiet is settled at noise levels above 0.95, where a LoRA is hardly ever trained, and everything else below 0.5. The
    VAE computes the same as before. `encoded` is (B, channels, T, bins), not normalised.
    """
    tokens = encoded.transpose(1, 2).flatten(0, 1).double()  # (N, channels, bins)
    centred = tokens - tokens.mean(dim=0)
    covariance = torch.einsum("ncf,ndf->cd", centred, centred) / centred[:, 0].numel()
    axes = torch.linalg.eigh(covariance)[1].flip(1)  # (channels, axes), the widest first
    channels = len(axes)
    out, into = numbers_of(vae.encoder.conv_out.conv), numbers_of(vae.decoder.conv_in.conv)
    # The first half are means; nobody asks for variances any more.
    out.weight[:channels] = torch.einsum("ck,cihw->kihw", axes, out.weight[:channels].double()).float()
    out.bias[:channels] = (axes.T @ out.bias[:channels].double()).float()
    into.weight.copy_(torch.einsum("ochw,ck->okhw", into.weight.double(), axes))
    turned = torch.einsum("ncf,ck->nkf", tokens, axes)
    deviations = turned.std(dim=0) / torch.tensor(DEVIATIONS, dtype=torch.float64)[:, None]
    vae.per_channel_statistics.get_buffer("mean-of-means").copy_(turned.mean(dim=0).flatten())
    vae.per_channel_statistics.get_buffer("std-of-means").copy_(deviations.flatten())


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2200
    torch.manual_seed(0)
    pool = Pool()
    vae = new_vae()
    stage = Stage("vae", {"vae": vae}, steps, rate=1e-3)
    while not stage.done:
        rng = np.random.default_rng((2, stage.step))
        mel = pool.mels(pool.crops(rng, BATCH, FRAMES), FRAMES)
        mel = mel + float(rng.normal(0, 0.7)) * (mel > -11)  # The VAE meets other levels than the pool's.
        mel = mel.clamp_min(-11.5129)
        mean, log_variance = vae.encoder.moments(mel)
        log_variance = log_variance.clamp(-20, 5)
        generator = torch.Generator().manual_seed(stage.step)
        z = mean + torch.randn(mean.shape, generator=generator) * (0.5 * log_variance).exp()
        out = vae.decoder(z)
        # Errors in bins that nobody hears count little.
        weight = torch.where(mel > AUDIBLE, 1.0, 0.25)
        l1 = (weight * (out - mel).abs()).mean()
        # Differences along time and frequency keep onsets and partials sharp.
        slopes = F.l1_loss(out.diff(dim=2), mel.diff(dim=2)) + F.l1_loss(out.diff(dim=3), mel.diff(dim=3))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        figures = {"l1": l1.item(), "slopes": slopes.item(), "kl": kl.item(), "audible": audible_l1(out.detach(), mel)}
        stage.update(l1 + 0.3 * slopes + KL_WEIGHT * kl, figures)
        if stage.step % 400 == 0 or stage.done:
            stage.log({"held_out_audible_l1": round(validate(vae, pool), 4)})
    with torch.no_grad():
        rng = np.random.default_rng(5)
        encoded = [vae.encoder(pool.mels(pool.crops(rng, 16, FRAMES), FRAMES)) for _ in range(24)]
    balance(vae, torch.cat(encoded))
    stage.save()


if __name__ == "__main__":
    main()
