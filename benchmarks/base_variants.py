"""Bases that compute wrongly, each with one fault: traps of the model's description, switches of its generations,
damaged weights. `soundlora base check` has to tell them from the right one.

A fault of the code is patched in for the length of a `with`; one of the weights or the config is in a copy of nano.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from soundlora.model import attention, audio_vae, connector, gemma, mel, tensor_file, text_encoder, transformer, vocoder
from soundlora.weights import base as bases
from soundlora.weights.base import NANO, Base

Tensors = dict[str, Tensor]
Config = dict[str, Any]
BLOCKS = "model.diffusion_model.transformer_blocks."
DIT = "model.diffusion_model."


@dataclass(frozen=True)
class Variant:
    """A fault in words, where it comes from, and how it is built in."""

    source: str
    fault: str
    build: Callable[[Path], Any]  # a context that yields the Base; the folder is for its files
    codec: bool = False  # it changes what the codec makes of clips
    brief: bool = False  # the first measure that finds it is enough to know

    @property
    def words(self) -> str:
        return f"{self.source}: {self.fault}"


def variants() -> list[Variant]:
    """Return all wrong bases."""
    return [
        *_time(),
        *_blocks(),
        *(replace(variant, brief=True) for variant in _text()),
        *_codec(),
        *_switches(),
        *_damage(),
    ]


@contextmanager
def right(folder: Path) -> Iterator[Base]:
    """The base as it is."""
    yield bases.open_base("nano")


def _patched(*patches: Callable[[], Any]) -> Callable[[Path], Any]:
    @contextmanager
    def build(folder: Path) -> Iterator[Base]:
        with ExitStack() as stack:
            for make in patches:
                stack.enter_context(make())
            yield bases.open_base("nano")

    return build


def _wrapped(owner: Any, name: str, wrap: Callable[..., Any]) -> Callable[[], Any]:
    """Let owner.name be wrap(original, *arguments)."""

    def make() -> Any:
        original = getattr(owner, name)
        return patch.object(owner, name, lambda *given, **named: wrap(original, *given, **named))

    return make


def _file(change: Callable[[Tensors, Config], None]) -> Callable[[Path], Any]:
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


def _config(**values: Any) -> Callable[[Path], Any]:
    return _file(lambda tensors, config: config["transformer"].update(values))


def _weights(change: Callable[[Tensors], None]) -> Callable[[Path], Any]:
    return _file(lambda tensors, config: change(tensors))


def _scaled(factor: float, *endings: str) -> Callable[[Path], Any]:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.endswith(endings)]:
            tensors[name] = tensors[name] * factor

    return _weights(change)


def _times(factor: float, shift: float = 0.0) -> Callable[[Path], Any]:
    wrap = lambda rope, self, positions, *rest: rope(self, positions * factor + shift, *rest)  # noqa: E731
    return _patched(_wrapped(transformer.AudioTransformer, "rope", wrap))


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

    rope = lambda wrap: _patched(_wrapped(transformer.AudioTransformer, "rope", wrap))  # noqa: E731
    return [
        Variant("trap 2", "one rotary band for all heads", _patched(_wrapped(transformer, "rope_table", one_band))),
        Variant("trap 4", "the start of a latent for its middle", rope(starts)),
        Variant("trap 4", "no causal shift", rope(uncaused)),
        Variant("trap 4", "indices for seconds", _times(25.0)),
        Variant("trap 4", "a longest place of 1 s", _config(audio_positional_embedding_max_pos=[1])),
        Variant("trap 4", "a longest place of 40 s", _config(audio_positional_embedding_max_pos=[40])),
        Variant("trap 37", "a rotary theta of 1,000", _config(positional_embedding_theta=1000.0)),
        Variant("LTX 2.0", "neighbouring channels as pairs", _patched(_wrapped(attention, "rotate", neighbours))),
        Variant(
            "sign",
            "turned the other way",
            _patched(_wrapped(attention, "rotate", lambda turn, x, r: turn(x, (r[0], -r[1])))),
        ),
        Variant("trap 37", "a timestep scale of 1", _config(timestep_scale_multiplier=1)),
        Variant("trap 37", "a timestep scale of 500", _config(timestep_scale_multiplier=500)),
    ]


def _reordered(order: tuple[int, ...], *, linear: str, tables: str) -> Callable[[Path], Any]:
    def change(tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            if (linear and name.startswith(f"{DIT}{linear}.linear.")) or (
                name.startswith(BLOCKS) and name.endswith(tables)
            ):
                rows = tensor.unflatten(0, (len(order), -1))
                tensors[name] = rows[list(order)].flatten(0, 1).view(tensor.shape)

    return _weights(change)


def _attending(**how: Any) -> Callable[[Path], Any]:
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
        heads = lambda y: y.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)  # noqa: E731
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
            q, k = attention.rotate(q, rope), attention.rotate(k, rope)
        out = attention.scaled_dot_product(q * how.get("scores", 1.0), k, v, mask)
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
            return (made.unflatten(-1, (self.heads, -1)) * gate.unsqueeze(-1)).flatten(2)
        result: Tensor = self.to_out[0]((out * gate.unsqueeze(-1)).flatten(2))
        return result

    return _patched(lambda: patch.object(transformer.Attention, "forward", forward))


def _blocks() -> list[Variant]:
    def sinusoid(first: Callable[..., Tensor], second: Callable[..., Tensor], less: int = 0) -> Callable[[Path], Any]:
        def forward(self: Any, t: Tensor, dtype: torch.dtype) -> Tensor:
            frequencies = torch.exp(-math.log(10000) / (128 - less) * torch.arange(128, dtype=torch.float32))
            angles = t.float().unsqueeze(-1) * frequencies
            both = torch.cat((first(angles), second(angles)), dim=-1).to(dtype)
            result: Tensor = self.linear_2(F.silu(self.linear_1(both)))
            return result

        return _patched(lambda: patch.object(transformer._TimestepEmbedder, "forward", forward))

    def passed(change: Callable[..., Any]) -> Callable[[Path], Any]:
        """Change (timesteps, sigma, context) on their way into the model."""

        def wrap(
            forward: Any, self: Any, x: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, *r: Any, **n: Any
        ) -> Any:
            return forward(self, x, *change(timesteps, sigma, context), *r, **n)

        return _patched(_wrapped(transformer.AudioTransformer, "forward", wrap))

    def activation(kind: Callable[[Tensor], Tensor]) -> Callable[[Path], Any]:
        forward = lambda self, x: kind(self.proj(x))  # noqa: E731
        return _patched(lambda: patch.object(attention._Projection, "forward", forward))

    centred = lambda x, eps, weight=None: F.layer_norm(x, x.shape[-1:], eps=eps)  # noqa: E731
    uncentred = lambda x, shape, eps=1e-6: attention.rms_norm(x, eps)  # noqa: E731
    normed = lambda modulated, self, context, prompt: attention.rms_norm(modulated(self, context, prompt), 1e-6)  # noqa: E731
    backwards = lambda f, self, *given, **named: -f(self, *given, **named)  # noqa: E731

    def head_norm() -> Any:
        return patch.object(transformer.F, "layer_norm", uncentred)

    nine, two = "audio_scale_shift_table", "audio_prompt_scale_shift_table"

    def order(*rows: int) -> Callable[[Path], Any]:
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
        Variant("trap 7", "gates of half", _attending(factor=1.0)),
        Variant("trap 7", "gates from the result", _attending(gate="result")),
        Variant("trap 7", "gates after the output projection", _attending(gate="after")),
        Variant("trap 7", "STG without gates", _attending(gate="not in STG")),
        Variant("trap 8", "queries and keys normalised head by head", _attending(norm="head")),
        Variant("trap 8", "queries and keys not normalised", _attending(norm="none")),
        Variant("precision", "scores that are not scaled", _attending(scores=32**0.5)),
        Variant(
            "trap 9",
            "LayerNorm for RMSNorm in blocks",
            _patched(lambda: patch.object(transformer, "rms_norm", centred)),
        ),
        Variant("trap 9", "RMSNorm for LayerNorm in the head", _patched(head_norm)),
        Variant(
            "trap 9", "a norm of the modulated context", _patched(_wrapped(transformer.Block, "modulated", normed))
        ),
        Variant("trap 10", "exact GELU", activation(F.gelu)),
        Variant("trap 10", "SiLU for GELU", activation(F.silu)),
        Variant("trap 11", "sines first", sinusoid(torch.sin, torch.cos)),
        Variant("trap 11", "frequencies over 127", sinusoid(torch.cos, torch.sin, 1)),
        Variant(
            "sign", "clean less noise predicted", _patched(_wrapped(transformer.AudioTransformer, "forward", backwards))
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

    fill = lambda wrap: _patched(_wrapped(connector.AudioConnector, "with_registers", wrap))  # noqa: E731
    projection, encoder = connector.FeatureProjection, text_encoder.TextEncoder
    return [
        Variant("trap 13", "registers counted from the caption's end", fill(from_end)),
        Variant(
            "trap 13", "a longest place of 1 in the connector", _config(connector_positional_embedding_max_pos=[1])
        ),
        Variant("trap 15", "the caption after its registers", fill(last)),
        Variant(
            "trap 14", "features with the layer slowest", _patched(_wrapped(projection, "layer_weight", layer_first))
        ),
        Variant("trap 14", "features without their scale", _patched(_wrapped(projection, "layer", unscaled))),
        Variant("Gemma 4", "norms' weights without the 1", _patched(lambda: patch.object(gemma.Gemma, "_norm", norm))),
        Variant("trap 14", "the last state before the final norm", _patched(_wrapped(gemma.Gemma, "_norm", unnormed))),
        Variant("Gemma 4", "embeddings not scaled", _patched(_wrapped(tensor_file.TensorFile, "read_rows", small))),
        Variant(
            "Gemma 4", "scores not scaled", _patched(_wrapped(gemma.F, "scaled_dot_product_attention", unscaled_scores))
        ),
        Variant("Gemma 4", "values normalised", _patched(_wrapped(gemma.Gemma, "_queries_keys_values", normed_values))),
        Variant("Gemma 4", "no <bos>", _patched(_wrapped(encoder, "tokenize", no_bos))),
        Variant("trap 41", "tokens from last to first", _patched(_wrapped(encoder, "tokenize", reversed_))),
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
            _patched(
                lambda: patch.object(
                    connector, "rms_norm", lambda x, eps, weight=None: F.layer_norm(x, x.shape[-1:], eps=eps)
                )
            ),
        ),
    ]


def _coarse(name: str, x: Tensor) -> Tensor:
    step = x.float().std() if x.dim() > 1 else 0
    return ((x.float() / step).round() * step).to(x.dtype) if x.dim() > 1 else x


def _encoder(change: Callable[[str, Tensor], Tensor]) -> Callable[[Path], Any]:
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


def _connector_bias() -> Callable[[Path], Any]:
    def change(tensors: Tensors) -> None:
        for name in tensors:
            if "audio_embeddings_connector" in name and ".ff.net." in name and name.endswith(".bias"):
                tensors[name] = tensors[name] * 0

    return _weights(change)


def _codec() -> list[Variant]:
    def seeing(self: Any, x: Tensor) -> Tensor:
        half = self.pad[2] // 2
        result: Tensor = self.conv(F.pad(x, (self.pad[0], self.pad[1], half, half)))
        return result

    def down(self: Any, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, (0, 1, 1, 1)))
        return result

    def up(self: Any, x: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled[:, :, :-1]

    def variance(original: Any, self: Any, mel: Tensor) -> Any:
        mean, log_variance = original(self, mel)
        return log_variance, mean

    def other_order(x: Tensor) -> Tensor:
        return x.view(8, 16).T.flatten()

    def statistics(original: Any, self: Any, tokens: Tensor) -> Tensor:
        mean, std = (other_order(self.get_buffer(f"{n}-of-means")) for n in ("mean", "std"))
        result: Tensor = (tokens - mean) / std if original.__name__ == "normalize" else tokens * std + mean
        return result

    def power(original: Any, waveform: Tensor, config: Any) -> Tensor:
        return (2 * original(waveform, config)).clamp_min(math.log(1e-5))

    def decimal(original: Any, waveform: Tensor, config: Any) -> Tensor:
        result: Tensor = original(waveform, config) / math.log(10)
        return result

    def late(original: Any, waveform: Tensor, config: Any) -> Tensor:
        """Without reflection: the frames begin where their windows do."""
        result: Tensor = original(F.pad(waveform, (512, 0))[..., : waveform.shape[-1]], config)
        return result

    def htk(bins: int, mels: int, rate: int) -> Tensor:
        to_mel = lambda hz: 2595 * torch.log10(1 + hz / 700)  # noqa: E731
        edges = 700 * (10 ** (torch.linspace(0, float(to_mel(torch.tensor(rate / 2))), mels + 2) / 2595) - 1)
        slopes = edges[None] - torch.linspace(0, rate // 2, bins)[:, None]
        width = edges[1:] - edges[:-1]
        return torch.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]).clamp_min(0)

    def centred(self: Any, waveform: Tensor) -> Tensor:
        half = (self.n_fft - self.hop) // 2
        padded = F.pad(waveform.flatten(0, 1).unsqueeze(1), (half, self.n_fft - self.hop - half))
        real, imaginary = F.conv1d(padded, self.stft_fn.get_buffer("forward_basis"), stride=self.hop).chunk(2, dim=1)
        made = torch.matmul(self.get_buffer("mel_basis"), torch.sqrt(real.square() + imaginary.square()))
        return made.clamp_min(1e-5).log().reshape(*waveform.shape[:2], *made.shape[1:])

    def bounded(original: Any, self: Any, mel: Tensor) -> Tensor:
        result = original(self, mel)
        return result if self.clamp else result.tanh() * 0.5

    def narrow(original: Any, self: Any, mel: Tensor) -> Tensor:
        self.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result: Tensor = original(self, mel)
        return result.float()

    def one_side(original: Any, waveform: Tensor) -> Tensor:
        stereo = original(waveform).clone()
        stereo[1] = 0
        return stereo

    vae, front = audio_vae, lambda wrap: _patched(_wrapped(bases, "log_mel", wrap))
    both = lambda name: _wrapped(vae.Statistics, name, statistics)  # noqa: E731
    found = [
        Variant("trap 16", "statistics as (bin, channel)", _patched(both("normalize"), both("denormalize"))),
        Variant(
            "trap 17",
            "convolutions that see later frames",
            _patched(lambda: patch.object(vae.CausalConv, "forward", seeing)),
        ),
        Variant(
            "trap 17",
            "downsampling padded on both sides",
            _patched(lambda: patch.object(vae._Downsample, "forward", down)),
        ),
        Variant(
            "trap 17",
            "upsampling that drops the last row",
            _patched(lambda: patch.object(vae._Upsample, "forward", up)),
        ),
        Variant("trap 18", "the log-variance for the mean", _patched(_wrapped(vae.AudioEncoder, "moments", variance))),
        Variant("trap 19", "power for magnitude", front(power)),
        Variant("trap 19", "decimal logarithms", front(decimal)),
        Variant("trap 19", "frames half a window late", front(late)),
        Variant("trap 19", "HTK's mel filters", _patched(lambda: patch.object(mel, "_mel_filters", htk))),
        Variant(
            "trap 19", "the second mel centred", _patched(lambda: patch.object(vocoder.MelSTFT, "forward", centred))
        ),
        Variant(
            "trap 21",
            "an activation after the second generator",
            _patched(_wrapped(vocoder.Generator, "forward", bounded)),
        ),
        Variant("trap 21", "the vocoder in bf16", _patched(_wrapped(vocoder.Vocoder, "forward", narrow))),
        Variant("trap 25", "mono on one side alone", _patched(_wrapped(bases, "to_stereo", one_side))),
    ]
    return [replace(variant, codec=True, brief=True) for variant in found]


def _switches() -> list[Variant]:
    def no_bias(tensors: Tensors) -> None:
        for name in tensors:
            if name.startswith(BLOCKS) and ".audio_ff." in name and name.endswith(".bias"):
                tensors[name] = tensors[name] * 0

    def same_prompt(forward: Any, self: Any, t: Tensor, dtype: torch.dtype) -> Any:
        rows, embedded = forward(self, t, dtype)
        return (rows * 0, embedded) if self.rows == 2 else (rows, embedded)

    single = transformer.AdaLayerNormSingle
    no_prompt = lambda tensors, config: _without_prompt(tensors, config)  # noqa: E731
    return [
        Variant("audio_ff_bias", "off where it is on", _weights(no_bias)),
        Variant("use_prompt_adaln_single", "off where it is on, by the file", _file(no_prompt)),
        Variant(
            "use_prompt_adaln_single",
            "off where it is on, by the code",
            _patched(_wrapped(single, "forward", same_prompt)),
        ),
        Variant("apply_gated_attention", "off where it is on", _attending(gate="none")),
    ]


def _without_prompt(tensors: Tensors, config: Config) -> None:
    config["transformer"]["use_prompt_adaln_single"] = False
    for name in [name for name in tensors if ".audio_prompt_adaln_single." in name]:
        del tensors[name]


def _changed(ending: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], Any]:
    def each(tensors: Tensors) -> None:
        (name,) = [name for name in tensors if name.endswith(ending)]
        torch.manual_seed(1)
        tensors[name] = change(tensors[name])

    return _weights(each)


def _noise(x: Tensor) -> Tensor:
    return (torch.randn(x.shape) * x.float().std()).to(x.dtype)


def _cut(share: float) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        flat = x.clone().flatten()
        flat[round(len(flat) * (1 - share)) :] = 0
        return flat.view(x.shape)

    return change


def _damage() -> list[Variant]:
    def exchanged(tensors: Tensors) -> None:
        first, second = f"{BLOCKS}1.", f"{BLOCKS}2."
        for name in [name for name in tensors if name.startswith(first)]:
            other = second + name.removeprefix(first)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    def unscaled(tensors: Tensors) -> None:
        """As in a repack in fp8 whose scales are not read."""
        for name, x in tensors.items():
            if name.startswith(BLOCKS) and x.dim() == 2 and "table" not in name and "gate" not in name:
                tensors[name] = x * (448 / x.abs().amax(dim=1, keepdim=True))

    def coarse(tensors: Tensors) -> None:
        for name, x in tensors.items():
            if name.startswith(BLOCKS) and x.dim() == 2 and "table" not in name:
                tensors[name] = (x.float() / x.float().std()).round().to(x.dtype) * x.float().std().to(x.dtype)

    def swapped(tensors: Tensors) -> None:
        q, v = (f"{BLOCKS}1.audio_attn1.to_{part}.weight" for part in "qv")
        tensors[q], tensors[v] = tensors[v], tensors[q]

    def bits(x: Tensor) -> Tensor:
        flat = x.clone().flatten().view(torch.int16)
        flat[len(flat) // 2] ^= 1 << 13  # of the exponent
        return flat.view(x.dtype).view(x.shape)

    one = f"{BLOCKS}1."
    return [
        Variant("damage", "one matrix of queries times four", _scaled(4, "blocks.1.audio_attn1.to_q.weight")),
        Variant("damage", "one matrix of values times four", _scaled(4, "blocks.2.audio_attn1.to_v.weight")),
        Variant("damage", "one feed-forward matrix times four", _scaled(4, "blocks.1.audio_ff.net.2.weight")),
        Variant("damage", "one feed-forward matrix a quarter", _scaled(0.25, "blocks.3.audio_ff.net.0.proj.weight")),
        Variant("damage", "one text matrix times four", _scaled(4, "blocks.0.audio_attn2.to_k.weight")),
        Variant("damage", "one output projection times a half", _scaled(0.5, "blocks.0.audio_attn1.to_out.0.weight")),
        Variant("damage", "a page of zeros in a matrix", _changed(f"{one}audio_ff.net.0.proj.weight", _cut(0.03))),
        Variant("damage", "the second half of a matrix zero", _changed(f"{one}audio_attn1.to_v.weight", _cut(0.5))),
        Variant("damage", "a matrix of noise", _changed(f"{one}audio_attn1.to_out.0.weight", _noise)),
        Variant("damage", "a matrix transposed", _changed(f"{one}audio_attn1.to_out.0.weight", lambda x: x.T)),
        Variant("damage", "one bit of an exponent", _changed(f"{one}audio_ff.net.2.weight", bits)),
        Variant("damage", "two blocks exchanged", _weights(exchanged)),
        Variant("damage", "queries and values exchanged", _weights(swapped)),
        Variant("trap 38", "an fp8 repack without its scales", _weights(unscaled)),
        Variant("precision", "blocks in about three bits", _weights(coarse)),
        Variant("damage", "the text projection half zero", _changed("audio_aggregate_embed.weight", _cut(0.5))),
        Variant(
            "damage",
            "a connector matrix of noise",
            _changed("connector.transformer_1d_blocks.0.attn1.to_v.weight", _noise),
        ),
        Variant(
            "damage",
            "a VAE encoder's convolution times two",
            _scaled(2, "audio_vae.encoder.conv_in.conv.weight"),
            codec=True,
        ),
        Variant(
            "damage",
            "a VAE decoder's convolution of noise",
            _changed("audio_vae.decoder.up.1.block.0.conv1.conv.weight", _noise),
            codec=True,
        ),
        Variant(
            "damage",
            "the vocoder's last convolution of noise",
            _changed("vocoder.vocoder.conv_post.weight", _noise),
            codec=True,
        ),
        Variant(
            "damage",
            "the second generator of noise",
            _changed("vocoder.bwe_generator.conv_post.weight", _noise),
            codec=True,
        ),
        Variant(
            "damage",
            "NaN in one matrix",
            _changed(f"{one}audio_ff.net.2.weight", lambda x: x.index_fill(0, torch.tensor([5]), math.nan)),
        ),
    ]
