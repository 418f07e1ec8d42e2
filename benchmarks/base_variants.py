"""Bases that compute wrongly, each with one fault: traps of the model's description, switches of its generations,
damaged weights. `soundlora base check` has to tell them from the right one.

A fault of the code is patched in for the length of a `with`; one of the weights or the config is in a copy of nano.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from base_damage import codec_faults, damage, switches
from base_faults import (
    BLOCKS,
    DIT,
    Build,
    Tensors,
    Variant,
    attending,
    patched,
    with_config,
    with_weights,
    wrapped,
)
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from soundlora.model import attention, connector, gemma, tensor_file, text_encoder, transformer
from soundlora.weights.base import NANO, Base


def variants() -> list[Variant]:
    """Return all wrong bases."""
    return [
        *_time(),
        *_blocks(),
        *(replace(variant, brief=True) for variant in _text()),
        *codec_faults(),
        *switches(),
        *damage(),
    ]


def _times(factor: float, shift: float = 0.0) -> Build:
    wrap = lambda rope, self, positions, *rest: rope(self, positions * factor + shift, *rest)  # noqa: E731
    return patched(wrapped(transformer.AudioTransformer, "rope", wrap))


def _time() -> list[Variant]:
    def one_band(table: Any, position: Tensor, longest: float, theta: float, heads: int, head_dim: int) -> Any:
        return tuple(x.expand(-1, heads, -1, -1) for x in table(position, longest, theta, 1, head_dim))

    def uncaused(rope: Any, self: Any, positions: Tensor, *rest: Any) -> Any:
        count = positions.shape[2]
        index = torch.arange(count, dtype=torch.float32, device=positions.device)
        return rope(self, torch.stack((index, index + 1), dim=-1)[None, None] * 0.04, *rest)

    def starts(rope: Any, self: Any, positions: Tensor, *rest: Any) -> Any:
        return rope(self, positions[..., :1].expand_as(positions), *rest)

    def neighbours(turn: Any, x: Tensor, rope: Any) -> Tensor:
        turned = turn(torch.cat((x[..., ::2], x[..., 1::2]), dim=-1), rope)
        result: Tensor = torch.stack(turned.chunk(2, dim=-1), dim=-1).flatten(-2)
        return result

    def rope(wrap: Callable[..., Any]) -> Build:
        return patched(wrapped(transformer.AudioTransformer, "rope", wrap))

    return [
        Variant("trap 2", "one rotary band for all heads", patched(wrapped(transformer, "rope_table", one_band))),
        Variant("trap 4", "the start of a latent for its middle", rope(starts)),
        Variant("trap 4", "no causal shift", rope(uncaused)),
        Variant("trap 4", "indices for seconds", _times(25.0)),
        Variant("trap 4", "a longest place of 1 s", with_config(audio_positional_embedding_max_pos=[1])),
        Variant("trap 4", "a longest place of 40 s", with_config(audio_positional_embedding_max_pos=[40])),
        Variant("trap 37", "a rotary theta of 1,000", with_config(positional_embedding_theta=1000.0)),
        Variant("LTX 2.0", "neighbouring channels as pairs", patched(wrapped(attention, "rotate", neighbours))),
        Variant(
            "sign",
            "turned the other way",
            patched(wrapped(attention, "rotate", lambda turn, x, r: turn(x, (r[0], -r[1])))),
        ),
        Variant("trap 37", "a timestep scale of 1", with_config(timestep_scale_multiplier=1)),
        Variant("trap 37", "a timestep scale of 500", with_config(timestep_scale_multiplier=500)),
    ]


def _reordered(order: tuple[int, ...], *, linear: str, tables: str) -> Build:
    def change(tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            if (linear and name.startswith(f"{DIT}{linear}.linear.")) or (
                name.startswith(BLOCKS) and name.endswith(tables)
            ):
                rows = tensor.unflatten(0, (len(order), -1))
                tensors[name] = rows[list(order)].flatten(0, 1).view(tensor.shape)

    return with_weights(change)


def _blocks() -> list[Variant]:
    def sinusoid(first: Callable[..., Tensor], second: Callable[..., Tensor], less: int = 0) -> Build:
        def forward(self: Any, t: Tensor, dtype: torch.dtype) -> Tensor:
            frequencies = torch.exp(-math.log(10000) / (128 - less) * torch.arange(128, dtype=torch.float32))
            angles = t.float().unsqueeze(-1) * frequencies
            both = torch.cat((first(angles), second(angles)), dim=-1).to(dtype)
            result: Tensor = self.linear_2(F.silu(self.linear_1(both)))
            return result

        return patched(lambda: patch.object(transformer._TimestepEmbedder, "forward", forward))

    def passed(change: Callable[..., Any]) -> Build:
        """Change (timesteps, sigma, context) on their way into the model."""

        def wrap(
            forward: Any, self: Any, x: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, *r: Any, **n: Any
        ) -> Any:
            return forward(self, x, *change(timesteps, sigma, context), *r, **n)

        return patched(wrapped(transformer.AudioTransformer, "forward", wrap))

    def activation(kind: Callable[[Tensor], Tensor]) -> Build:
        forward = lambda self, x: kind(self.proj(x))  # noqa: E731
        return patched(lambda: patch.object(attention._Projection, "forward", forward))

    centred = lambda x, eps, weight=None: F.layer_norm(x, x.shape[-1:], eps=eps)  # noqa: E731
    uncentred = lambda x, shape, eps=1e-6: attention.rms_norm(x, eps)  # noqa: E731
    normed = lambda modulated, self, context, prompt: attention.rms_norm(modulated(self, context, prompt), 1e-6)  # noqa: E731
    backwards = lambda f, self, *given, **named: -f(self, *given, **named)  # noqa: E731

    def head_norm() -> Any:
        return patch.object(F, "layer_norm", uncentred)

    nine, two = "audio_scale_shift_table", "audio_prompt_scale_shift_table"

    def order(*rows: int) -> Build:
        return _reordered(rows, linear="audio_adaln_single", tables=f".{nine}")

    return [
        Variant("trap 5", "rows of text before the feed-forward's", order(0, 1, 2, 6, 7, 8, 3, 4, 5)),
        Variant("trap 5", "scale before shift", order(1, 0, 2, 4, 3, 5, 7, 6, 8)),
        Variant("trap 5", "gate first", order(1, 2, 0, 4, 5, 3, 7, 8, 6)),
        Variant(
            "trap 5",
            "scale before shift for the prompt",
            _reordered((1, 0), linear="audio_prompt_adaln_single", tables=f".{two}"),
        ),
        Variant("trap 6", "the prompt's level not times 1,000", passed(lambda t, s, c: (t, s / 1000, c))),
        Variant("trap 7", "gates of half", attending(factor=1.0)),
        Variant("trap 7", "gates from the result", attending(gate="result")),
        Variant("trap 7", "gates after the output projection", attending(gate="after")),
        Variant("trap 7", "STG without gates", attending(gate="not in STG")),
        Variant("trap 8", "queries and keys normalised head by head", attending(norm="head")),
        Variant("trap 8", "queries and keys not normalised", attending(norm="none")),
        Variant("precision", "scores that are not scaled", attending(scores=32**0.5)),
        Variant(
            "trap 9",
            "LayerNorm for RMSNorm in blocks",
            patched(lambda: patch.object(transformer, "rms_norm", centred)),
        ),
        Variant("trap 9", "RMSNorm for LayerNorm in the head", patched(head_norm)),
        Variant("trap 9", "a norm of the modulated context", patched(wrapped(transformer.Block, "modulated", normed))),
        Variant("trap 10", "exact GELU", activation(F.gelu)),
        Variant("trap 10", "SiLU for GELU", activation(F.silu)),
        Variant("trap 11", "sines first", sinusoid(torch.sin, torch.cos)),
        Variant("trap 11", "frequencies over 127", sinusoid(torch.cos, torch.sin, 1)),
        Variant(
            "sign", "clean less noise predicted", patched(wrapped(transformer.AudioTransformer, "forward", backwards))
        ),
        Variant("context", "halved on its way into the model", passed(lambda t, s, c: (t, s, c / 2))),
    ]


def _text() -> list[Variant]:
    def from_end(fill: Any, self: Any, features: Tensor, length: Any = None) -> Tensor:
        length = length or self.config.context_length
        registers = self.learnable_registers.repeat(length // self.config.registers, 1).to(features.dtype)
        return torch.cat((features, registers[: length - len(features)]))

    def last(fill: Any, self: Any, features: Tensor, length: Any = None) -> Tensor:
        filled = fill(self, features, length)
        return torch.cat((filled[len(features) :], features))

    def layer_first(original: Any, self: Any, layer: int) -> Tensor:
        linear = self.audio_aggregate_embed
        result: Tensor = linear.weight.view(linear.out_features, self.layers, -1)[:, layer].float()
        return result

    def unscaled(original: Any, self: Any, states: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = original(self, states, weight) / self.scale
        return result

    def norm(self: Any, x: Tensor, weight: Any) -> Tensor:
        h = x.float()
        h = h * torch.rsqrt(h.square().mean(dim=-1, keepdim=True) + self.config.eps)
        return (h if weight is None else h * (1 - self.config.norm_offset + weight.float())).to(x.dtype)

    def unnormed(original: Any, self: Any, x: Tensor, weight: Any) -> Tensor:
        """The final norm is the only one that is called from `stream`."""
        caller = sys._getframe(2).f_code.co_name
        return x if caller in ("stream", "<listcomp>") else original(self, x, weight)

    def small(original: Any, self: Any, name: str, rows: Any) -> Tensor:
        table: Tensor = original(self, name, rows)
        return table / math.sqrt(table.shape[1])

    def unscaled_scores(original: Any, *given: Any, **named: Any) -> Tensor:
        result: Tensor = original(*given, **named | {"scale": 1.0})
        return result

    def normed_values(original: Any, self: Any, *given: Any) -> list[Tensor]:
        q, k, v = original(self, *given)
        return [q, k, self._norm(v, None)]

    def no_bos(tokenize: Any, self: Any, text: str) -> list[int]:
        ids: list[int] = tokenize(self, text)
        return ids[1:] or ids

    def reversed_(tokenize: Any, self: Any, text: str) -> list[int]:
        ids: list[int] = tokenize(self, text)
        return ids[:1] + ids[:0:-1]

    def fill(wrap: Callable[..., Any]) -> Build:
        return patched(wrapped(connector.AudioConnector, "with_registers", wrap))

    projection, encoder = connector.FeatureProjection, text_encoder.TextEncoder
    return [
        Variant("trap 13", "registers counted from the caption's end", fill(from_end)),
        Variant(
            "trap 13", "a longest place of 1 in the connector", with_config(connector_positional_embedding_max_pos=[1])
        ),
        Variant("trap 15", "the caption after its registers", fill(last)),
        Variant(
            "trap 14", "features with the layer slowest", patched(wrapped(projection, "layer_weight", layer_first))
        ),
        Variant("trap 14", "features without their scale", patched(wrapped(projection, "layer", unscaled))),
        Variant("Gemma 4", "norms' weights without the 1", patched(lambda: patch.object(gemma.Gemma, "_norm", norm))),
        Variant("trap 14", "the last state before the final norm", patched(wrapped(gemma.Gemma, "_norm", unnormed))),
        Variant("Gemma 4", "embeddings not scaled", patched(wrapped(tensor_file.TensorFile, "read_rows", small))),
        Variant("Gemma 4", "scores not scaled", patched(wrapped(F, "scaled_dot_product_attention", unscaled_scores))),
        Variant("Gemma 4", "values normalised", patched(wrapped(gemma.Gemma, "_queries_keys_values", normed_values))),
        Variant("Gemma 4", "no <bos>", patched(wrapped(encoder, "tokenize", no_bos))),
        Variant("trap 41", "tokens from last to first", patched(wrapped(encoder, "tokenize", reversed_))),
        Variant(
            "trap 40",
            "another text encoder",
            _encoder(lambda name, x: x * 0 + torch.randn_like(x.float()).to(x.dtype) * x.float().std()),
        ),
        Variant("trap 40", "a text encoder in about three bits", _encoder(_coarse)),
        Variant("connector", "its feed-forwards without biases", _connector_bias()),
        Variant(
            "connector",
            "LayerNorm for RMSNorm",
            patched(
                lambda: patch.object(
                    connector, "rms_norm", lambda x, eps, weight=None: F.layer_norm(x, x.shape[-1:], eps=eps)
                )
            ),
        ),
    ]


def _coarse(name: str, x: Tensor) -> Tensor:
    step = x.float().std() if x.dim() > 1 else 0
    return ((x.float() / step).round() * step).to(x.dtype) if x.dim() > 1 else x


def _encoder(change: Callable[[str, Tensor], Tensor]) -> Build:
    @contextmanager
    def build(folder: Path) -> Iterator[Base]:
        torch.manual_seed(3)
        made = folder / "text_encoder"
        made.mkdir()
        for path in (NANO / "text_encoder").iterdir():
            if path.suffix != ".safetensors":
                (made / path.name).write_bytes(path.read_bytes())
                continue
            with safe_open(path, framework="pt") as file:
                tensors = {key: change(key, file.get_tensor(key)).contiguous() for key in file.keys()}  # noqa: SIM118
                save_file(tensors, made / path.name, file.metadata())
        yield Base("wrong", NANO / "nano.safetensors", made)

    return build


def _connector_bias() -> Build:
    def change(tensors: Tensors) -> None:
        for name in tensors:
            if "audio_embeddings_connector" in name and ".ff.net." in name and name.endswith(".bias"):
                tensors[name] = tensors[name] * 0

    return with_weights(change)
