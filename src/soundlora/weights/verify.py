"""A check that the weights of a base or of a text encoder are all there and are numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from soundlora.errors import InputError
from soundlora.model import text_encoder
from soundlora.model.encoder_files import weight_files
from soundlora.model.gemma import Gemma
from soundlora.model.tensor_file import READABLE, TensorFile
from soundlora.net.addresses import is_url
from soundlora.weights.base import open_checkpoint
from soundlora.weights.checkpoint import SAMPLE
from soundlora.weights.fetched import fetched, gigabytes, is_hub_name

_PIECE = 64 * 1024 * 1024  # bytes in memory at a time


@dataclass(frozen=True)
class Verified:
    """The result of a check: the number of tensors, and the hash that tells such weights from others."""

    path: Path
    tensors: int
    fingerprint: str


def verify(name: str, full: bool = False) -> Verified:
    """Check a base, or the folder or hub name of a text encoder, that is on this machine.

    full: read every weight, not only the first 4 KiB of each tensor.
    Raises InputError when something is missing, is no number or infinite, or is not on this machine yet.
    """
    encoder, base = fetched(name, "text encoder"), fetched(name, "base")
    for entry in (encoder, base):
        if entry.files and not entry.complete:
            raise InputError(
                f"Only {gigabytes(entry.on_disk)} of {gigabytes(entry.size)} of {name} are here; "
                f"fetch the rest with `soundlora base fetch`."
            )
    folder = encoder.folder if encoder.files else Path(name).expanduser()
    if (folder / "config.json").is_file():
        return _verify_text_encoder(folder, full)
    if not base.files and (is_url(name) or (is_hub_name(name) and not folder.exists())):
        raise InputError(f"{name} is not on this machine; fetch it with `soundlora base fetch {name}`.")
    checkpoint = open_checkpoint(name)
    names = checkpoint.layout.audio
    _check_finite(checkpoint.file_of, names, full)
    return Verified(checkpoint.path, len(names), checkpoint.fingerprint)


def _verify_text_encoder(folder: Path, full: bool) -> Verified:
    text_encoder.check_encoder(folder)
    Gemma(folder, torch.device("cpu"), torch.float32)  # raises when a tensor is missing
    files = [TensorFile(folder / name, "fetch the text encoder again") for name in weight_files(folder)]
    for file in files:
        _check_finite(dict.fromkeys(file.tensors, file), file.tensors, full)
    return Verified(folder, sum(len(file.tensors) for file in files), text_encoder.fingerprint(folder))


def _check_finite(files: Mapping[str, TensorFile], names: Iterable[str], full: bool) -> None:
    for name in names:
        file = files[name]
        if file.tensors[name].dtype not in READABLE:
            continue
        for piece in islice(file.pieces(name, _PIECE if full else SAMPLE), None if full else 1):
            if not piece.isfinite().all():
                raise InputError(
                    f"{name} in {file.path} holds NaN or infinity; the file is damaged, delete it and fetch it again."
                )
