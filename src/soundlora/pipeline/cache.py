"""Latents and contexts on the disk, each under a key that names everything that shaped it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from soundlora.net.storage import Storage

_IN_USE_SECONDS = 300.0
"""What was used since stays: another run may be about to read it."""
_WEIGHED_EVERY = 0.05
"""The share of its limit that the folder may grow by before it is looked through again."""
_VERSION = 1  # raised when the same key would give other values


class Cache:
    """Tensors by key. Entries appear complete or not at all, so runs may share one cache.

    shared: the cache of many machines, in front of which this folder lies; it is left alone after it has failed, which
    `tell` is told. limit: the bytes of the folder, above which the entries that were used longest ago are deleted; 0 is
    without limit. An entry that goes is fetched or computed again, and no run reads one twice.
    """

    def __init__(
        self,
        root: Path,
        shared: Storage | None = None,
        *,
        limit: int = 0,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.root = root
        self._shared, self._tell = shared, tell
        self._limit = limit
        self._unweighed = limit  # bytes since the folder was last looked through; the first entry has it done

    def get(self, key: str) -> Tensor | None:
        """Return the tensor of a key, or None where there is none."""
        path = self._path(key)
        found = _tensor(path)
        if found is None and self._fetch(key, path):
            found = _tensor(path)
        elif found is not None and self._limit:
            with contextlib.suppress(OSError):
                os.utime(path)  # it has been used just now
        return found

    def put(self, key: str, value: Tensor) -> None:
        """Keep a tensor. Raises MachineError when the cache can't be written to."""
        path = self._path(key)
        unfinished = partial(path, secrets.token_hex(4))
        with writing(self.root, "name another folder with SOUNDLORA_CACHE"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # It is not synced: what a power cut takes is computed again.
                content = save({"value": value.contiguous()})
                unfinished.write_bytes(content)
                replace(unfinished, path)
            finally:
                with contextlib.suppress(OSError):  # what went wrong before counts more
                    unfinished.unlink(missing_ok=True)
        with self._sharing() as shared:
            if shared is not None:
                shared.put(_shared_key(key), content)
        self._make_room(len(content))

    def _fetch(self, key: str, path: Path) -> bool:
        """Copy an entry from the shared cache. Return False where that has none."""
        with self._sharing() as shared:
            if shared is not None:
                unfinished = partial(path, secrets.token_hex(4))
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shared.copy_to(_shared_key(key), unfinished)
                    size = unfinished.stat().st_size
                    replace(unfinished, path)
                    self._make_room(size)
                    return True
                except FileNotFoundError:
                    return False
                finally:
                    unfinished.unlink(missing_ok=True)
        return False

    @contextlib.contextmanager
    def _sharing(self) -> Iterator[Storage | None]:
        """Yield the shared cache. The run goes on without it after an error."""
        try:
            yield self._shared
        except Exception as error:
            self._shared = None
            self._tell(f"The shared cache can't be used ({error}); this run does without.")

    def _make_room(self, added: int) -> None:
        """Delete what was used longest ago where the folder has grown beyond its limit."""
        self._unweighed += added
        if not self._limit or self._unweighed < self._limit * _WEIGHED_EVERY:
            return
        self._unweighed = 0
        entries = []
        for path in self.root.glob("[0-9a-f][0-9a-f]/*.safetensors"):
            with contextlib.suppress(OSError):  # another process deletes it
                found = path.stat()
                entries.append((found.st_mtime, found.st_size, path))
        left = sum(size for _, size, _ in entries)
        just_now = time.time() - _IN_USE_SECONDS
        for used, size, path in sorted(entries, key=lambda entry: entry[0]):
            if left <= self._limit or used > just_now:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            left -= size

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"


def _tensor(path: Path) -> Tensor | None:
    """Return the tensor of an entry. A damaged one is worth no more than a missing one."""
    try:
        return load_file(path)["value"]
    except (SafetensorError, KeyError, OSError):
        return None


def _shared_key(key: str) -> str:
    return f"cache/{key[:2]}/{key}.safetensors"


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


def lasting_contexts(base: Base, texts: Iterable[str]) -> int:
    """Return how many contexts of a run have keys and values that are the same in every step.

    texts: those that its steps attend to.
    """
    return 0 if base.config.transformer.prompt_adaln else len({*texts})


def latents_key(
    base_hash: str, clip_sha256: str, duration: float, normalize: bool, preserve_pitch: bool, offset: float = 0.0
) -> str:
    """Return the key of a clip's latents. duration: seconds of the bucket. offset: where the clip begins in its file.

    The start of a file has the same key whether it is its only clip or the first of many.
    """
    later = (offset,) if offset else ()
    return _key("latents", base_hash, clip_sha256, duration, normalize, preserve_pitch, *later)


def made_key(base_hash: str, prompt: str, negative_prompt: str, duration: float, seed: int) -> str:
    """Return the key of a sound that the base makes of a prompt, as latents. duration: in seconds."""
    return _key("made", base_hash, prompt, negative_prompt, duration, seed)


def context_key(base_hash: str, caption: str, dtype: torch.dtype) -> str:
    """Return the key of a caption's context. dtype: the type it is computed in, which shapes it, too."""
    return _key("context", base_hash, caption, str(dtype))


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()
