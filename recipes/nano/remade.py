"""Stage 9 teaches the VAE's decoder and the front of the vocoder's lines with latents that the transformer makes.

    python recipes/nano/remade.py [steps] [--made-by stage]

A sampled latent is not an encoded one. It has a grain of its own, which a decoder that has only seen encoded ones turns
into a flutter. So real clips get noise up to some level, and the transformer takes it away, as the last steps of
sampling do. The sound is still the clip's, the grain is the transformer's, and the clip's mel is the target. The
encoder stays as it is, and so do latents and transformer.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from captioned import SETS
from codec_vae import audible_l1, new_vae
from front import Front
from lines import line_phases
from numpy.lib.format import open_memmap
from pool import Pool
from pretrain import text_to_latents
from runs import Stage, load_modules
from sharpen import NOISE, assemble, heard, keep_the_rest, learnt_parts, losses, louder
from sizes import AUDIO, SAMPLING, WORK
from sounds import caption
from torch import Tensor

from soundlora.model.audio_vae import AudioVAE
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.guidance import Guidance, denoise
from soundlora.sampling.schedule import sigmas

CLIPS = 3000
LEVELS = (0.2, 0.6)  # of the noise that is added; more would make another sound
BATCH, LATENTS = 3, 26  # crops of each kind, 1 s
HELD_OUT = 9  # every ninth clip
# These weight the deviation and slope of each band, in the heard sound and in the decoded mel. Judges and LoRAs go by
# them more than by any one frame.
STATISTICS, STATISTICS_OF_DECODED = 2.0, 0.8


def chosen_clips() -> dict[int, dict[str, Any]]:
    """Return number and item of the last clips of the set that are one sound."""
    items = json.loads(SETS[0].items_path.read_text())
    alone = [(number, item) for number, item in enumerate(items) if item["kind"] == "alone"]
    return dict(alone[-CLIPS:])


def remake(model: AudioTransformer, clean: Tensor, context: Tensor, level: float, noise: Tensor) -> Tensor:
    """Add noise up to about `level` to clean latents (1, T, C), and remove it by the last steps of nano's sampling."""
    guidance = Guidance(SAMPLING["cfg"], SAMPLING["stg"], SAMPLING["stg_blocks"], SAMPLING["rescale"])
    levels = sigmas(SAMPLING["steps"])
    levels = levels[levels <= level]
    rope = model.rope(positions(clean.shape[1], AUDIO))
    with torch.autocast("cpu", torch.bfloat16):
        return denoise(model, torch.lerp(clean, noise, levels[0]), levels, rope, context, None, guidance)


def remake_all(stage: str) -> None:
    """Write work/remade.npy (clips, T, C) of `chosen_clips`, made by the transformer of `stage`."""
    both = text_to_latents(stage)
    latents, chosen = np.load(SETS[0].latents_path, mmap_mode="r"), chosen_clips()
    remade = open_memmap(WORK / "remade.partial.npy", "w+", np.float16, (len(chosen), *latents.shape[1:]))
    rng = np.random.default_rng(13)
    for row, (number, item) in enumerate(chosen.items()):
        family, attributes = item["parts"][0]
        with torch.no_grad():
            context = both.text([caption(family, attributes, rng)])
        clean = torch.from_numpy(latents[number][None].astype(np.float32))
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
        remade[row] = remake(both.model, clean, context, rng.uniform(*LEVELS), noise)[0].numpy()
        if row % 400 == 0:
            print(f"remade: {row} of {len(chosen)}", flush=True)
    remade.flush()
    (WORK / "remade.partial.npy").replace(WORK / "remade.npy")


class Remade:
    """Latents and the mels that they should become, in crops of 1 s."""

    def __init__(self) -> None:
        self.pool, self.chosen = Pool(), list(chosen_clips())
        self.latents = np.load(WORK / "remade.npy", mmap_mode="r")
        self.mels = np.load(SETS[0].mel_path, mmap_mode="r")

    def draw(self, rng: np.random.Generator, count: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
        """Return latents (count, LATENTS, C) of the transformer, and their mels (count, 2, 4·LATENTS - 3, bins)."""
        kept = [n for n in range(len(self.chosen)) if (n % HELD_OUT == HELD_OUT - 1) == held_out]
        rows = rng.choice(kept, count)
        starts = rng.integers(0, self.latents.shape[1] - LATENTS + 1, count)
        latents = [self.latents[n, s : s + LATENTS] for n, s in zip(rows, starts, strict=True)]
        # A latent ends with its fourth frame. The first latent of a crop is decoded to that frame alone.
        frames = 4 * LATENTS - 3
        mels = [self.mels[self.chosen[n], :, 4 * s : 4 * s + frames] for n, s in zip(rows, starts, strict=True)]
        return torch.from_numpy(np.stack(latents)).float(), torch.from_numpy(np.stack(mels).astype(np.float32))

    def draw_encoded(
        self, vae: AudioVAE, rng: np.random.Generator, count: int, *, held_out: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return latents of the codec's own pool and their mels. Latents to learn from get some noise."""
        frames = 4 * LATENTS - 3
        mel = self.pool.mels(self.pool.crops(rng, count, frames, held_out=held_out), frames)
        if not held_out:
            mel = louder(mel, float(rng.normal(0, 0.7)))
        with torch.no_grad():
            latents = vae.encode(mel)
        if not held_out:
            seed = int(rng.integers(1 << 62))
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
            latents = latents + float(rng.uniform(0, NOISE)) * noise
        return latents, mel


@torch.no_grad()
def validate(vae: AudioVAE, front: Front, remade: Remade, phases: Tensor) -> dict[str, float]:
    rng = np.random.default_rng(97)
    figures: dict[str, float] = {}
    for _ in range(6):
        for kind, (latents, mel) in (
            ("encoded", remade.draw_encoded(vae, rng, 8, held_out=True)),
            ("remade", remade.draw(rng, 8, held_out=True)),
        ):
            decoded = vae.decode(latents)
            played = heard(front, decoded, phases)
            for what, out in (("decoded", decoded), ("heard", played)):
                # The window of the first frames begins before the crop.
                key = f"held_out_{kind}_{what}"
                figures[key] = figures.get(key, 0.0) + audible_l1(out[:, :, 6:], mel[:, :, 6:]) / 6
    return {key: round(value, 4) for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=2500)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--made-by", default="guided", help="stage of the transformer; `first` after restore.py")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if not (WORK / "remade.npy").exists():
        remake_all(arguments.made_by)
    remade, phases = Remade(), line_phases()
    vae, front = new_vae(), Front()
    vae.load_state_dict(load_modules("vae")["vae"])
    front.load_state_dict(load_modules("front")["front"])
    vae.encoder.requires_grad_(False)
    keep_the_rest(front, learnt_parts(front))
    stage = Stage("decoder", {"vae": vae, "front": front}, arguments.steps, rate=arguments.rate)
    stage.adamw.param_groups[0]["weight_decay"] = 0.0  # Decay would change the weights that are written down.
    if stage.step == 0:
        stage.log(validate(vae, front, remade, phases))
    while not stage.done:
        rng = np.random.default_rng((14, stage.step))
        pairs = remade.draw(rng, BATCH), remade.draw_encoded(vae, rng, BATCH)
        latents, mel = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        decoded = vae.decode(latents)
        played = losses(heard(front, decoded, phases), mel)
        before = losses(decoded, mel)
        total = sum(
            parts["l1"] + 0.3 * parts["slopes"] + share * parts["statistics"] + parts["flutter"]
            for parts, share in ((played, STATISTICS), (before, STATISTICS_OF_DECODED))
        )
        assert isinstance(total, Tensor)
        figures = {key: value.item() for key, value in played.items()}
        figures |= {f"decoded_{key}": value.item() for key, value in before.items()}
        stage.update(total, figures, log_every=50, save_every=100)
        if stage.step % 250 == 0 or stage.done:
            stage.log(validate(vae, front, remade, phases))
    assemble(front)


if __name__ == "__main__":
    main()
