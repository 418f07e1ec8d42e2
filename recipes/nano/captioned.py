"""Stage 6 makes captioned sound of every family and of mixtures, as latents.

    python recipes/nano/captioned.py
    python recipes/nano/captioned.py encode

Rendering and analysis are kept apart from encoding, so that a new VAE needs only the second half.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from codec_vae import new_vae
from numpy.lib.format import open_memmap
from pool import RATE
from runs import load_modules
from sizes import AUDIO, WORK
from sounds import FAMILIES, render, render_mixture

from soundlora.model.mel import log_mel, resample


@dataclass(frozen=True)
class Set:
    """Clips of one length. The set keeps what captions say; their words are drawn each time a clip is trained on."""

    name: str
    seconds: float
    per_family: int
    mixtures: int

    @property
    def total(self) -> int:
        return self.per_family * len(FAMILIES) + self.mixtures

    @property
    def mel_frames(self) -> int:
        return round(self.seconds * 100) + 1

    @property
    def latents(self) -> int:
        return (self.mel_frames - 1) // 4 + 1

    @property
    def mel_path(self) -> Any:
        return WORK / f"{self.name}_mel.npy"

    @property
    def latents_path(self) -> Any:
        return WORK / f"{self.name}_latents.npy"

    @property
    def items_path(self) -> Any:
        return WORK / f"{self.name}.json"


SETS = (Set("captioned", 5.0, 160, 1500), Set("captioned_long", 10.0, 12, 150))


def render_one(clips: Set, number: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a clip's log-mel (2, frames, 64) as float16, and what its caption says. Both follow from its number."""
    rng = np.random.default_rng((11, number, round(clips.seconds)))
    if number < clips.total - clips.mixtures:
        sound = render(FAMILIES[number % len(FAMILIES)], rng, clips.seconds)
        parts, kind, audio = [(sound.family, sound.attributes)], "alone", sound.audio
    else:
        mixture = render_mixture(rng, clips.seconds)
        parts, kind, audio = list(mixture.parts), mixture.kind, mixture.audio
    audio = audio * np.float32(10 ** rng.uniform(-0.1, 0))
    wave = resample(torch.from_numpy(audio), RATE, AUDIO.sample_rate)
    mel = log_mel(wave[None], AUDIO)[0, :, : clips.mel_frames].to(torch.float16).numpy()
    return mel, {"parts": parts, "kind": kind}


def render_all(clips: Set) -> None:
    """Write mels (N, 2, frames, 64) as float16, and a line of families and attributes for each clip.

    The work uses all cores and is resumable.
    """
    items = json.loads(clips.items_path.read_text()) if clips.items_path.exists() else []
    mels = open_memmap(clips.mel_path, "r+" if items else "w+", np.float16, (clips.total, 2, clips.mel_frames, 64))
    with get_context("spawn").Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for mel, item in pool.imap(partial(render_one, clips), range(len(items), clips.total), chunksize=10):
            mels[len(items)] = mel
            items.append(item)
            if len(items) % 200 == 0 or len(items) == clips.total:
                mels.flush()
                clips.items_path.write_text(json.dumps(items))
                print(f"{clips.name}: {len(items)} of {clips.total} rendered", flush=True)


@torch.inference_mode()
def encode_all(clips: Set) -> None:
    vae = new_vae()
    vae.load_state_dict(load_modules("vae")["vae"])
    mels = np.load(clips.mel_path, mmap_mode="r")
    latents = np.empty((len(mels), clips.latents, 128), np.float16)
    for start in range(0, len(mels), 8):
        batch = torch.from_numpy(mels[start : start + 8].astype(np.float32))
        latents[start : start + 8] = vae.encode(batch).numpy()
    np.save(clips.latents_path, latents)
    mean, std = latents.mean(dtype=np.float64), latents.std(dtype=np.float64)
    print(f"{clips.name}: latents {latents.shape}, mean {mean:.3f}, std {std:.3f}")


if __name__ == "__main__":
    for clips in SETS:
        (encode_all if sys.argv[1:] == ["encode"] else render_all)(clips)
