"""The way from captions to the hidden states of a Gemma.

Captions run one by one at their true length. Hidden states of padding are never used, and Gemma's positions are
relative, so the result equals that of the padded run (to 6e-6 at tiny size) at a fraction of the cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.encoder_files import CONFIG, TOKENIZER, EncoderFiles, weight_files
from soundlora.model.gemma import Gemma
from soundlora.model.gemma_config import family_of
from soundlora.wording import using

GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"  # the text encoder that LTX 2.3 was trained with
SMALL_FILES = (CONFIG, TOKENIZER)
_BOS = "<bos>"


def _advice() -> str:
    return f"LTX 2.3 was made with {GEMMA}: give the folder of a download of it with {using('text_encoder')}"


class TextEncoder:
    """Tokenizer and text model of a Gemma, from a folder in Hugging Face layout or a packed file."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype, max_length: int) -> None:
        """max_length: tokens a caption, beyond which it is cut. Raises InputError when the encoder can't be used."""
        check_encoder(path)
        self.max_length = max_length
        self.gemma = Gemma(path, device, dtype)
        self.tokenizer = Tokenizer.from_str(self.gemma.files.tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        self._bos = self.tokenizer.token_to_id(_BOS)
        if self._bos is None and self.gemma.config.family == "Gemma 4":
            raise InputError(f"The tokenizer of the text encoder in {path} has no {_BOS}; download it again.")

    @property
    def states(self) -> int:
        """Number of a token's hidden states: the embedding and each layer's output."""
        return self.gemma.config.layers + 1

    def tokenize(self, text: str) -> list[int]:
        """Return at most `max_length` token ids, the first of which is BOS. There is no chat template and no EOS.

        Gemma 3's tokenizer adds its BOS itself. Gemma 4's adds none, and the transformer was trained with one.
        """
        ids: list[int]
        if self.gemma.config.family == "Gemma 3":
            ids = self.tokenizer.encode(text.strip()).ids
            return ids
        assert self._bos is not None
        ids = self.tokenizer.encode(text.strip(), add_special_tokens=False).ids
        return ids if ids[:1] == [self._bos] else [self._bos, *ids][: self.max_length]

    def stream(self, texts: Sequence[str]) -> Iterator[list[Tensor]]:
        """Yield the states of all texts, (S, d) each: the embeddings, then each layer's, the last after the norm."""
        return self.gemma.stream([self.tokenize(text) for text in texts])

    def hidden_states(self, text: str) -> Tensor:
        """Return all states of one text, (S, d, layers + 1)."""
        return torch.stack([states for (states,) in self.stream([text])], dim=-1)


def check_encoder(path: Path, advice: str | None = None) -> None:
    """Raise InputError, which ends with `advice`, unless `path` looks like a folder or packed file of a Gemma."""
    advice = advice or _advice()
    for name in () if path.is_file() else SMALL_FILES:
        if not (path / name).is_file():
            raise InputError(f"There is no {name} of a text encoder in {path}; {advice}.")
    config = EncoderFiles(path).config
    if family_of(config) is None:
        kind = config.get("model_type")
        raise InputError(f"The text encoder in {path} is of type {kind!r}, not Gemma 3 or Gemma 4; {advice}.")


def fingerprint(path: Path) -> str:
    """Return a hex SHA-256 that tells text encoders apart.

    That of a Gemma 3 folder is over the names, sizes and first megabytes of the files that are read, and whatever else
    lies in the folder doesn't count. Any other is `Gemma.fingerprint`. Raises InputError when something is missing.
    """
    if path.is_file() or family_of(EncoderFiles(path).config) == "Gemma 4":
        return Gemma(path, torch.device("cpu"), torch.float32).fingerprint
    digest = hashlib.sha256()
    for name in (*SMALL_FILES, *weight_files(path)):
        file_path = path / name
        if not file_path.is_file():
            raise InputError(f"There is no {name} of a text encoder in {path}; {_advice()}.")
        digest.update(f"{name}:{file_path.stat().st_size}\n".encode())
        with file_path.open("rb") as file:
            digest.update(file.read(1 << 20))
    return digest.hexdigest()
