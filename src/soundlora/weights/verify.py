"""A check that the weights of a base or of a text encoder are all there and are numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from soundlora.errors import InputError
from soundlora.model import text_encoder
from soundlora.model.gemma import Gemma
from soundlora.model.tensor_file import READABLE, TensorFile
from soundlora.system.cache_root import expanded
from soundlora.weights.base import open_checkpoint
from soundlora.weights.checkpoint import CHECKPOINT_ADVICE, SAMPLE
from soundlora.weights.components import is_here, parts_in
from soundlora.weights.fetched import fetched, gigabytes

_PIECE = 64 * 1024 * 1024  # bytes in memory at a time


@dataclass(frozen=True)
class Verified:
    """The result of a check: the number of tensors, and the hash that tells such weights from others."""

    path: Path
    tensors: int
    fingerprint: str


def verify(name: str, full: bool = False) -> Verified:
    """Check a base, or a text encoder's folder, packed file or hub name, that is on this machine.

    A base's text encoder is checked with it where both lie in one file. full: read every weight, not only the first
    4 KiB of each tensor. Raises InputError when something is missing, is no number or infinite, or is not on this
    machine yet.
    """
    encoder, base = fetched(name, "text encoder"), fetched(name, "base")
    for entry in (encoder, base):
        if entry.files and not entry.complete:
            raise InputError(
                f"Only {gigabytes(entry.on_disk)} of {gigabytes(entry.size)} of {name} are here; "
                f"fetch the rest with `soundlora base fetch`."
            )
    path = encoder.folder if encoder.files else expanded(name)
    if (path / "config.json").is_file():
        return _verify_text_encoder(path, full)
    if path.is_file() and parts_in(TensorFile(path, CHECKPOINT_ADVICE).header) <= {"text encoder", "text projection"}:
        return _verify_text_encoder(path, full)
    if not is_here(name):
        raise InputError(f"{name} is not on this machine; fetch it with `soundlora base fetch {name}`.")
    checkpoint = open_checkpoint(name)
    names = [*checkpoint.layout.audio]
    _check_finite(checkpoint.file_of, names, full)
    packed = [file for file in dict.fromkeys(checkpoint.file_of.values()) if "text encoder" in parts_in(file.header)]
    for file in packed:
        names += _text_model(file.path, full)
    return Verified(checkpoint.path, len(names), checkpoint.fingerprint)


def _verify_text_encoder(path: Path, full: bool) -> Verified:
    text_encoder.check_encoder(path)
    names = _text_model(path, full)
    return Verified(path, len(names), text_encoder.fingerprint(path))


def _text_model(path: Path, full: bool) -> list[str]:
    """Check the tensors of a text encoder, and return their names. Towers for pictures and sound are never read."""
    gemma = Gemma(path, torch.device("cpu"), torch.float32)  # raises when a tensor is missing
    names = gemma.names if gemma.files.packed else [*gemma.files.tensors]
    _check_finite(gemma.files.tensors, names, full)
    return names


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
