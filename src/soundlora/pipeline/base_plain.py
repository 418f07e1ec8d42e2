"""The parts of a transformer computed once more, plainly and in fp32, from what goes into them.

The formulas are written anew after the model's description and share no code with `model`. They find what a device, a
kernel or a change of the code computes wrongly with this base's own weights. In shapes N is clips, T latents, S tokens
of the context, W the width.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.gemma import Gemma
from soundlora.model.quantize import widened
from soundlora.model.transformer import AudioTransformer, Block
from soundlora.model.vocoder import Generator, Vocoder
from soundlora.pipeline.base_probe import Change, Probe
from soundlora.pipeline.base_ways import rotary_table

LEVEL = 0.5
"""The noise level of the passes that are looked at."""
_CLIPS = 2  # what goes in and out of every part is kept


@torch.inference_mode()
def errors(probe: Probe) -> dict[str, float]:
    """Return the largest error of every part over all blocks, as a share of the root mean square of what it makes."""
    worst: dict[str, float] = {}

    def compare(part: str, found: Tensor, wanted: Tensor) -> None:
        error = _share(found, wanted.float())
        worst[part] = max(worst.get(part, 0.0), error if math.isfinite(error) else math.inf)

    model = probe.model
    with _recorded(model) as seen:
        probe.velocity(Change(latents=probe.latents[:_CLIPS], contexts=probe.contexts[:_CLIPS]), LEVEL)
    sigma = torch.full((_CLIPS, 1), LEVEL, device=probe.latents.device) * model.config.timestep_scale
    modulation, embedded = _embedded(model.audio_adaln_single, sigma)
    prompt = None
    if model.audio_prompt_adaln_single is not None:
        prompt, _ = _embedded(model.audio_prompt_adaln_single, sigma)
    rope = rotary_table(probe)
    for block in model.transformer_blocks:
        assert isinstance(block, Block)
        _compare_block(block, seen, (modulation, prompt, probe.contexts[:_CLIPS]), rope, compare)
    h = seen[model.transformer_blocks[-1]][1].float()
    shift, scale = (model.audio_scale_shift_table.float()[:, None, None] + embedded).unbind(0)
    centred = h - h.mean(dim=-1, keepdim=True)
    wanted = _rms(centred) * (1 + scale) + shift
    compare("head", seen[model.audio_proj_out][0]["input"], wanted)
    _compare_passes(probe, compare)
    return worst


def _compare_block(
    block: Block,
    seen: Any,
    expected: tuple[Tensor, Tensor | None, Tensor],
    rope: tuple[Tensor, Tensor],
    compare: Callable[[str, Tensor, Tensor], None],
) -> None:
    """Compare what a block was given with the expected modulation, prompt's modulation and contexts, then its parts."""
    modulation, prompt, contexts = expected
    given, out = seen[block]
    h = given["h"].float()
    compare("prompt", given["context"], contexts)
    own = modulation.unflatten(-1, (9, -1)) + block.audio_scale_shift_table.float()
    rows, scales = own.unbind(-2), torch.tensor([0.0, 1.0, 0.0] * 3, device=own.device)[:, None]
    # A block may be given its rows as they are used, with 1 added to those that scale.
    found = given["modulation"]
    if ready := not isinstance(found, Tensor):
        found = torch.stack(found, dim=-2)
    compare("modulation", found, own + scales if ready else modulation)
    text = block.audio_prompt_scale_shift_table.float()
    if prompt is not None:
        text = text + prompt.unflatten(-1, (2, -1))
    for part, module, (shift, scale, gate) in (
        ("self-attention", block.audio_attn1, rows[0:3]),
        ("text", block.audio_attn2, rows[6:9]),
        ("feed-forward", block.audio_ff, rows[3:6]),
    ):
        inputs, made = seen[module]
        x = inputs["x"].float()
        compare("norm", x, _rms(h) * (1 + scale) + shift)
        if part == "feed-forward":
            wanted = _feed_forward(module, x)
        else:
            source = x
            if part == "text":
                source = inputs["context"].float()
                shift_kv, scale_kv = text.unbind(-2)
                compare("prompt", source, given["context"].float() * (1 + scale_kv) + shift_kv)
            wanted = _attention(module, x, source, rope if part == "self-attention" else None)
        compare(part, made, wanted)
        h = h + gate * made.float()
    compare("norm", out, h)


@torch.inference_mode()
def encoder_error(gemma: Gemma, states: Sequence[Tensor]) -> float:
    """Return the largest error in one text's states (n, width each) of a text encoder, as a share of their size.

    The first layer is computed once more from the embeddings. The last states must have the size that the final norm
    leaves them.
    """
    c = gemma.config
    sizes, w = c.attention[c.is_local[0]], gemma.read("layers.0.")
    offset = 1.0 if c.family == "Gemma 3" else 0.0

    def norm(x: Tensor, name: str) -> Tensor:
        return _rms(x, c.eps) * (offset + w[name].float())

    def times(x: Tensor, name: str) -> Tensor:
        return x @ w[name].float().T

    x = states[0].float()
    n = norm(x, "input_layernorm.weight")
    heads = {name: times(n, f"self_attn.{name}_proj.weight").unflatten(-1, (-1, sizes.head_dim)) for name in "qk"}
    v = heads["k"]
    if not sizes.keys_are_values:
        v = times(n, "self_attn.v_proj.weight").unflatten(-1, (-1, sizes.head_dim))
    if c.family == "Gemma 4":
        v = _rms(v, c.eps)
    places = torch.arange(len(x), device=x.device)[:, None, None]
    turns = sizes.theta ** (-torch.arange(0, 2 * sizes.rotated, 2, device=x.device) / sizes.head_dim) / sizes.stretch
    angles = torch.nn.functional.pad(places * turns, (0, sizes.head_dim // 2 - sizes.rotated))
    q, k = (_turned(norm(heads[name], f"self_attn.{name}_norm.weight"), (angles.cos(), angles.sin())) for name in "qk")
    k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], dim=1) for each in (k, v))
    scores = torch.einsum("thd,shd->hts", q, k) * c.scale
    hidden = torch.ones_like(scores[0], dtype=torch.bool).triu(1)  # a caption is shorter than any window
    out = torch.einsum("hts,shd->thd", scores.masked_fill(hidden, -math.inf).softmax(-1), v)
    x = x + norm(times(out.flatten(1), "self_attn.o_proj.weight"), "post_attention_layernorm.weight")
    n = norm(x, "pre_feedforward_layernorm.weight")
    n = times(_gelu(times(n, "mlp.gate_proj.weight")) * times(n, "mlp.up_proj.weight"), "mlp.down_proj.weight")
    x = x + norm(n, "post_feedforward_layernorm.weight")
    if "layer_scalar" in w:
        x = x * w["layer_scalar"].float()
    last = states[-1].float() / (offset + gemma.read("norm.")["weight"].float())
    sizes_left = last.square().mean(dim=-1).sqrt()  # NaN where a weight of the norm is 0
    final = float((sizes_left.nan_to_num(1.0) - 1).abs().max())
    return max(final, _share(states[1], x) if c.layers > 1 else 0.0)


@torch.inference_mode()
def projection_error(projection: FeatureProjection, states: Tensor, features: Tensor) -> float:
    """Return the error of one caption's features (n, W), made of its states (n, width, layers), as `encoder_error`."""
    unit = states.float() / (states.float().square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    narrow, wide = states.shape[1], projection.audio_aggregate_embed.out_features
    columns = unit.reshape(len(states), -1) * math.sqrt(wide / narrow)  # the layer runs fastest
    return _share(features, _linear(projection.audio_aggregate_embed, columns))


@torch.inference_mode()
def connector_error(connector: AudioConnector, features: Tensor) -> float:
    """Return the error of the context of one caption's features (n, W), as a share of the context's size."""
    c, count = connector.config, len(features)
    registers = connector.learnable_registers.float()
    rows = [features[s].float() if s < count else registers[s % len(registers)] for s in range(c.context_length)]
    h = torch.stack(rows)[None]  # (1, S, W)
    pairs = c.width // 2
    exponents = torch.linspace(0, 1, pairs, dtype=torch.float64)
    frequencies = (10000.0**exponents * math.pi / 2).float().to(h.device)
    places = torch.arange(c.context_length, device=h.device) / c.max_position * 2 - 1
    angles = (places[:, None] * frequencies).view(c.context_length, c.heads, -1).transpose(0, 1)[None]
    rope = angles.cos(), angles.sin()
    for block in connector.transformer_1d_blocks:
        n = _rms(h)
        h = h + _attention(block.attn1, n, n, rope)
        h = h + _feed_forward(block.ff, _rms(h))
    return _share(connector(features), _rms(h)[0])


def _share(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt().clamp_min(1e-12))


@torch.inference_mode()
def vocoder_error(vocoder: Vocoder, mel: Tensor) -> float:
    """Return the largest error of the two stages and of the mel between them, for a log-mel (1, 2, F, bins).

    The first stage is clamped, the second is not before it adds to the first one's interpolation. A frame of the mel
    between them ends where its hop does. A base's second stage may be all but silent, so it is also heard loud.
    """
    low = vocoder.vocoder.unclamped(mel.float()).clamp(-1, 1)  # (1, 2, n)
    front = vocoder.mel_stft
    padded = torch.nn.functional.pad(low, (front.n_fft - front.hop, -low.shape[-1] % front.hop))
    basis = front.stft_fn.get_buffer("forward_basis")[:, 0]  # (n_fft + 2, n_fft)
    real, imaginary = (padded.unfold(-1, front.n_fft, front.hop) @ basis.T).chunk(2, dim=-1)
    between = ((real**2 + imaginary**2).sqrt() @ front.get_buffer("mel_basis").T).clamp_min(1e-5).log()
    whole = padded[..., front.n_fft - front.hop :]
    added = vocoder.bwe_generator.unclamped(between)
    out = (added + vocoder.skip(whole)).clamp(-1, 1)
    found = vocoder(mel)
    with _loud(vocoder.bwe_generator, between) as wanted:
        loud = _share(vocoder.bwe_generator(between), wanted)
    return max(
        loud,
        _share(vocoder.vocoder(mel.float()), low),
        _share(front(whole).transpose(2, 3), between),
        _share(vocoder.bwe_generator(between), added),
        _share(found, out[..., : found.shape[-1]]),
    )


@contextmanager
def _loud(generator: Generator, mel: Tensor) -> Iterator[Tensor]:
    """Give the generator a last convolution of noise with which it gives sound of deviation 1. Yield that sound."""
    last = generator.conv_post.weight
    usual = last.clone()
    try:
        last.copy_(torch.randn(last.shape, generator=torch.Generator().manual_seed(0)))
        last.div_(generator.unclamped(mel).std())
        yield generator.unclamped(mel)
    finally:
        last.copy_(usual)


def _feed_forward(module: Any, x: Tensor) -> Tensor:
    return _linear(module.net[2], _gelu(_linear(module.net[0].proj, x)))


def _attention(module: Any, x: Tensor, source: Tensor, rope: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return gated attention (N, T, W) of x (N, T, W) to a source (N, S, W)."""
    heads = module.heads
    q = _rms(_linear(module.to_q, x)) * module.q_norm.weight.float()
    k = _rms(_linear(module.to_k, source)) * module.k_norm.weight.float()
    v = _linear(module.to_v, source)
    q, k, v = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (q, k, v))
    if rope is not None:
        q, k = _turned(q, rope), _turned(k, rope)
    weights = torch.softmax(torch.einsum("nhtd,nhsd->nhts", q, k) / math.sqrt(q.shape[-1]), dim=-1)
    out = torch.einsum("nhts,nhsd->nthd", weights, v)
    gate = 2 / (1 + torch.exp(-_linear(module.to_gate_logits, x)))
    return _linear(module.to_out[0], (out * gate[..., None]).flatten(2))


def _turned(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    half, (cos, sin) = x.shape[-1] // 2, rope
    swapped = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * torch.cat((cos, cos), dim=-1) + swapped * torch.cat((sin, sin), dim=-1)


def _compare_passes(probe: Probe, compare: Callable[[str, Tensor, Tensor], None]) -> None:
    """Compare a mask that hides nothing with none, and the self-attention of a bypassed block with its values."""
    latents, contexts = probe.latents[:_CLIPS], probe.contexts[:_CLIPS]
    model, sigma = probe.model, torch.full((_CLIPS,), LEVEL, device=latents.device)
    inputs = (latents, sigma[:, None], sigma, contexts, probe.rope)
    mask = torch.ones(contexts.shape[:2], dtype=torch.int64, device=sigma.device)
    compare("mask", model(*inputs, context_mask=mask), model(*inputs))
    block = model.transformer_blocks[0]
    assert isinstance(block, Block)
    with _recorded(model) as seen:
        model(*inputs, bypass={0: True})
    given, made = seen[block.audio_attn1]
    x = given["x"].float()
    gate = 2 / (1 + torch.exp(-_linear(block.audio_attn1.to_gate_logits, x)))
    values = _linear(block.audio_attn1.to_v, x).unflatten(-1, (block.audio_attn1.heads, -1)) * gate[..., None]
    compare("bypass", made, _linear(block.audio_attn1.to_out[0], values.flatten(2)))
    compare("patchify", seen[model.audio_patchify_proj][1], _linear(model.audio_patchify_proj, latents))


def _embedded(module: Any, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the modulation and the embedding of timesteps (N, 1), which are scaled already."""
    first, second = module.emb.timestep_embedder.linear_1, module.emb.timestep_embedder.linear_2
    half = first.in_features // 2
    angles = timesteps[..., None] * torch.tensor([10000.0 ** (-i / half) for i in range(half)], device=timesteps.device)
    embedded = _linear(second, _silu(_linear(first, torch.cat((angles.cos(), angles.sin()), dim=-1))))
    return _linear(module.linear, _silu(embedded)), embedded


def _linear(layer: Any, x: Tensor) -> Tensor:
    """Return the layer's result in fp32."""
    out = x.float() @ widened(layer.weight).T
    return out if layer.bias is None else out + layer.bias.float()


def _silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _rms(x: Tensor, eps: float = 1e-6) -> Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


@contextmanager
def _recorded(model: AudioTransformer) -> Iterator[dict[nn.Module, tuple[dict[str, Any], Tensor]]]:
    """Keep (inputs by name, output) of the parts that are compared, for the passes within the block."""
    seen: dict[nn.Module, tuple[dict[str, Any], Tensor]] = {}

    def keep(module: nn.Module, arguments: Any, named: Any, out: Tensor) -> None:
        takes = module.unsummed if isinstance(module, Block) else module.forward  # which names what a block is given
        bound = inspect.signature(takes).bind(*arguments, **named)
        seen[module] = (dict(bound.arguments), out)

    modules: list[Any] = [model.audio_patchify_proj, model.audio_proj_out, *model.transformer_blocks]
    for block in model.transformer_blocks:
        modules += [block.audio_attn1, block.audio_attn2, block.audio_ff]
    handles = [module.register_forward_hook(keep, with_kwargs=True) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
