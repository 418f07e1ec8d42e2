"""Gemma 3 hidden states of captions, through transformers.

Captions run one by one at their true length: hidden states of padding are never used, and Gemma's positions are
relative, so the result equals that of the padded run (6e-6 at tiny size) at a fraction of the cost.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundlora.errors import InputError


class TextEncoder:
    """Tokenizer and Gemma 3 text model from a directory in Hugging Face layout."""

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype, max_length: int) -> None:
        check_directory(directory)
        # transformers takes seconds to import: only when text has to be encoded.
        import transformers
        from tokenizers import Tokenizer
        from transformers import Gemma3ForConditionalGeneration, Gemma3TextModel

        # A progress bar for each of a model's thousand tensors is no news to a user of ours.
        transformers.utils.logging.disable_progress_bar()
        self.device = device
        # The file itself, as transformers' own Gemma tokenizer class replaces parts of it.
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        kind = _config(directory)["model_type"]
        loader: Any = Gemma3TextModel if kind == "gemma3_text" else Gemma3ForConditionalGeneration
        model, info = loader.from_pretrained(
            directory, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        # The output layer is tied or unused; anything else that is missing would be random noise in every context.
        missing = [key for key in info["missing_keys"] if not key.startswith("lm_head")]
        if missing:
            raise InputError(
                f"The text encoder in {directory} lacks {len(missing)} tensors ({missing[0]}, …); download it again."
            )
        if kind == "gemma3":
            model = model.model.language_model
        self.model = model.eval().requires_grad_(False).to(device)

    def tokenize(self, text: str) -> list[int]:
        """Token ids with the tokenizer's own BOS, at most `max_length`. No chat template, no system prompt."""
        ids: list[int] = self.tokenizer.encode(text.strip()).ids
        return ids

    @torch.inference_mode()
    def hidden_states(self, text: str) -> Tensor:
        """(S, d, layers + 1): embeddings, then every layer's output, the last one after the final norm."""
        ids = torch.tensor([self.tokenize(text)], device=self.device)
        states = self.model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        return torch.stack(states, dim=-1)[0]


def check_directory(directory: Path) -> None:
    """Raises InputError unless `directory` looks like a Gemma 3 model."""
    advice = (
        "LTX 2.3 needs google/gemma-3-12b-it-qat-q4_0-unquantized: accept its licence on its Hugging Face page, "
        "download it, and give its folder with --text-encoder"
    )
    for name in ("config.json", "tokenizer.json"):
        if not (directory / name).is_file():
            raise InputError(f"There is no {name} of a text encoder in {directory}; {advice}.")
    kind = _config(directory).get("model_type")
    if kind not in ("gemma3", "gemma3_text"):
        raise InputError(f"The text encoder in {directory} is of type {kind!r}, not Gemma 3; {advice}.")


def fingerprint(directory: Path) -> str:
    """Hex SHA-256 over the names and sizes of the files and the content of the small ones.

    Weights are told apart by name, size and their first megabyte.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in (".json", ".safetensors", ".model"):
            digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
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
