"""Stage 10 makes silence silent: what is heard between the hits of a dry clip.

    python recipes/nano/silence.py [steps]

- The decoder leaves silence at a log-mel of -10 instead of -11.5, as nothing below -9 counted when it learnt. It learns
  that silent bins are silent, and to leave the others as they are: it has itself, as it was, for a teacher.
- What plays the lines has biases, which are heard 91 dB below full scale. Lines don't need them, and they become zero.
- The bandwidth extension has learnt nothing of the band above 8 kHz. It adds a hiss at -82 dB to any sound and to none.
  Its last layer becomes zero, which keeps it silent until it learns better.

Half of what it hears are pieces of the pool, at several levels. The other half are such pieces cut to hits, with
nothing at all between them. Every second batch has noise in its latents, as those that a transformer makes are never
quite those of the encoder.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import torch
from codec_vae import new_vae
from codec_vocoder import new_vocoder
from lines import mute
from pool import Pool
from runs import Stage, load_modules, rounded
from sharpen import NOISE
from sizes import AUDIBLE, AUDIO, WORK
from torch import Tensor, nn

from soundlora.model.audio_vae import AudioVAE
from soundlora.model.mel import LOG_FLOOR, log_mel

CROPS, FRAMES, BATCH = 960, 101, 4  # of 1 s
HELD_OUT = 24
FLOOR = math.log(LOG_FLOOR)
SILENT, QUIET = 0.2, 0.05  # weights of silent bins and of others that nobody hears, beside 1 for what is heard
SHARE = 0.75  # of the way from the decoder as it was: what plays mels learnt with that one, and follows it better


def hits(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut sound (2, n) at 16 kHz to hits of 20 to 150 ms. Before the first one and between them is nothing at all."""
    time = np.arange(wave.shape[1]) / AUDIO.sample_rate
    gate, at = np.zeros(len(time)), rng.uniform(0.0, 0.4)
    while at < time[-1]:
        length, fall = rng.uniform(0.02, 0.15), np.exp(rng.uniform(np.log(0.005), np.log(0.08)))
        since = time - at
        ends = np.clip(since / rng.uniform(3e-4, 3e-3), 0, 1) * np.clip((length - since) / 0.01, 0, 1)
        gate += ends * np.exp(-np.maximum(since, 0) / fall) * rng.uniform(0.4, 1)
        at += length + rng.uniform(0.15, 0.6)
    return np.asarray(wave * gate * rng.uniform(0.1, 0.9) / (np.abs(wave).max() + 1e-3))


def mels(pool: Pool, rng: np.random.Generator, count: int, *, held_out: bool = False) -> Iterator[Tensor]:
    """Yield log-mels (1, 2, FRAMES, bins) of pieces of the pool at several levels, every second one cut to hits."""
    waves = pool.waves(pool.crops(rng, count, FRAMES, held_out=held_out), FRAMES, low=True).numpy()
    for number, wave in enumerate(waves):
        sound = hits(wave, rng) if number % 2 else wave * 10 ** rng.uniform(-1.5, 0)
        yield log_mel(torch.from_numpy(sound).float()[None], AUDIO)[:, :, :FRAMES]


def losses(out: Tensor, before: Tensor, mel: Tensor) -> dict[str, Tensor]:
    """Return how far what is heard has moved, what is left in silence, and the error of the rest, in nats."""
    heard, silent = mel > AUDIBLE, mel < FLOOR + 0.01

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return (values * where).sum() / where.sum().clamp_min(1)

    return {
        "moved": mean((out - before).abs(), heard),
        "left": mean((out - FLOOR).abs(), silent),
        "quiet": mean((out - mel).abs(), ~heard & ~silent),
    }


@torch.no_grad()
def examples(vae: AudioVAE, found: Iterator[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return latents, what the decoder makes of them now, and the log-mels that they are of."""
    mel = torch.cat(list(found))
    latents = torch.cat([vae.encode(one) for one in mel.split(BATCH)])
    return latents, torch.cat([vae.decode(one) for one in latents.split(BATCH)]), mel


@torch.no_grad()
def validate(vae: AudioVAE, held_out: tuple[Tensor, Tensor, Tensor]) -> dict[str, float]:
    latents, before, mel = held_out
    with rounded(vae.parameters()):
        out = torch.cat([vae.decode(one) for one in latents.split(BATCH)])
    figures = {name: value.item() for name, value in losses(out, before, mel).items()}
    heard = mel > AUDIBLE
    figures |= {"audible": float((out - mel).abs()[heard].mean()), "was": float((before - mel).abs()[heard].mean())}
    return {f"held_out_{name}": round(value, 4) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=3000)
    parser.add_argument("--rate", type=float, default=3e-4)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pool, vae, vocoder = Pool(), new_vae(), new_vocoder()
    taught = load_modules("decoder" if (WORK / "decoder.pt").exists() else "vae")["vae"]
    vae.load_state_dict(taught)
    vocoder.vocoder.load_state_dict(load_modules("stage1")["generator"])
    vocoder.bwe_generator.load_state_dict(load_modules("bwe")["generator"])
    mute(vocoder.vocoder)
    nn.init.zeros_(vocoder.bwe_generator.conv_post.weight)
    known = examples(vae, mels(pool, np.random.default_rng(16), CROPS))
    held_out = examples(vae, mels(pool, np.random.default_rng(97), HELD_OUT, held_out=True))
    teacher = deepcopy(vae).requires_grad_(False)
    for part in (vae.encoder, vocoder):
        part.requires_grad_(False)
    stage = Stage("silence", {"vae": vae, "vocoder": vocoder}, arguments.steps, rate=arguments.rate, warmup=20)
    stage.adamw.param_groups[0]["weight_decay"] = 0.0
    while not stage.done:
        rng = np.random.default_rng((15, stage.step))
        chosen = torch.from_numpy(rng.choice(CROPS, BATCH, replace=False))
        latents, before, mel = (part[chosen] for part in known)
        if stage.step % 2:
            spread = rng.uniform(0, NOISE, (BATCH, 1, 1)) * rng.standard_normal(latents.shape)
            latents = latents + torch.from_numpy(spread).float()
            with torch.no_grad():
                before = teacher.decode(latents)
        with rounded(vae.parameters() if stage.step >= arguments.steps // 2 else []):
            parts = losses(vae.decode(latents), before, mel)
        total = parts["moved"] + SILENT * parts["left"] + QUIET * parts["quiet"]
        stage.update(total, {name: part.item() for name, part in parts.items()}, log_every=50, save_every=200)
        if stage.step % 200 == 0 or stage.done:
            stage.log(validate(vae, held_out))
    with torch.no_grad():
        for learnt, was in zip(vae.parameters(), teacher.parameters(), strict=True):
            learnt.copy_(was.lerp(learnt, SHARE))
    torch.save({"modules": {"vae": vae.state_dict(), "vocoder": vocoder.state_dict()}}, WORK / "silent.pt")


if __name__ == "__main__":
    main()
