"""Stage 11 writes the trained parts as one checkpoint in the official layout and a Gemma 3 directory.

    python recipes/nano/export.py [--out FOLDER] [--untrained]

--untrained fills stages that have not run with random weights, which is enough to measure speed and size.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from codec_vocoder import new_vocoder
from pretrain import text_to_latents
from response import strengthen
from runs import load_modules
from safetensors.torch import save_file
from sizes import CONFIG, CONTEXT_LENGTH, MODEL, SAMPLING, WORK
from torch import Tensor, nn

from soundlora.model.audio_vae import AudioVAE
from soundlora.weights.base import NANO

LICENCE = "Apache-2.0; trained from scratch on synthesised sound, no LTX or Gemma weights inside"


def load(module: nn.Module, stage: str, key: str, untrained: bool) -> None:
    if not (WORK / f"{stage}.pt").exists():
        if not untrained:
            raise SystemExit(f"{stage}.pt is missing: run that stage first, or give --untrained")
        return
    module.load_state_dict(load_modules(stage)[key])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=NANO)
    parser.add_argument("--untrained", action="store_true")
    arguments = parser.parse_args()
    vae, vocoder = AudioVAE(MODEL.audio), new_vocoder()
    averaged = text_to_latents()
    load(vae, "decoder" if (WORK / "decoder.pt").exists() else "vae", "vae", arguments.untrained)
    load(vocoder.vocoder, "stage1", "generator", arguments.untrained)
    load(vocoder.bwe_generator, "bwe", "generator", arguments.untrained)
    if (WORK / "silent.pt").exists():
        load(vae, "silent", "vae", arguments.untrained)
        load(vocoder, "silent", "vocoder", arguments.untrained)
    load(averaged, "guided", "average", arguments.untrained)
    model, text = averaged.model, averaged.text
    strengthen(model)
    parts: dict[str, nn.Module] = {
        "model.diffusion_model.": model,
        "model.diffusion_model.audio_embeddings_connector.": text.connector,
        "text_embedding_projection.": text.projection,
        "audio_vae.": vae,
        "vocoder.": vocoder,
    }
    tensors: dict[str, Tensor] = {
        prefix + name: tensor.to(torch.bfloat16).contiguous()
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    metadata = {
        "config": json.dumps(CONFIG),
        "model_version": "2.3.0",
        "soundlora": json.dumps({"context_length": CONTEXT_LENGTH, "sampling": SAMPLING}),
        "license": LICENCE,
    }
    save_file(tensors, arguments.out / "nano.safetensors", metadata)
    encoder = arguments.out / "text_encoder"
    text.gemma.to(torch.bfloat16).save_pretrained(encoder)
    shutil.copy(WORK / "tokenizer.json", encoder / "tokenizer.json")
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    for prefix, part in parts.items():
        print(f"{prefix:52} {sum(t.numel() for t in part.state_dict().values()) / 1e6:6.2f} M")
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
