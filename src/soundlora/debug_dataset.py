"""The debug archive: what the model hears of every clip, and the caption it reads."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from soundlora.model.base import Base
from soundlora.training.trainer import Example
from soundlora.wav import write_wav


def write_debug_dataset(
    path: Path, base: Base, device: torch.device, examples: Sequence[Example], captions: Sequence[str]
) -> None:
    """A zip of each clip's latents, decoded to WAV, with its final caption as .txt."""
    codec = base.codec(device, decoder=True)
    partial = path.with_name(path.name + ".partial")
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        wav = Path(temporary) / "clip.wav"
        for number, (example, caption) in enumerate(zip(examples, captions, strict=True)):
            name = f"{number:04d}_{Path(example.name).stem}"
            write_wav(wav, codec.decode(example.latents), codec.sample_rate)
            archive.write(wav, f"{name}.wav")
            archive.writestr(f"{name}.txt", caption)
    os.replace(partial, path)
