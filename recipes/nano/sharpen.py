"""Stage 4: the vocoder's stage 1 learns to follow a mel, so that what it plays has the mel it was asked for.

    python recipes/nano/sharpen.py [steps]

A mel frame hears 64 ms. Lines that follow it as it is are heard through such a window twice: onsets lose their edge,
gaps fill up, and of a buzz that changes a dozen times a second little is left. The first round of the first residual
block, which `lines.py` leaves idle, learns what to add to each band's log-mel against that, from 130 ms around it.

The lines are played by `lines.played`, not by the generator, so that a step costs a quarter of a second. What comes in
are mels as the VAE decodes them, and what is asked for are the ones that it encoded.
"""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from codec_vocoder import new_vocoder
from lines import LINES, Halves, played
from pool import Pool
from runs import Stage, load_modules
from sizes import AUDIBLE, AUDIO, WORK
from torch import Tensor

from soundlora.model.audio_vae import AudioVAE
from soundlora.model.mel import LOG_FLOOR, log_mel
from soundlora.model.vocoder import AMPBlock

BATCH, FRAMES = 6, 100
RATE = 2e-4
SILENCE = math.log(LOG_FLOOR)
STATISTICS = 0.5  # weight of the deviation and slope of each band, which an L1 alone leaves too small
BANDS = 2 * AUDIO.mel_bins
HELD = slice(2 * LINES, 2 * LINES + BANDS)  # channels of the first residual block that hold log-mels


def learnt_parts(halves: Halves) -> dict[torch.nn.Parameter, tuple[slice, ...]]:
    """What learns of the generator's tensors; what `lines.py` wrote down beside it stays."""
    generator = halves.generator
    first = generator.resblocks[0]
    assert isinstance(first, AMPBlock)
    every = slice(None)
    return {
        generator.conv_pre.weight: (slice(BANDS, None),),
        generator.conv_pre.bias: (slice(BANDS, None),),
        generator.ups[0].weight: (slice(BANDS, None), slice(HELD.stop, None)),
        first.convs1[0].weight: (every,),
        first.convs1[0].bias: (every,),
        first.convs2[0].weight: (HELD,),
        first.convs2[0].bias: (HELD,),
    }


def keep_the_rest(halves: Halves, parts: dict[torch.nn.Parameter, tuple[slice, ...]]) -> None:
    """Gradients of what is not to learn become zero, and so the steps that Adam makes of them."""
    halves.generator.requires_grad_(False)
    for parameter, part in parts.items():
        mask = torch.zeros_like(parameter)
        mask[part] = 1
        parameter.requires_grad_(True)
        parameter.register_hook(lambda gradient, mask=mask: gradient * mask)


@torch.inference_mode()
def decode_pool(pool: Pool) -> None:
    """Every piece of the pool through the VAE, in stretches of at most 10 s, into work/pool_decoded.npy."""
    vae = AudioVAE(AUDIO).to(memory_format=torch.channels_last)
    vae.load_state_dict(load_modules("vae")["vae"])
    decoded = np.array(pool.mel)
    for piece in pool.index:
        for start in range(piece["start"], piece["start"] + piece["frames"], 1000):
            # Four frames a latent, and one for the first.
            frames = min(1000, piece["start"] + piece["frames"] - start - 1) // 4 * 4 + 1
            mel = pool.mels([start], frames)
            decoded[:, start : start + frames] = vae.decoder(vae.encoder(mel))[0].numpy()
    np.save(WORK / "pool_decoded.npy", decoded)


class Pairs:
    """Mels as the VAE decodes them, beside the ones it encoded."""

    def __init__(self) -> None:
        self.pool = Pool()
        if not (WORK / "pool_decoded.npy").exists():
            decode_pool(self.pool)
        self.decoded = np.load(WORK / "pool_decoded.npy", mmap_mode="r")

    def draw(self, rng: np.random.Generator, count: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
        """(count, 2, FRAMES, bins) each, one level change for all, and half of them with the channels swapped."""
        starts = self.pool.crops(rng, count, FRAMES, held_out=held_out)
        mel = self.pool.mels(starts, FRAMES)
        decoded = torch.from_numpy(np.stack([self.decoded[:, s : s + FRAMES] for s in starts]).astype(np.float32))
        if held_out:
            return decoded, mel
        level = float(rng.normal(0, 0.7))
        shifted = [(x + level * (x > SILENCE + 0.5)).clamp(SILENCE, 2.0) for x in (decoded, mel)]
        return (shifted[0].flip(1), shifted[1].flip(1)) if rng.random() < 0.5 else (shifted[0], shifted[1])


def heard(halves: Halves, mel: Tensor, phases: Tensor) -> Tensor:
    """The log-mel of the lines that a log-mel (B, 2, frames, bins) is played with."""
    amplitudes = halves.amplitudes(mel)[:, : 2 * LINES]
    return log_mel(played(amplitudes, phases), AUDIO)[:, :, : mel.shape[2]]


def losses(out: Tensor, mel: Tensor) -> dict[str, Tensor]:
    # The first frames' window begins before the crop.
    out, mel = out[:, :, 6:], mel[:, :, 6:]
    weight = torch.where(mel > AUDIBLE, 1.0, 0.25)  # errors where nothing is to be heard count little
    floor = [x.clamp_min(AUDIBLE) for x in (out, mel)]
    slopes = [x.diff(dim=2) for x in floor]
    deviation = (floor[0].std(dim=2) - floor[1].std(dim=2)).abs().mean()
    steepness = (slopes[0].abs().mean(dim=2) - slopes[1].abs().mean(dim=2)).abs().mean()
    return {
        "l1": (weight * (floor[0] - floor[1]).abs()).mean(),
        "slopes": (slopes[0] - slopes[1]).abs().mean(),
        "statistics": deviation + 2 * steepness,
    }


@torch.no_grad()
def validate(halves: Halves, pairs: Pairs, phases: Tensor) -> dict[str, float]:
    rng = np.random.default_rng(98)
    sums: dict[str, float] = {}
    for _ in range(6):
        decoded, mel = pairs.draw(rng, 8, held_out=True)
        out = heard(halves, decoded, phases)
        figures = {key: value.item() for key, value in losses(out, mel).items()}
        figures["audible"] = float((out - mel).abs()[mel > AUDIBLE].mean())
        sums = {key: sums.get(key, 0.0) + value / 6 for key, value in figures.items()}
    return {f"held_out_{key}": round(value, 4) for key, value in sums.items()}


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 5400
    torch.manual_seed(0)
    pairs = Pairs()
    halves = Halves(new_vocoder().vocoder)
    generator = halves.generator
    trained = load_modules("player")["generator"]
    # The front is what Halves has just written; what plays the lines was learnt.
    front = ("conv_pre.", "ups.0.", "ups.1.", "resblocks.0.", "resblocks.1.")
    generator.load_state_dict({k: v for k, v in trained.items() if not k.startswith(front)}, strict=False)
    keep_the_rest(halves, learnt_parts(halves))
    stage = Stage("stage1", {"generator": generator}, steps, rate=RATE)
    stage.adamw.param_groups[0]["weight_decay"] = 0.0  # it would change what is written down
    phases = torch.rand(LINES, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    if stage.step == 0:
        stage.log(validate(halves, pairs, phases))
    while not stage.done:
        decoded, mel = pairs.draw(np.random.default_rng((6, stage.step)), BATCH)
        parts = losses(heard(halves, decoded, phases), mel)
        total = parts["l1"] + 0.3 * parts["slopes"] + STATISTICS * parts["statistics"]
        stage.update(total, {key: value.item() for key, value in parts.items()}, log_every=50, save_every=200)
        if stage.step % 400 == 0 or stage.done:
            stage.log(validate(halves, pairs, phases))


if __name__ == "__main__":
    main()
