"""Gemma 3's text model, a layer at a time.

A LoRA run needs the hidden states of some dozens of captions, once. So no model is built: each layer is read from the
disk, takes all captions one step up, and is dropped. Gemma-3-12B's 24 GB then need the memory of one layer. In shapes
S is tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.tensor_file import READABLE, TensorFile

INDEX, SINGLE_FILE = "model.safetensors.index.json", "model.safetensors"
_EMBEDDING = "embed_tokens.weight"
_AGAIN = "download the text encoder again"
# Gemma 3's own configs leave these out; the values are those of transformers' Gemma3TextConfig.
_DEFAULTS: dict[str, Any] = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}
# Every Gemma 3 has these values, so this file computes nothing else.
_FIXED: dict[str, Any] = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "use_bidirectional_attention": False,
}


@dataclass(frozen=True)
class GemmaConfig:
    """Sizes of a Gemma 3 text model."""

    width: int
    hidden: int  # of the feed-forward
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    scale: float  # of the attention logits
    window: int  # tokens that a local layer sees
    is_local: tuple[bool, ...]  # one a layer
    theta: tuple[float, float]  # RoPE's base of global and local layers
    stretch: tuple[float, float]  # divisor of the positions in global and local layers

    @property
    def layers(self) -> int:
        return len(self.is_local)


def parse_gemma_config(config: dict[str, Any]) -> GemmaConfig:
    """Read the config.json of a Gemma 3 text or multimodal model. Raises InputError for a config of anything else."""
    text: dict[str, Any] = _DEFAULTS | config.get("text_config", config)
    for key, value in _FIXED.items():
        if text.get(key, value) != value:
            raise InputError(f"The text encoder's config has {key} = {text[key]!r}, but Gemma 3 has {value!r}.")
    if "quantization_config" in config or "quantization_config" in text:
        raise InputError("The text encoder is quantised, which changes every context; download the bf16 one.")
    count, pattern = text["num_hidden_layers"], text["sliding_window_pattern"]
    kinds = text.get("layer_types") or [
        "sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(count)
    ]
    ropes = text.get("rope_parameters") or {}
    full = {"rope_theta": text["rope_theta"]} | (ropes.get("full_attention") or text.get("rope_scaling") or {})
    local = {"rope_theta": text["rope_local_base_freq"]} | (ropes.get("sliding_attention") or {})
    return GemmaConfig(
        width=text["hidden_size"],
        hidden=text["intermediate_size"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        head_dim=text["head_dim"],
        eps=text["rms_norm_eps"],
        scale=text["query_pre_attn_scalar"] ** -0.5,
        window=text["sliding_window"],
        is_local=tuple(kind == "sliding_attention" for kind in kinds),
        theta=(full["rope_theta"], local["rope_theta"]),
        stretch=(_stretch(full), _stretch(local)),
    )


def _stretch(rope: dict[str, Any]) -> float:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "linear"):
        raise InputError(f"The text encoder's config asks for {kind!r} RoPE, but Gemma 3 has 'default' or 'linear'.")
    return float(rope["factor"]) if kind == "linear" else 1.0


class Gemma:
    """The weights of a Gemma 3 directory in Hugging Face layout. They are checked at once and read when needed."""

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises InputError when a tensor is missing or of another shape than the config says."""
        self.directory, self.device, self.dtype = directory, device, dtype
        self.config = parse_gemma_config(json.loads((directory / "config.json").read_text()))
        self._files = _tensor_files(directory)
        self._check()

    @torch.inference_mode()
    def stream(self, captions: Sequence[Sequence[int]]) -> Iterator[list[Tensor]]:
        """Yield the embeddings of all captions' token ids, then the output of every layer, (S, width) a caption.

        The last layer's output has gone through the final norm, as in transformers' `output_hidden_states`. S is each
        caption's own length.
        """
        c = self.config
        vocabulary = sorted({token for ids in captions for token in ids})
        row = {token: number for number, token in enumerate(vocabulary)}
        rows = self._files[self._prefix + _EMBEDDING].read_rows(self._prefix + _EMBEDDING, vocabulary)
        # Gemma was trained with the factor rounded to the weights' own type.
        factor = torch.tensor(c.width**0.5, dtype=self.dtype)
        table = rows.to(self.dtype).to(self.device) * factor  # (vocabulary, width)
        states = [table[torch.tensor([row[token] for token in ids], device=self.device)] for ids in captions]
        yield states
        lengths = {len(ids) for ids in captions}
        ropes = [{n: self._rope(n, c.theta[k], c.stretch[k]) for n in lengths} for k in (0, 1)]
        masks = {n: self._window_mask(n) for n in lengths}
        for layer, local in enumerate(c.is_local):
            weights = self._read(f"layers.{layer}.")
            rope = ropes[local]
            states = [self._layer(x, weights, rope[len(x)], masks[len(x)] if local else None) for x in states]
            del weights  # two layers at once would be too much
            if layer < c.layers - 1:
                yield states
        weights = self._read("norm.")
        yield [_norm(x, weights["weight"], c.eps) for x in states]

    def _layer(self, x: Tensor, w: dict[str, Tensor], rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Return (S, width) after attention and feed-forward, each of which stands between two norms."""
        c = self.config
        h = _norm(x, w["input_layernorm.weight"], c.eps)
        q, k, v = (
            F.linear(h, w[f"self_attn.{name}_proj.weight"]).unflatten(-1, (-1, c.head_dim)).transpose(0, 1)
            for name in "qkv"
        )
        q = _rotate(_norm(q, w["self_attn.q_norm.weight"], c.eps), rope)
        k = _rotate(_norm(k, w["self_attn.k_norm.weight"], c.eps), rope)
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, dim=0) for t in (k, v))
        h = F.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask, is_causal=mask is None, scale=c.scale
        )[0]
        h = F.linear(h.transpose(0, 1).flatten(1), w["self_attn.o_proj.weight"])
        x = x + _norm(h, w["post_attention_layernorm.weight"], c.eps)
        h = _norm(x, w["pre_feedforward_layernorm.weight"], c.eps)
        gate = F.gelu(F.linear(h, w["mlp.gate_proj.weight"]), approximate="tanh")
        h = F.linear(gate * F.linear(h, w["mlp.up_proj.weight"]), w["mlp.down_proj.weight"])
        return x + _norm(h, w["post_feedforward_layernorm.weight"], c.eps)

    def _rope(self, length: int, theta: float, stretch: float) -> tuple[Tensor, Tensor]:
        """Return cos and sin, (S, head_dim) each, in which both halves have the same angles."""
        exponent = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32) / self.config.head_dim
        angles = torch.arange(length, dtype=torch.float32)[:, None] * (1.0 / theta**exponent / stretch)
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
    def _prefix(self) -> str:
        names = [name for name in self._files if name.endswith(_EMBEDDING)]
        if len(names) != 1:
            raise InputError(f"The text encoder in {self.directory} has no single {_EMBEDDING}; {_AGAIN}.")
        return names[0].removesuffix(_EMBEDDING)

    @cached_property
    def _expected(self) -> dict[str, tuple[int, ...]]:
        c = self.config
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        layer: dict[str, tuple[int, ...]] = {
            **{f"{name}layernorm.weight": (c.width,) for name in _NORMS},
            **{f"self_attn.{name}_norm.weight": (c.head_dim,) for name in "qk"},
            "self_attn.q_proj.weight": (q, c.width),
            "self_attn.k_proj.weight": (kv, c.width),
            "self_attn.v_proj.weight": (kv, c.width),
            "self_attn.o_proj.weight": (c.width, q),
            "mlp.gate_proj.weight": (c.hidden, c.width),
            "mlp.up_proj.weight": (c.hidden, c.width),
            "mlp.down_proj.weight": (c.width, c.hidden),
        }
        named = {f"layers.{n}.{name}": shape for n in range(c.layers) for name, shape in layer.items()}
        return {self._prefix + name: shape for name, shape in ({"norm.weight": (c.width,)} | named).items()}

    def _check(self) -> None:
        missing = [name for name in self._expected if name not in self._files]
        if missing:
            # Weights that are made up would be noise in every context.
            raise InputError(
                f"The text encoder in {self.directory} lacks {len(missing)} tensors ({missing[0]}, …); {_AGAIN}."
            )
        for name, shape in self._expected.items():
            info = self._files[name].tensors[name]
            if info.shape != shape or info.dtype not in READABLE:
                raise InputError(
                    f"{name} of the text encoder in {self.directory} is {info.dtype} {list(info.shape)}, but "
                    f"{list(shape)} in one of {', '.join(READABLE)} is expected; {_AGAIN}."
                )

    def _read(self, part: str) -> dict[str, Tensor]:
        prefix = self._prefix + part
        names = [name for name in self._expected if name.startswith(prefix)]
        tensors = (next(self._files[name].read([name])) for name in names)
        return {name.removeprefix(prefix): tensor.to(self.dtype).to(self.device) for name, tensor in tensors}


_NORMS = ("input_", "post_attention_", "pre_feedforward_", "post_feedforward_")


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    h = x.float()
    h = h * torch.rsqrt(h.square().mean(dim=-1, keepdim=True) + eps)
    return (h * (1.0 + weight.float())).to(x.dtype)


def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rope
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


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
        raise InputError(f"{index} lists no files; {_AGAIN}.")
    return names


def _tensor_files(directory: Path) -> dict[str, TensorFile]:
    """Return the file of every tensor by its name."""
    files = [TensorFile(directory / name, _AGAIN) for name in weight_files(directory)]
    return {name: file for file in files for name in file.tensors}
