"""Latents and contexts on the disk, each under a key that names everything that shaped it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from soundlora.errors import InputError
from soundlora.system.devices import compute_dtype
from soundlora.system.operating_system import replace
from soundlora.system.whole_files import partial, writing
from soundlora.weights.base import Base
from soundlora.wording import is_text

_VERSION = 1  # raised when the same key would give other values


class Cache:
    """Tensors by key. Entries appear complete or not at all, so runs may share one cache."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: str) -> Tensor | None:
        """Return the tensor of a key, or None where there is none."""
        try:
            return load_file(self._path(key))["value"]
        except (SafetensorError, KeyError, OSError):
            # A damaged entry is worth no more than a missing one.
            return None

    def put(self, key: str, value: Tensor) -> None:
        """Keep a tensor. Raises MachineError when the cache can't be written to."""
        path = self._path(key)
        unfinished = partial(path, secrets.token_hex(4))
        with writing(self.root, "name another folder with SOUNDLORA_CACHE"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # It is not synced: what a power cut takes is computed again.
                unfinished.write_bytes(save({"value": value.contiguous()}))
                replace(unfinished, path)
            finally:
                with contextlib.suppress(OSError):  # what went wrong before counts more
                    unfinished.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"


def cached_contexts(
    base: Base,
    store: Cache,
    texts: Sequence[str],
    device: torch.device,
    on_layer: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Return the context (S, D) of every text. Contexts that the store lacks are computed and kept.

    on_layer(done, of how many) follows the computation. The text encoder is loaded only where a context is missing.
    Raises InputError for what is no text.
    """
    for text in texts:
        _check_text(text)
    keys = {text: context_key(base.hash, text, compute_dtype(device)) for text in dict.fromkeys(texts)}
    contexts: dict[str, Tensor] = {}
    missing = []
    for text, key in keys.items():
        stored = store.get(key)
        if stored is None:
            missing.append(text)
        else:
            contexts[text] = stored
    if missing:
        computed = base.contexts(missing, device, on_layer)
        for text, context in zip(missing, computed, strict=True):
            store.put(keys[text], context)
            contexts[text] = context
    return contexts


def _check_text(text: str) -> None:
    if not is_text(text):
        shown = text.encode("ascii", "backslashreplace").decode()
        raise InputError(f"{shown} holds bytes that are no text in UTF-8; write it anew.")


def lasting_contexts(base: Base, captions: Sequence[str], dropout: float) -> int:
    """Return how many contexts of a run have keys and values that are the same in every step.

    captions: of its clips. dropout: the share of samples that see the empty caption instead.
    """
    if base.config.transformer.prompt_adaln:
        return 0
    return len({*captions, ""} if dropout else {*captions})


def latents_key(
    base_hash: str, clip_sha256: str, duration: float, normalize: bool, preserve_pitch: bool, offset: float = 0.0
) -> str:
    """Return the key of a clip's latents. duration: seconds of the bucket. offset: where the clip begins in its file.

    The start of a file has the same key whether it is its only clip or the first of many.
    """
    later = (offset,) if offset else ()
    return _key("latents", base_hash, clip_sha256, duration, normalize, preserve_pitch, *later)


def context_key(base_hash: str, caption: str, dtype: torch.dtype) -> str:
    """Return the key of a caption's context. dtype: the type it is computed in, which shapes it, too."""
    return _key("context", base_hash, caption, str(dtype))


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()
