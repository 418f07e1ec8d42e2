"""The other ways to compute a base, with each of which it should have a higher loss than as it is computed.

Some are the mistakes that are easy to make. Others are the right way, written plainly once more: where the code has
made a mistake, that way is the better one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.model.rope import Rope
from soundlora.pipeline.base_probe import USUAL, Change, Probe

_BLOCK_ATTENTION = (".audio_attn1", ".audio_attn2")


@dataclass(frozen=True)
class Way:
    """A way in words, the measure that it belongs to, and what sets it up: a context that yields the change."""

    measure: str
    name: str
    begin: Callable[[Probe], AbstractContextManager[Change]]


def ways(probe: Probe) -> Iterator[Way]:
    """Yield all ways that this base can be computed in, apart from those of single blocks."""
    yield from _time_axis()
    yield from _noise_level(probe)
    yield from _rows(probe)
    yield from _attention(probe)
    yield from _prediction()


def block_ways(probe: Probe) -> Iterator[tuple[Way, float]]:
    """Yield the ways in which one part of one block counts nothing, half or double, each with that factor."""
    for index in range(probe.model.config.layers):
        for part, word in (("audio_attn1", "self-attention"), ("audio_attn2", "text"), ("audio_ff", "feed-forward")):
            name = f"transformer_blocks.{index}.{part}"
            for factor, how in ((0.0, "left out"), (0.5, "halved"), (2.0, "doubled")):
                way = Way("blocks", f"block {index}, {word} {how}", _scaled(_named(name), factor))
                yield way, factor


def _plain(change: Callable[[Probe], Change]) -> Callable[[Probe], AbstractContextManager[Change]]:
    @contextmanager
    def begin(probe: Probe) -> Iterator[Change]:
        yield change(probe)

    return begin


def _middles(probe: Probe) -> Tensor:
    """Return the middle of every latent in seconds (T,); the first stands for one mel frame, the others for more."""
    audio, count = probe.audio, probe.latents.shape[1]
    frame = audio.hop / audio.sample_rate
    last = torch.arange(count, dtype=torch.float32) * audio.downsample + 1  # mel frames up to the latent's end
    first = (last - audio.downsample).clamp_min(0)
    return (first + last) / 2 * frame


def rotary_table(
    probe: Probe, seconds: Tensor | None = None, theta: float = 1.0, shared: bool = False, sine: float = 1.0
) -> Rope:
    """Return rotary tables of places in seconds (T,), None being the latents' own, as the model is specified.

    theta, sine: factors of the highest frequency and of the sines. shared: all heads have one band.
    """
    c, seconds = probe.model.config, _middles(probe) if seconds is None else seconds
    pairs = c.head_dim // 2 * (1 if shared else c.heads)
    exponent = torch.arange(pairs, dtype=torch.float64) / (pairs - 1)
    frequencies = ((c.rope_theta * theta) ** exponent * math.pi / 2).float()
    angles = (seconds / c.max_seconds * 2 - 1)[:, None] * frequencies  # (T, pairs)
    angles = angles.view(len(seconds), -1, c.head_dim // 2).transpose(0, 1)[None].expand(1, c.heads, -1, -1)
    device = probe.latents.device
    return angles.cos().to(device), (angles.sin() * sine).to(device)


def _time_axis() -> Iterator[Way]:
    def of(name: str, rope: Callable[[Probe], Rope]) -> Way:
        return Way("time axis", name, _plain(lambda probe: Change(rope=rope(probe))))

    yield of("as specified", lambda p: rotary_table(p))
    # The latents' rate and the longest place, in seconds, are what units are mistaken by.
    for factor in (25.0, 20.0, 2.0, 0.5, 1 / 20, 1 / 25):
        yield of(f"places times {factor:g}", _stretched(factor))
    yield of("places from the start of each latent", lambda p: rotary_table(p, (_middles(p) - 0.02).clamp_min(0)))
    yield of("ten times the highest frequency", lambda p: rotary_table(p, theta=10))
    yield of("a tenth of the highest frequency", lambda p: rotary_table(p, theta=0.1))
    yield of("one band for all heads", lambda p: rotary_table(p, shared=True))
    yield of("turned the other way", lambda p: rotary_table(p, sine=-1))
    yield of("not turned at all", lambda p: (torch.ones_like(p.rope[0]), torch.zeros_like(p.rope[1])))
    norms = _ends(".audio_attn1.q_norm", ".audio_attn1.k_norm")
    yield Way("time axis", "neighbouring channels as pairs", _output(norms, _neighbours))
    yield Way("time axis", "halves as pairs", _output(norms, _halves))


def _stretched(factor: float) -> Callable[[Probe], Rope]:
    return lambda probe: rotary_table(probe, _middles(probe) * factor)


def _neighbours(probe: Probe, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
    x = out.unflatten(-1, (probe.model.config.heads, -1))
    return torch.cat((x[..., ::2], x[..., 1::2]), dim=-1).flatten(-2)


def _halves(probe: Probe, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
    first, second = out.unflatten(-1, (probe.model.config.heads, -1)).chunk(2, dim=-1)
    return torch.stack((first, second), dim=-1).flatten(-3)


def _noise_level(probe: Probe) -> Iterator[Way]:
    def of(name: str, **change: Any) -> Way:
        return Way("noise level", name, _plain(lambda _: Change(**change)))

    for factor in (1000.0, 2.0, 0.5, 0.001):
        yield of(f"timesteps times {factor:g}", time=lambda s, f=factor: s * f)
    yield of("timesteps from clean to noisy", time=lambda s: 1 - s)
    parts = [("timesteps", "audio_adaln_single")]
    if probe.model.audio_prompt_adaln_single is not None:
        parts.append(("the prompt", "audio_prompt_adaln_single"))
        for factor in (1000.0, 2.0, 0.001):
            yield of(f"the prompt's level times {factor:g}", prompt=lambda s, f=factor: s * f)
        yield Way("noise level", "the prompt modulated as specified", _prompt_modulated)
        zero = _output(_named("audio_prompt_adaln_single"), lambda p, m, i, out: (out[0] * 0, out[1]))
        yield Way("noise level", "the prompt the same at every level", zero)
    for word, part in parts:
        embedder = f"{part}.emb.timestep_embedder"
        yield Way("noise level", f"cosines first for {word}", _output(_named(embedder), _sinusoid(False)))
        yield Way("noise level", f"sines first for {word}", _output(_named(embedder), _sinusoid(True)))


def _sinusoid(sines_first: bool) -> Callable[..., Tensor]:
    def embedding(probe: Probe, module: Any, inputs: Any, out: Tensor) -> Tensor:
        half = module.linear_1.in_features // 2
        frequencies = 10000.0 ** (-torch.arange(half, device=out.device, dtype=torch.float32) / half)
        angles = inputs[0].float()[..., None] * frequencies
        both = (angles.sin(), angles.cos()) if sines_first else (angles.cos(), angles.sin())
        result: Tensor = module.linear_2(F.silu(module.linear_1(torch.cat(both, dim=-1).to(out.dtype))))
        return result

    return embedding


@contextmanager
def _prompt_modulated(probe: Probe) -> Iterator[Change]:
    """Modulate each block's context by its own noise level, whatever the code hands to the blocks."""
    model, dtype = probe.model, probe.model.audio_scale_shift_table.dtype
    assert model.audio_prompt_adaln_single is not None
    level: list[Tensor] = []

    def remember(sigma: Tensor) -> Tensor:
        level[:] = [sigma]
        return sigma

    def replace(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        modulation, _ = model.audio_prompt_adaln_single(level[0][:, None] * model.config.timestep_scale, dtype)  # type: ignore[misc]
        return (*inputs[:3], modulation, *inputs[4:])

    handles = [block.register_forward_pre_hook(replace) for block in model.transformer_blocks]
    try:
        yield Change(prompt=remember)
    finally:
        for handle in handles:
            handle.remove()


def _rows(probe: Probe) -> Iterator[Way]:
    model = probe.model
    blocks = list(model.transformer_blocks)
    tables = [block.audio_scale_shift_table for block in blocks]
    nine = (model.audio_adaln_single.linear, tables)
    for name, order in (
        ("feed-forward and text changed about", (0, 1, 2, 6, 7, 8, 3, 4, 5)),
        ("scale before shift", (1, 0, 2, 4, 3, 5, 7, 6, 8)),
        ("gate first", (2, 0, 1, 5, 3, 4, 8, 6, 7)),
        ("gate before scale", (0, 2, 1, 3, 5, 4, 6, 8, 7)),
        ("gate as scale, scale as shift", (1, 2, 0, 4, 5, 3, 7, 8, 6)),
    ):
        yield Way("modulation", f"rows with {name}", _reordered(*nine, order))
    prompts = [block.audio_prompt_scale_shift_table for block in blocks]
    prompt = model.audio_prompt_adaln_single
    yield Way(
        "modulation",
        "the prompt's rows with scale before shift",
        _reordered(None if prompt is None else prompt.linear, prompts, (1, 0)),
    )
    yield Way(
        "modulation",
        "the head's rows with scale before shift",
        _reordered(None, [model.audio_scale_shift_table], (1, 0)),
    )


def _reordered(
    linear: nn.Linear | None, tables: Sequence[Any], order: tuple[int, ...]
) -> Callable[[Probe], AbstractContextManager[Change]]:
    @contextmanager
    def begin(probe: Probe) -> Iterator[Change]:
        parameters = list(tables) if linear is None else [*tables, linear.weight, linear.bias]
        kept = [parameter.data for parameter in parameters]
        for parameter in parameters:
            rows = parameter.data.unflatten(0, (len(order), -1))
            parameter.data = rows[list(order)].flatten(0, 1)
        try:
            yield USUAL
        finally:
            for parameter, data in zip(parameters, kept, strict=True):
                parameter.data = data

    return begin


def _attention(probe: Probe) -> Iterator[Way]:
    heads = probe.model.config.heads
    norms, gates, outs = _ends(".q_norm", ".k_norm"), _ends(".to_gate_logits"), _ends(".to_out.0")

    def of(name: str, begin: Callable[[Probe], AbstractContextManager[Change]]) -> Way:
        return Way("attention", name, begin)

    def whole(probe: Probe, module: Any, inputs: Any, out: Tensor) -> Tensor:
        normed: Tensor = _rms(inputs[0]) * module.weight
        return normed

    def per_head(probe: Probe, module: Any, inputs: Any, out: Tensor) -> Tensor:
        normed: Tensor = _rms(inputs[0].unflatten(-1, (heads, -1))).flatten(-2) * module.weight
        return normed

    def unweighted(probe: Probe, module: Any, inputs: Any, out: Tensor) -> Tensor:
        return _rms(inputs[0])

    yield of("queries and keys normalised over all channels", _output(norms, whole))
    yield of("queries and keys normalised head by head", _output(norms, per_head))
    yield of("queries and keys without their norms' weights", _output(norms, unweighted))
    yield of("queries and keys not normalised", _output(norms, lambda p, m, i, out: i[0] * m.weight))
    root = probe.model.config.head_dim**0.5
    for factor in (root, 2.0, 0.5, 1 / root):
        yield of(f"scores times {factor:.3g}", _scaled(_ends(".q_norm"), factor))
    yield of("no gates", _output(gates, lambda p, m, i, out: out * 0))
    yield of("gates of half", _input(outs, lambda x: x * 0.5))
    yield of("gates of double", _input(outs, lambda x: x * 2))
    yield of("gates as specified on top", _gated)
    for name, activation in (
        ("tanh GELU as specified", lambda x: F.gelu(x, approximate="tanh")),
        ("ReLU", F.relu),
        ("SiLU", F.silu),
    ):
        hook = lambda p, m, i, out, activation=activation: activation(m.proj(i[0]))  # noqa: E731
        yield Way("feed-forward", name, _output(_ends(".audio_ff.net.0"), hook))


@contextmanager
def _gated(probe: Probe) -> Iterator[Change]:
    """Multiply by the gates before each output projection: the right thing where nothing else does."""
    seen: dict[nn.Module, Tensor] = {}
    handles = []
    for name, module in probe.model.named_modules():
        if name.endswith(_BLOCK_ATTENTION):
            attention: Any = module

            def keep(module: nn.Module, inputs: Any) -> None:
                seen[module] = inputs[0]

            def multiply(out: nn.Module, inputs: Any, attention: Any = attention) -> Any:
                gate = 2 * torch.sigmoid(attention.to_gate_logits(seen[attention]))
                return ((inputs[0].unflatten(-1, (attention.heads, -1)) * gate[..., None]).flatten(-2),)

            handles += [
                attention.register_forward_pre_hook(keep),
                attention.to_out[0].register_forward_pre_hook(multiply),
            ]
    try:
        yield USUAL
    finally:
        for handle in handles:
            handle.remove()


def _prediction() -> Iterator[Way]:
    def of(name: str, velocity: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Way:
        return Way("prediction", name, _plain(lambda _: Change(velocity=velocity)))

    yield of("clean less noise", lambda v, x, s: -v)
    yield of("the clean latents", lambda v, x, s: (x - v) / s)
    yield of("the noise", lambda v, x, s: (v - x) / (1 - s))
    yield of("half as large", lambda v, x, s: v / 2)
    yield of("twice as large", lambda v, x, s: v * 2)


def _rms(x: Tensor) -> Tensor:
    return (x.float() * torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + 1e-6)).to(x.dtype)


def _named(name: str) -> Callable[[str], bool]:
    return lambda other: other == name


def _ends(*endings: str) -> Callable[[str], bool]:
    return lambda name: name.startswith("transformer_blocks.") and name.endswith(endings)


def _scaled(chosen: Callable[[str], bool], factor: float) -> Callable[[Probe], AbstractContextManager[Change]]:
    return _output(chosen, lambda probe, module, inputs, out: out * factor)


def _output(
    chosen: Callable[[str], bool], change: Callable[[Probe, Any, Any, Any], Any]
) -> Callable[[Probe], AbstractContextManager[Change]]:
    """Let modules of chosen names return change(probe, module, inputs, output)."""

    return _hooked(
        chosen, lambda probe, module: module.register_forward_hook(lambda m, i, out: change(probe, m, i, out))
    )


def _input(
    chosen: Callable[[str], bool], change: Callable[[Tensor], Tensor]
) -> Callable[[Probe], AbstractContextManager[Change]]:
    """Let modules of chosen names take change(input)."""

    return _hooked(chosen, lambda probe, module: module.register_forward_pre_hook(lambda m, i: (change(i[0]), *i[1:])))


def _hooked(
    chosen: Callable[[str], bool], hook: Callable[[Probe, Any], Any]
) -> Callable[[Probe], AbstractContextManager[Change]]:
    """Hang a hook on the modules of chosen names, and take it off again."""

    @contextmanager
    def begin(probe: Probe) -> Iterator[Change]:
        handles = [hook(probe, module) for name, module in probe.model.named_modules() if chosen(name)]
        try:
            yield USUAL
        finally:
            for handle in handles:
                handle.remove()

    return begin
