"""Stage 4 teaches the vocoder's stage 1 to follow a mel, so that its sound has the mel that it was given.

    python recipes/nano/sharpen.py [steps] [--warm stage]

A mel frame hears 64 ms. Lines that follow the mel directly are heard through such a window twice. Onsets lose their
edge, gaps fill up, and little is left of a buzz that changes a dozen times a second. A loud line is also heard in bands
where there is none. The first residual block of `front.py` learns what to add to each band's log-mel against that, from
190 ms around it.

`lines.played` plays the lines instead of the generator, so that a step costs a third of a second. The inputs are mels
as the VAE decodes them, and the targets are those that it encoded. At the end the front and the player of lines become
work/stage1.pt.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from codec_vae import new_vae
from codec_vocoder import new_vocoder
from front import BANDS, Front, put_front
from lines import kept, line_phases, played
from pool import Pool
from runs import Stage, load_modules
from sizes import AUDIBLE, AUDIO, WORK
from torch import Tensor

from soundlora.model.mel import LOG_FLOOR, log_mel

BATCH, FRAMES = 6, 100
RATE = 3e-4
SILENCE = math.log(LOG_FLOOR)
NOISE = 0.25
STATISTICS = 0.5  # weight of the deviation and slope of each band, which an L1 alone leaves too small


def learnt_parts(front: Front) -> dict[torch.nn.Parameter, tuple[slice, ...]]:
    """Return the parts of the front's tensors that learn. The parts that are written down stay.

    The first convolution stays as it began. It has more outputs than inputs, and the next layer can take any sums of
    them. Its inputs are log-mels of about -6, so one of Adam's steps would shift all outputs.
    """
    enter, learning = front.ups[0], front.blocks()[0]
    every, spare = slice(None), slice(BANDS, None)
    parts: dict[torch.nn.Parameter, tuple[slice, ...]] = {
        enter.get_parameter("weight"): (spare, spare),
        enter.get_parameter("bias"): (spare,),
    }
    last = learning.convs2[-1]  # Its additions to other channels are unused.
    return parts | dict.fromkeys(learning.parameters(), (every,)) | dict.fromkeys(last.parameters(), (slice(BANDS),))


def keep_the_rest(front: Front, parts: dict[torch.nn.Parameter, tuple[slice, ...]]) -> None:
    """Set the gradients of the other parts to zero, so that Adam does not change them."""
    front.requires_grad_(False)
    for parameter, part in parts.items():
        mask = torch.zeros_like(parameter)
        mask[part] = 1
        parameter.requires_grad_(True)
        parameter.register_hook(lambda gradient, mask=mask: gradient * mask)


@torch.inference_mode()
def decode_pool(pool: Pool, name: str, noise: float) -> None:
    """Write every piece of the pool, after the VAE and in stretches of at most 10 s, to work/NAME.npy.

    `noise` is the most that is added to latents, which deviate by 0.8. Each stretch gets another share of it.
    """
    vae = new_vae()
    vae.load_state_dict(load_modules("vae")["vae"])
    decoded = np.array(pool.mel)
    generator = torch.Generator().manual_seed(5)
    for piece in pool.index:
        for start in range(piece["start"], piece["start"] + piece["frames"], 1000):
            # Each latent has four frames, and the first one has one.
            frames = min(1000, piece["start"] + piece["frames"] - start - 1) // 4 * 4 + 1
            mel = pool.mels([start], frames)
            latents = vae.encode(mel)
            level = noise * torch.rand((), generator=generator)
            latents = latents + level * torch.randn(latents.shape, generator=generator)
            decoded[:, start : start + frames] = vae.decode(latents)[0].numpy()
    np.save(WORK / f"{name}.npy", decoded)


def louder(mel: Tensor, level: float) -> Tensor:
    """Return a log-mel that is `level` nats louder, or softer below 0, where it is not silent."""
    return (mel + level * (mel > SILENCE + 0.5)).clamp(SILENCE, 2.0)


class Pairs:
    """Mels as the VAE decodes them, beside those that it encoded.

    Mels to learn from are decoded from latents with some noise, as a transformer's latents have it, since a front that
    sharpens mels would otherwise make a flutter of it. Held-out mels are decoded without noise.
    """

    def __init__(self) -> None:
        self.pool = Pool()
        for name, noise in (("pool_decoded", 0.0), ("pool_noisy", NOISE)):
            if not (WORK / f"{name}.npy").exists():
                decode_pool(self.pool, name, noise)
        self.decoded, self.noisy = (np.load(WORK / f"{n}.npy", mmap_mode="r") for n in ("pool_decoded", "pool_noisy"))

    def draw(self, rng: np.random.Generator, count: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
        """Return decoded and encoded mels (count, 2, FRAMES, bins).

        One change of level holds for all, and half of them have their channels swapped.
        """
        starts = self.pool.crops(rng, count, FRAMES, held_out=held_out)
        mel = self.pool.mels(starts, FRAMES)
        source = self.decoded if held_out else self.noisy
        decoded = torch.from_numpy(np.stack([source[:, s : s + FRAMES] for s in starts]).astype(np.float32))
        if held_out:
            return decoded, mel
        level = float(rng.normal(0, 0.7))
        shifted = [louder(x, level) for x in (decoded, mel)]
        return (shifted[0].flip(1), shifted[1].flip(1)) if rng.random() < 0.5 else (shifted[0], shifted[1])


def heard(front: Front, mel: Tensor, phases: Tensor) -> Tensor:
    """Return the log-mel at 16 kHz of the 48 kHz sound that lines play for a log-mel (B, 2, frames, bins).

    The sound is clipped, as the generator clips. The front learns to keep loud sounds below that.
    """
    sound = played(front.of_stereo(mel) * kept().repeat(2)[:, None], phases).clamp(-1, 1)
    return log_mel(sound, AUDIO)[:, :, : mel.shape[2]]


def losses(out: Tensor, mel: Tensor) -> dict[str, Tensor]:
    # The first frames' window begins before the crop.
    out, mel = out[:, :, 6:], mel[:, :, 6:]
    weight = torch.where(mel > AUDIBLE, 1.0, 0.25)  # Errors in inaudible bins count little.
    floor = [x.clamp_min(AUDIBLE) for x in (out, mel)]
    slopes = [x.diff(dim=2) for x in floor]
    deviation = (floor[0].std(dim=2) - floor[1].std(dim=2)).abs().mean()
    steepness = (slopes[0].abs().mean(dim=2) - slopes[1].abs().mean(dim=2)).abs().mean()
    # Bands that get louder and softer together are a flutter. It is heard long before any one band's error is.
    loudness = [x.mean(dim=(1, 3)) for x in floor]
    flutter = (loudness[0] - loudness[1]).diff(dim=1).abs().mean()
    return {
        "l1": (weight * (floor[0] - floor[1]).abs()).mean(),
        "slopes": (slopes[0] - slopes[1]).abs().mean(),
        "statistics": deviation + 2 * steepness,
        "flutter": (loudness[0] - loudness[1]).abs().mean() + 2 * flutter,
    }


@torch.no_grad()
def validate(front: Front, pairs: Pairs, phases: Tensor) -> dict[str, float]:
    rng = np.random.default_rng(98)
    sums: dict[str, float] = {}
    for _ in range(6):
        decoded, mel = pairs.draw(rng, 8, held_out=True)
        out = heard(front, decoded, phases)
        figures = {key: value.item() for key, value in losses(out, mel).items()}
        figures["audible"] = float((out - mel).abs()[mel > AUDIBLE].mean())
        sums = {key: sums.get(key, 0.0) + value / 6 for key, value in figures.items()}
    return {f"held_out_{key}": round(value, 4) for key, value in sums.items()}


def assemble(front: Front) -> None:
    """Write front and player as one generator to work/stage1.pt."""
    generator = new_vocoder().vocoder
    generator.load_state_dict(load_modules("player")["generator"])
    put_front(generator, front)
    torch.save({"modules": {"generator": generator.state_dict()}}, WORK / "stage1.pt")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=5000)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--warm", help="a stage file to begin with, such as `front` after restore.py")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pairs, front = Pairs(), Front()
    keep_the_rest(front, learnt_parts(front))
    stage = Stage("front", {"front": front}, arguments.steps, rate=arguments.rate, warm=arguments.warm)
    stage.adamw.param_groups[0]["weight_decay"] = 0.0  # Decay would change the weights that are written down.
    phases = line_phases()
    if stage.step == 0:
        stage.log(validate(front, pairs, phases))
    while not stage.done:
        decoded, mel = pairs.draw(np.random.default_rng((6, stage.step)), BATCH)
        parts = losses(heard(front, decoded, phases), mel)
        total = parts["l1"] + 0.3 * parts["slopes"] + STATISTICS * parts["statistics"]
        stage.update(total, {key: value.item() for key, value in parts.items()}, log_every=50, save_every=200)
        if stage.step % 250 == 0 or stage.done:
            stage.log(validate(front, pairs, phases))
    assemble(front)


if __name__ == "__main__":
    main()
