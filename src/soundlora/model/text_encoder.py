"""The way from captions to the hidden states of Gemma 3.

Captions run one by one at their true length. Hidden states of padding are never used, and Gemma's positions are
relative, so the result equals that of the padded run (to 6e-6 at tiny size) at a fraction of the cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.gemma import Gemma, weight_files
from soundlora.wording import using

GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"  # the text encoder that LTX 2.3 was trained with
SMALL_FILES = ("config.json", "tokenizer.json")


def _advice() -> str:
    return (
        f"LTX 2.3 needs {GEMMA}: accept its licence on its Hugging Face page, set HF_TOKEN and give that name with "
        f"{using('text_encoder')}, or give the folder of a download"
    )


class TextEncoder:
    """Tokenizer and Gemma 3 text model from a directory in Hugging Face layout."""

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype, max_length: int) -> None:
        """max_length: tokens a caption, beyond which it is cut. Raises InputError when the directory can't be used."""
        check_directory(directory)
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        self.gemma = Gemma(directory, device, dtype)

    @property
    def states(self) -> int:
        """Number of a token's hidden states: the embedding and each layer's output."""
        return self.gemma.config.layers + 1

    def tokenize(self, text: str) -> list[int]:
        """Return at most `max_length` token ids, with the tokenizer's own BOS. There is no chat template."""
        ids: list[int] = self.tokenizer.encode(text.strip()).ids
        return ids

    def stream(self, texts: Sequence[str]) -> Iterator[list[Tensor]]:
        """Yield the states of all texts, (S, d) each: the embeddings, then each layer's, the last after the norm."""
        return self.gemma.stream([self.tokenize(text) for text in texts])

    def hidden_states(self, text: str) -> Tensor:
        """Return all states of one text, (S, d, layers + 1)."""
        return torch.stack([states for (states,) in self.stream([text])], dim=-1)


def check_directory(directory: Path) -> None:
    """Raise InputError unless `directory` looks like a Gemma 3 model."""
    for name in SMALL_FILES:
        if not (directory / name).is_file():
            raise InputError(f"There is no {name} of a text encoder in {directory}; {_advice()}.")
    kind = _config(directory).get("model_type")
    if kind not in ("gemma3", "gemma3_text"):
        raise InputError(f"The text encoder in {directory} is of type {kind!r}, not Gemma 3; {_advice()}.")


def fingerprint(directory: Path) -> str:
    """Return a hex SHA-256 over the names, sizes and first megabytes of the files that are read.

    Whatever else lies in the folder doesn't count. Raises InputError when one of the files is missing.
    """
    digest = hashlib.sha256()
    for name in (*SMALL_FILES, *weight_files(directory)):
        path = directory / name
        if not path.is_file():
            raise InputError(f"There is no {name} of a text encoder in {directory}; {_advice()}.")
        digest.update(f"{name}:{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
    return digest.hexdigest()


def _config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / "config.json").read_text())
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{directory / 'config.json'} is not a JSON object; download the text encoder again.")
    return config
