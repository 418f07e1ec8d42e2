"""Stage 5: captioned sound of every family, as latents.

    python recipes/nano/captioned.py [clips per family]

Rendering and analysis are kept apart from encoding, so that a new VAE needs only the second half.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from codec_vae import audio_config
from numpy.lib.format import open_memmap
from pool import RATE
from runs import load_modules
from sizes import WORK
from sounds import FAMILIES, render

from soundlora.model.audio_vae import AudioVAE
from soundlora.model.mel import log_mel, resample

SECONDS, MEL_FRAMES, LATENTS = 5.0, 501, 126
HELD_OUT = 4  # clips of each family kept for evaluation


def render_all(per_family: int) -> None:
    """mel (N, 2, 501, 64) float16 and a line of family and attributes for each clip; resumable."""
    config = audio_config()
    total = per_family * len(FAMILIES)
    path = WORK / "captioned_mel.npy"
    progress = WORK / "captioned.json"
    items = json.loads(progress.read_text()) if progress.exists() else []
    mode = "r+" if items else "w+"
    mels = open_memmap(path, mode, np.float16, (total, 2, MEL_FRAMES, 64))
    for number in range(len(items), total):
        family = FAMILIES[number % len(FAMILIES)]
        sound = render(family, np.random.default_rng((11, number)), SECONDS)
        gain = 10 ** np.random.default_rng((12, number)).uniform(-0.3, 0)
        wave = resample(torch.from_numpy(sound.audio * np.float32(gain)), RATE, config.sample_rate)
        mels[number] = log_mel(wave[None], config)[0].to(torch.float16).numpy()
        items.append({"family": family, "attributes": sound.attributes})
        if number % 200 == 199 or number == total - 1:
            mels.flush()
            progress.write_text(json.dumps(items))
            print(f"{number + 1} of {total} rendered", flush=True)


@torch.inference_mode()
def encode_all() -> None:
    vae = AudioVAE(audio_config()).to(memory_format=torch.channels_last)
    vae.load_state_dict(load_modules("vae")["vae"])
    mels = np.load(WORK / "captioned_mel.npy", mmap_mode="r")
    latents = np.empty((len(mels), LATENTS, 128), np.float16)
    for start in range(0, len(mels), 8):
        batch = torch.from_numpy(mels[start : start + 8].astype(np.float32))
        latents[start : start + 8] = vae.encode(batch).numpy()
    np.save(WORK / "captioned_latents.npy", latents)
    mean, std = latents.mean(dtype=np.float64), latents.std(dtype=np.float64)
    print(f"latents {latents.shape}, mean {mean:.3f}, std {std:.3f}")


if __name__ == "__main__":
    if sys.argv[1:] != ["encode"]:
        render_all(int(sys.argv[1]) if len(sys.argv) > 1 else 80)
    else:
        encode_all()
