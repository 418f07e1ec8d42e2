"""This recipe makes stage files from a finished nano, so that one stage can go on without running the others.

    python recipes/nano/restore.py [FOLDER]

It writes work/vae.pt, player.pt, front.pt, stage1.pt, bwe.pt and first.pt (for `pretrain.py --warm first` and
`remade.py --made-by first`), with the released bf16 weights and no optimiser. A stage of that name begins with them at
step 0. FOLDER holds nano.safetensors and text_encoder; the default is the nano that ships.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from codec_vocoder import new_vocoder
from front import take_front
from pretrain import text_to_latents
from response import FACTOR, TEXT_FACTOR, strengthen
from safetensors.torch import load_file
from sizes import AUDIO, WORK
from torch import Tensor, nn

from soundlora.model.audio_vae import AudioVAE
from soundlora.weights.base import NANO


def main() -> None:
    source = Path(sys.argv[1]) if sys.argv[1:] else NANO
    WORK.mkdir(exist_ok=True)
    shutil.copy(source / "text_encoder" / "tokenizer.json", WORK / "tokenizer.json")
    tensors = load_file(source / "nano.safetensors")

    def fill(module: nn.Module, prefix: str, without: str = "\0") -> dict[str, Tensor]:
        state = {
            name.removeprefix(prefix): tensor.float()
            for name, tensor in tensors.items()
            if name.startswith(prefix) and not name.startswith(without)
        }
        module.load_state_dict(state)
        return module.state_dict()

    vocoder = new_vocoder()
    fill(vocoder, "vocoder.")
    both = text_to_latents()
    model, text = both.model, both.text
    fill(text.connector, "model.diffusion_model.audio_embeddings_connector.")
    fill(text.projection, "text_embedding_projection.")
    gemma = load_file(source / "text_encoder" / "model.safetensors")
    text.gemma.load_state_dict({name: tensor.float() for name, tensor in gemma.items()})
    fill(model, "model.diffusion_model.", "model.diffusion_model.audio_embeddings_connector.")
    strengthen(model, 1 / FACTOR, 1 / TEXT_FACTOR)
    stages = {
        "vae": {"vae": fill(AudioVAE(AUDIO), "audio_vae.")},
        "player": {"generator": vocoder.vocoder.state_dict()},
        "front": {"front": take_front(vocoder.vocoder).state_dict()},
        "stage1": {"generator": vocoder.vocoder.state_dict()},
        "bwe": {"generator": vocoder.bwe_generator.state_dict()},
        "first": {"average": both.state_dict()},
    }
    for name, modules in stages.items():
        torch.save({"modules": modules}, WORK / f"{name}.pt")
        print(f"{name}: {', '.join(modules)}")


if __name__ == "__main__":
    main()
