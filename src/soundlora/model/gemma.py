"""Gemma's text models, a layer at a time: Gemma 3 and Gemma 4.

A LoRA run needs the hidden states of some dozens of captions, once. So no model is built: each layer is read from the
disk, takes all captions one step up, and is dropped. The 24 GB of a model of 12 B then need the memory of one layer. In
shapes S is tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.encoder_files import AGAIN, EMBEDDING, EncoderFiles
from soundlora.model.gemma_config import AttentionSizes, GemmaConfig, parse_gemma_config
from soundlora.model.tensor_file import READABLE

_SAMPLE = 4096  # bytes of every tensor that go into the fingerprint


class Gemma:
    """The weights of a text encoder, a folder or a packed file. They are checked at once and read when needed."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises InputError when a tensor is missing or of another shape than the config says."""
        self.path, self.device, self.dtype = path, device, dtype
        self.files = EncoderFiles(path)
        self.config: GemmaConfig = parse_gemma_config(self.files.config)
        self._files, self._prefix = self.files.tensors, self.files.prefix
        self._check()

    @property
    def names(self) -> list[str]:
        """The names of all tensors of the text model, in the order of the layers."""
        return [self._prefix + EMBEDDING, *self._expected]

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the sizes, the tokenizer and every tensor's name, type, shape and first 4 KiB.

        A folder and a packed file of the same weights have the same.
        """
        digest = hashlib.sha256(f"{self.config}\n{self.files.tokenizer}\n".encode())
        for name in sorted(self.names):
            info = self._files[name].tensors[name]
            digest.update(f"{name.removeprefix(self._prefix)} {info.dtype} {list(info.shape)}\n".encode())
            digest.update(self._files[name].content(name, _SAMPLE))
        return digest.hexdigest()

    @torch.inference_mode()
    def stream(self, captions: Sequence[Sequence[int]]) -> Iterator[list[Tensor]]:
        """Yield the embeddings of all captions' token ids, then the output of every layer, (S, width) a caption.

        The last layer's output has gone through the final norm, as in transformers' `output_hidden_states`. S is each
        caption's own length.
        """
        c = self.config
        vocabulary = sorted({token for ids in captions for token in ids})
        row = {token: number for number, token in enumerate(vocabulary)}
        rows = self._files[self._prefix + EMBEDDING].read_rows(self._prefix + EMBEDDING, vocabulary)
        # Gemma was trained with the factor rounded to the weights' own type.
        factor = torch.tensor(c.width**0.5, dtype=self.dtype)
        table = rows.to(self.dtype).to(self.device) * factor  # (vocabulary, width)
        states = [table[torch.tensor([row[token] for token in ids], device=self.device)] for ids in captions]
        yield states
        lengths = {len(ids) for ids in captions}
        ropes = [{n: self._rope(n, sizes) for n in lengths} for sizes in c.attention]
        masks = {n: self._window_mask(n) for n in lengths}
        for layer, local in enumerate(c.is_local):
            weights = self.read(f"layers.{layer}.")
            rope = ropes[local]
            sizes = c.attention[local]
            states = [self._layer(x, weights, sizes, rope[len(x)], masks[len(x)] if local else None) for x in states]
            del weights  # two layers at once would be too much
            if layer < c.layers - 1:
                yield states
        weights = self.read("norm.")
        yield [self._norm(x, weights["weight"]) for x in states]

    def _layer(
        self, x: Tensor, w: dict[str, Tensor], a: AttentionSizes, rope: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Return (S, width) after attention and feed-forward, each of which stands between two norms."""
        c = self.config
        q, k, v = self._queries_keys_values(self._norm(x, w["input_layernorm.weight"]), w, a, rope)
        k, v = (t.repeat_interleave(c.heads // a.kv_heads, dim=0) for t in (k, v))
        h = F.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask, is_causal=mask is None, scale=c.scale
        )[0]
        h = F.linear(h.transpose(0, 1).flatten(1), w["self_attn.o_proj.weight"])
        x = x + self._norm(h, w["post_attention_layernorm.weight"])
        h = self._norm(x, w["pre_feedforward_layernorm.weight"])
        gate = F.gelu(F.linear(h, w["mlp.gate_proj.weight"]), approximate="tanh")
        h = F.linear(gate * F.linear(h, w["mlp.up_proj.weight"]), w["mlp.down_proj.weight"])
        x = x + self._norm(h, w["post_feedforward_layernorm.weight"])
        return x * w["layer_scalar"] if c.has_layer_scalar else x

    def _queries_keys_values(
        self, h: Tensor, w: dict[str, Tensor], a: AttentionSizes, rope: tuple[Tensor, Tensor]
    ) -> list[Tensor]:
        """Return q (heads, S, head_dim), and k and v (kv heads, S, head_dim), of the normalised input (S, width)."""

        def heads(name: str) -> Tensor:
            out: Tensor = F.linear(h, w[f"self_attn.{name}_proj.weight"])
            return out.view(out.shape[0], -1, a.head_dim).transpose(0, 1)

        q, k = heads("q"), heads("k")
        v = k if a.keys_are_values else heads("v")
        if self.config.norms_values:
            v = self._norm(v, None)
        q = _rotate(self._norm(q, w["self_attn.q_norm.weight"]), rope)
        return [q, _rotate(self._norm(k, w["self_attn.k_norm.weight"]), rope), v]

    def _norm(self, x: Tensor, weight: Tensor | None) -> Tensor:
        h = x.float()
        h = h * torch.rsqrt(h.square().mean(dim=-1, keepdim=True) + self.config.eps)
        return (h if weight is None else h * (self.config.norm_offset + weight.float())).to(x.dtype)

    def _rope(self, length: int, a: AttentionSizes) -> tuple[Tensor, Tensor]:
        """Return cos and sin, (S, head_dim) each, in which both halves have the same angles."""
        exponent = torch.arange(0, 2 * a.rotated, 2, dtype=torch.float32) / a.head_dim
        frequencies = F.pad(1.0 / a.theta**exponent / a.stretch, (0, a.head_dim // 2 - a.rotated))
        angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1).to(self.device)
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)

    def _window_mask(self, length: int) -> Tensor | None:
        """Return (S, S), True where a token of a local layer may look; None where the window takes in all tokens."""
        if length <= self.config.window:
            return None
        index = torch.arange(length, device=self.device)
        distance = index[:, None] - index
        return (distance >= 0) & (distance < self.config.window)

    @cached_property
    def _expected(self) -> dict[str, tuple[int, ...]]:
        return tensor_shapes(self.config, self._prefix)

    def _check(self) -> None:
        missing = [name for name in self._expected if name not in self._files]
        if missing:
            # Weights that are made up would be noise in every context.
            raise InputError(
                f"The text encoder in {self.path} lacks {len(missing)} tensors ({missing[0]}, …); {AGAIN}."
            )
        for name, shape in self._expected.items():
            info = self._files[name].tensors[name]
            if info.shape != shape or info.dtype not in READABLE:
                raise InputError(
                    f"{name} of the text encoder in {self.path} is {info.dtype} {list(info.shape)}, but "
                    f"{list(shape)} in one of {', '.join(READABLE)} is expected; {AGAIN}."
                )

    def read(self, part: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `part`, such as `layers.0.`, by the rest of their names."""
        prefix = self._prefix + part
        names = [name for name in self._expected if name.startswith(prefix)]
        tensors = (next(self._files[name].read([name])) for name in names)
        return {name.removeprefix(prefix): tensor.to(self.dtype).to(self.device) for name, tensor in tensors}


_NORMS = ("input_", "post_attention_", "pre_feedforward_", "post_feedforward_")


def tensor_shapes(c: GemmaConfig, prefix: str) -> dict[str, tuple[int, ...]]:
    """Return the shape by name of every tensor that is read whole, which are all but the embeddings."""
    named: dict[str, tuple[int, ...]] = {prefix + "norm.weight": (c.width,)}
    for number, local in enumerate(c.is_local):
        layer = _layer_shapes(c, c.attention[local])
        named |= {f"{prefix}layers.{number}.{name}": shape for name, shape in layer.items()}
    return named


def _layer_shapes(c: GemmaConfig, a: AttentionSizes) -> dict[str, tuple[int, ...]]:
    """Return the shape by name of a layer's tensors."""
    q, kv = c.heads * a.head_dim, a.kv_heads * a.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        **{f"{name}layernorm.weight": (c.width,) for name in _NORMS},
        **{f"self_attn.{name}_norm.weight": (a.head_dim,) for name in "qk"},
        "self_attn.q_proj.weight": (q, c.width),
        "self_attn.k_proj.weight": (kv, c.width),
        "self_attn.o_proj.weight": (c.width, q),
        "mlp.gate_proj.weight": (c.hidden, c.width),
        "mlp.up_proj.weight": (c.hidden, c.width),
        "mlp.down_proj.weight": (c.width, c.hidden),
    }
    if not a.keys_are_values:
        shapes["self_attn.v_proj.weight"] = (kv, c.width)
    if c.has_layer_scalar:
        shapes["layer_scalar"] = (1,)
    return shapes


def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rope
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
