"""The files of a text encoder: a folder in Hugging Face layout, or one packed file that holds config and tokenizer too.

A packed file is a safetensors file with the config as JSON in its metadata, and with tokenizer.json as the bytes of a
tensor. Its tensors have the names of a text model or those of the multimodal model around it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from soundlora.errors import InputError
from soundlora.model.tensor_file import TensorFile, json_object

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
INDEX, SINGLE_FILE = "model.safetensors.index.json", "model.safetensors"
PACKED_CONFIG, PACKED_TOKENIZER, PACKED_ASSET = "gemma_config", "tokenizer_json", "hf_asset__"
EMBEDDING = "embed_tokens.weight"
AGAIN = "download the text encoder again"


class EncoderFiles:
    """The config, the tokenizer and the tensors of a text encoder. Nothing is read before it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packed = path.is_file()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config, as parsed JSON. Raises InputError when there is none."""
        if self.packed:
            text = self._file.metadata.get(PACKED_CONFIG)
            where = f"The {PACKED_CONFIG!r} metadata of {self.path}"
            if text is None:
                raise InputError(f"{self.path} carries no {PACKED_CONFIG!r} metadata, so it is no text encoder.")
        else:
            where, text = str(self.path / CONFIG), (self.path / CONFIG).read_text()
        return json_object(text, f"{where} is not a JSON object; {AGAIN}.")

    @cached_property
    def tokenizer(self) -> str:
        """The content of tokenizer.json. Raises InputError when a packed file has none."""
        if not self.packed:
            return (self.path / TOKENIZER).read_text(encoding="utf-8")
        if PACKED_TOKENIZER not in self._file.tensors:
            raise InputError(f"{self.path} holds no {PACKED_TOKENIZER}; {AGAIN}.")
        return self._file.content(PACKED_TOKENIZER).decode("utf-8")

    @cached_property
    def tensors(self) -> dict[str, TensorFile]:
        """The file of every tensor by its name."""
        names = [] if self.packed else weight_files(self.path)
        files = [TensorFile(self.path / name, AGAIN) for name in names] or [self._file]
        return {name: file for file in files for name in file.tensors}

    @cached_property
    def prefix(self) -> str:
        """What stands before the names of the text model's tensors. Raises InputError when that is not clear."""
        return name_prefix(self.tensors, str(self.path))

    @cached_property
    def _file(self) -> TensorFile:
        return TensorFile(self.path, AGAIN)


def name_prefix(names: Iterable[str], source: str) -> str:
    """Return what stands before the names of the text model's tensors. Raises InputError when that is not clear."""
    found = [name for name in names if name.endswith(EMBEDDING)]
    if len(found) != 1:
        raise InputError(f"The text encoder in {source} has no single {EMBEDDING}; {AGAIN}.")
    return found[0].removesuffix(EMBEDDING)


def weight_files(directory: Path) -> list[str]:
    """Return the names of the safetensors files that hold the weights: one, or those that an index lists.

    Raises InputError when the index can't be read or names anything outside of `directory`.
    """
    index = directory / INDEX
    if not index.is_file():
        return [SINGLE_FILE]
    try:
        names = sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        names = []
    # The names may come from a server: none of them may lead out of the folder.
    if not names or any(name != Path(name).name or not name.endswith(".safetensors") for name in names):
        raise InputError(f"{index} lists no files; {AGAIN}.")
    return names
