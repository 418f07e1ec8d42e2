"""Ways to build one fault into the base nano: patched into the code, or written to a copy of its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from soundlora.model import attention
from soundlora.model import rope as rotary
from soundlora.weights import base as bases
from soundlora.weights.base import NANO, Base

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Build = Callable[[Path], Any]
"""Makes a context that yields a base, whose files go into the folder."""
BLOCKS = "model.diffusion_model.transformer_blocks."
DIT = "model.diffusion_model."


@dataclass(frozen=True)
class Variant:
    """A fault in words, where it comes from, and how it is built in."""

    source: str
    fault: str
    build: Build
    codec: bool = False  # it changes what the codec makes of clips
    brief: bool = False  # the first measure that finds it is enough to know

    @property
    def words(self) -> str:
        return f"{self.source}: {self.fault}"


@contextmanager
def right(folder: Path) -> Iterator[Base]:
    """The base as it is."""
    yield bases.open_base("nano")


def patched(*patches: Callable[[], Any]) -> Build:
    @contextmanager
    def build(folder: Path) -> Iterator[Base]:
        with ExitStack() as stack:
            for make in patches:
                stack.enter_context(make())
            yield bases.open_base("nano")

    return build


def wrapped(owner: Any, name: str, wrap: Callable[..., Any]) -> Callable[[], Any]:
    """Let owner.name be wrap(original, *arguments)."""

    def make() -> Any:
        original = getattr(owner, name)
        return patch.object(owner, name, lambda *given, **named: wrap(original, *given, **named))

    return make


def rewritten(change: Callable[[Tensors, Config], None]) -> Build:
    """Change a copy of nano's file, whose config is a dict for that time."""

    @contextmanager
    def build(folder: Path) -> Iterator[Base]:
        with safe_open(NANO / "nano.safetensors", framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata())
        config = json.loads(metadata["config"])
        change(tensors, config)
        metadata["config"] = json.dumps(config)
        path = folder / "wrong.safetensors"
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata)
        yield Base("wrong", path, NANO / "text_encoder")

    return build


def with_config(**values: Any) -> Build:
    return rewritten(lambda tensors, config: config["transformer"].update(values))


def with_weights(change: Callable[[Tensors], None]) -> Build:
    return rewritten(lambda tensors, config: change(tensors))


def scaled(factor: float, *endings: str) -> Build:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.endswith(endings)]:
            tensors[name] = tensors[name] * factor

    return with_weights(change)


def attending(**how: Any) -> Build:
    """Patch attention with one of its mistakes."""

    def forward(
        self: Any,
        x: Tensor,
        context: Any = None,
        *,
        rope: Any = None,
        mask: Any = None,
        bypass: Any = False,
        **rest: Any,
    ) -> Tensor:
        source = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(source), self.to_v(source)

        def heads(y: Tensor) -> Tensor:
            split: Tensor = y.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
            return split

        if how.get("norm") == "head":
            eps = self.q_norm.eps
            q, k = (
                attention.rms_norm(y.unflatten(-1, (self.heads, -1)), eps).flatten(-2) * m.weight
                for y, m in ((q, self.q_norm), (k, self.k_norm))
            )
        elif how.get("norm") == "none":
            q, k = q * self.q_norm.weight, k * self.k_norm.weight
        else:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = heads(q), heads(k), heads(v)
        if rest.get("context_of") is not None:
            k, v = k[rest["context_of"]], v[rest["context_of"]]
        if rope is not None:
            q, k = rotary.rotate(q, rope), rotary.rotate(k, rope)
        out = attention.scaled_dot_product((q * how.get("scores", 1.0)).to(v.dtype), k.to(v.dtype), v, mask)
        passed = torch.zeros(len(x), dtype=torch.bool) if isinstance(bypass, bool) else bypass
        passed = passed | (bypass is True)
        out = torch.where(
            passed[:, None, None, None] & torch.tensor(out.shape == v.shape), v if out.shape == v.shape else out, out
        )
        logits = self.to_gate_logits(out.transpose(1, 2).flatten(2) if how.get("gate") == "result" else x)
        gate = how.get("factor", 2.0) * torch.sigmoid(logits)
        if how.get("gate") == "none":
            gate = torch.ones_like(gate)
        if how.get("gate") == "not in STG":
            gate = torch.where(passed[:, None, None], torch.ones_like(gate), gate)
        out = out.transpose(1, 2)
        if how.get("gate") == "after":
            made: Tensor = self.to_out[0](out.flatten(2))
            gated: Tensor = (made.unflatten(-1, (self.heads, -1)) * gate.unsqueeze(-1)).flatten(2)
            return gated
        result: Tensor = self.to_out[0]((out * gate.unsqueeze(-1)).flatten(2))
        return result

    return patched(lambda: patch.object(attention.Attention, "forward", forward))
