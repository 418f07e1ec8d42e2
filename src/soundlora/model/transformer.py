"""The audio stream of the LTX 2.3 and 2.5 diffusion transformers.

The video stream and the cross-modal attention between the two are left out: with no video they contribute nothing
(the reference gives bit-equal results either way). Module names are those of the checkpoint. In shapes B is samples,
T tokens, C latent channels, S tokens of the context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from soundlora.model.attention import Attention, FeedForward, rms_norm
from soundlora.model.config import TransformerConfig
from soundlora.model.rope import Rope, rope_table

# The blocks that skip their self-attention in spatio-temporal guidance, for all samples (True) or some (bool, (B,)).
Bypass = Mapping[int, "Tensor | bool"]

# A block's output before its last sum is taken: h + result · gate, (B, T, width) each, the gate (B, T or 1, width).
Sum = tuple[Tensor, Tensor, Tensor]

_SINUSOID_CHANNELS = 256


class _TimestepEmbedder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(_SINUSOID_CHANNELS, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        half = _SINUSOID_CHANNELS // 2
        frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, device=t.device, dtype=torch.float32))
        angles = t.float().unsqueeze(-1) * frequencies  # (B, T, 128)
        sinusoid = torch.cat((angles.cos(), angles.sin()), dim=-1).to(dtype)  # (B, T, 256), cosine first
        result: Tensor = self.linear_2(F.silu(self.linear_1(sinusoid)))
        return result


class _Embedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.timestep_embedder = _TimestepEmbedder(width)


class AdaLayerNormSingle(nn.Module):
    """Turns timesteps into rows of shift, scale and gate that all blocks share (PixArt-α's adaLN-single)."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.emb = _Embedding(width)
        self.linear = nn.Linear(width, rows * width)

    def forward(self, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return modulation (B, T, rows·width) and embedding (B, T, width) of timesteps t (B, T), already scaled."""
        embedded: Tensor = self.emb.timestep_embedder(t, dtype)
        return self.linear(F.silu(embedded)), embedded


class Block(nn.Module):
    """Self-attention, attention to the text context, feed-forward; each modulated by the timestep."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.eps = c.norm_eps
        self.audio_attn1 = Attention(c.width, c.width, c.heads, c.head_dim, c.norm_eps)
        self.audio_attn2 = Attention(c.width, c.context_dim, c.heads, c.head_dim, c.norm_eps)
        self.audio_ff = FeedForward(c.width, c.ff_bias)
        # The nine rows are shift, scale and gate of self-attention, of the feed-forward and of attention to the text.
        self.audio_scale_shift_table = nn.Parameter(torch.zeros(9, c.width))
        self.audio_prompt_scale_shift_table = nn.Parameter(torch.zeros(2, c.context_dim))

    def forward(self, h: Tensor | Sum, *given: Any, **named: Any) -> Tensor:
        """Return h (B, T, width) after the block. The arguments are those of `unsummed`."""
        return torch.addcmul(*self.unsummed(h, *given, **named))

    def unsummed(
        self,
        h: Tensor | Sum,
        modulation: Tensor | tuple[Tensor, ...],
        context: Tensor,
        prompt_modulation: Tensor | None,
        rope: Rope,
        context_mask: Tensor | None,
        attention_mask: Tensor | None,
        bypass: Tensor | bool,
        context_of: Tensor | None = None,
        projected: Tensor | None = None,
        whole: bool = False,
        modulated: bool = False,
    ) -> Sum:
        """Return h (B, T, width) after the block, of which the last sum is not taken.

        The next block takes it in one call with its own first operations, where these are compiled. The arguments are
        those that `AudioTransformer.forward` prepares.

        modulation: (B, T or 1, 9·width), or the nine rows (B, 1, width) that `_own_rows` makes of it.
        modulated: whether the context is as keys and values are made of it.
        """
        if not isinstance(h, Tensor):
            h = torch.addcmul(*h)
        if isinstance(modulation, Tensor):
            modulation = _own_rows(modulation, self.audio_scale_shift_table).unbind(-2)
        # Scales have a 1 added.
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff, shift_q, scale_q, gate_ca = modulation

        n = torch.addcmul(shift_sa, rms_norm(h, self.eps), scale_sa)
        h = torch.addcmul(h, self.audio_attn1(n, rope=rope, mask=attention_mask, bypass=bypass), gate_sa)
        n = torch.addcmul(shift_q, rms_norm(h, self.eps), scale_q)
        ready = whole or modulated  # keys and values may be known already
        c = context if ready else self.modulated(context, prompt_modulation)
        heard = self.audio_attn2(n, c, mask=context_mask, context_of=context_of, projected=projected, whole=whole)
        h = torch.addcmul(h, heard, gate_ca)
        n = torch.addcmul(shift_ff, rms_norm(h, self.eps), scale_ff)
        return h, self.audio_ff(n), gate_ff

    def modulated(self, context: Tensor, prompt_modulation: Tensor | None) -> Tensor:
        """Return the context (B, S, D) as its keys and values are made of it."""
        return _modulated(context, prompt_modulation, self.audio_prompt_scale_shift_table)


class AudioTransformer(nn.Module):
    """Predicts the velocity (noise − clean) of noisy audio latents.

    With `checkpointing` a block's activations are computed again in the backward pass instead of being kept. Gradients
    stay the same; memory is much less, work half as much again. Of an `offloaded` model the weights of some blocks come
    to the device and go, see `training/offload.py`. The functions in `compiled` take the blocks' places wherever
    gradients are recorded, and may leave a block's last sum to the next one, see `training/gradient.py`.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = self.config = config
        self.checkpointing = False
        self.offloaded = False
        self.compiled: list[Callable[..., Tensor | Sum]] = []
        self.audio_patchify_proj = nn.Linear(c.in_channels, c.width)
        self.audio_adaln_single = AdaLayerNormSingle(c.width, rows=9)
        # Without it a prompt is the same at every noise level.
        self.audio_prompt_adaln_single = AdaLayerNormSingle(c.width, rows=2) if c.prompt_adaln else None
        self.transformer_blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.audio_scale_shift_table = nn.Parameter(torch.zeros(2, c.width))
        self.audio_proj_out = nn.Linear(c.width, c.out_channels)

    def rope(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> Rope:
        """Return tables for `positions` (B, 1, T, 2), start and end of every token in seconds; see `rope_table`."""
        c = self.config
        middle = positions[:, 0].mean(dim=-1)  # (B, T)
        cos, sin = rope_table(middle, c.max_seconds, c.rope_theta, c.heads, c.head_dim)
        return cos.to(dtype), sin.to(dtype)

    @property
    def text_lasts(self) -> bool:
        """Whether keys and values of a context can be computed once.

        The context is then the same at every noise level, and the weights that make them are there at any time.
        """
        return not self.config.prompt_adaln and not self.offloaded

    @property
    def _keeps_contexts(self) -> bool:
        """Whether each block's own context is kept for a backward pass, so that all may be there from the start."""
        block = self.transformer_blocks[0]
        assert isinstance(block, Block)
        learns = any(parameter.requires_grad for parameter in block.audio_attn2.to_k.parameters())
        return learns and torch.is_grad_enabled() and not self.checkpointing

    def _of_all_blocks(self, name: str) -> Tensor:
        """Return a parameter of every block, (blocks, 1, 1, rows, columns)."""
        return torch.stack([block.get_parameter(name) for block in self.transformer_blocks])[:, None, None]

    @torch.no_grad()
    def project_text(self, context: Tensor, whole: bool = False) -> Tensor:
        """Return keys and values of contexts (B, S, D) for every block, (B, blocks, S, 2·width), in the weights' type.

        They hold for every noise level, and without an adapter's share (`whole` is False) for a whole training. Raises
        ValueError unless `text_lasts`.
        """
        if not self.text_lasts:
            raise ValueError("the noise level modulates prompts, or blocks are offloaded: keys and values don't stay")
        context = context.to(self.audio_scale_shift_table.dtype)
        count, tokens = context.shape[:2]
        result = context.new_empty(count, len(self.transformer_blocks), tokens, 2 * self.config.width)
        for index, block in enumerate(self.transformer_blocks):
            assert isinstance(block, Block)
            result[:, index] = block.audio_attn2.project(block.modulated(context, None), whole)
        return result

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        sigma: Tensor,
        context: Tensor,
        rope: Rope,
        *,
        context_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        bypass: Bypass | None = None,
        context_of: Tensor | None = None,
        projected: Tensor | None = None,
        whole: bool = False,
        given: Tensor | None = None,
    ) -> Tensor:
        """Return the velocity (B, T, C) of noisy latents x (B, T, C).

        timesteps: (B, T), or (B, 1) when all tokens of a sample share one, in [0, 1].
        sigma: (B,), noise level of the sample; it modulates the text context, unless the base's prompts are the same at
            every level.
        context: (B, S, context_dim), output of the audio connector.
        rope: tables from `rope()`.
        context_mask: None, (B, S) of 1 and 0, or an additive float mask (B, 1, 1, S).
        attention_mask: None, or (B, T, T) or (B, 1, T) in [0, 1]; its logarithm is added to the scores.
        bypass: blocks (counted from 0) whose self-attention is bypassed, see `Attention.forward`.
        context_of: (B,), the number of the context that each sample attends to; there may then be fewer contexts than
            samples, and sigma and context_mask are those of the contexts. None: every sample has its own.
        projected, whole: keys and values of the contexts from `project_text`, called with this `whole`; None makes them
            anew.
        given: (1 or B, T) bool, tokens whose timestep is 0, whatever `timesteps` (B, 1) says of the others.
        """
        c = self.config
        dtype = self.audio_scale_shift_table.dtype  # that of the weights, and so of the computation
        h = self.audio_patchify_proj(x.to(dtype))  # (B, T, width)
        context = context.to(dtype)
        if given is not None:  # of two levels a sample, the modulation is computed twice and not for every token
            timesteps = torch.cat((timesteps, torch.zeros_like(timesteps)), dim=1)  # (B, 2)
        modulation, embedded = self.audio_adaln_single(timesteps * c.timestep_scale, dtype)
        if given is not None:
            modulation, embedded = (
                torch.where(given[..., None], rows[:, 1:], rows[:, :1]) for rows in (modulation, embedded)
            )  # (B, T, 9·width), (B, T, width)
        prompt_modulation = None
        if self.audio_prompt_adaln_single is not None:
            prompt_modulation, _ = self.audio_prompt_adaln_single(sigma[:, None] * c.timestep_scale, dtype)
        text_mask = None if context_mask is None else _additive_context_mask(context_mask, dtype)
        if text_mask is not None and context_of is not None:
            text_mask = text_mask[context_of]
        self_mask = None if attention_mask is None else _additive_self_mask(attention_mask, dtype)
        bypass = bypass or {}
        each: list[Tensor | tuple[Tensor, ...]] = [modulation] * c.layers
        if modulation.shape[1] == 1 and not self.offloaded:  # all blocks at once; it is little memory
            rows = _own_rows(modulation, self._of_all_blocks("audio_scale_shift_table"))  # (blocks, B, 1, 9, width)
            each = [block_rows.unbind(-2) for block_rows in rows]
        contexts, modulated = [context] * c.layers, self._keeps_contexts and not whole
        if modulated:  # all blocks at once, too
            tables = self._of_all_blocks("audio_prompt_scale_shift_table")
            contexts = list(_modulated(context, prompt_modulation, tables))  # (B, S, D) each
        compiled = self.compiled if torch.is_grad_enabled() else []
        state: Tensor | Sum = h
        for index, block in enumerate(compiled or [*self.transformer_blocks]):
            perturbed = bypass.get(index, False)
            known = None if projected is None else projected[:, index]
            inputs = (
                *(state, each[index], contexts[index], prompt_modulation, rope, text_mask, self_mask, perturbed),
                *(context_of, known, whole, modulated),
            )
            if self.checkpointing and torch.is_grad_enabled():
                # Nothing in a block is random, so the second pass needs no random state of the first.
                state = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                state = block(*inputs)
        h = state if isinstance(state, Tensor) else torch.addcmul(*state)
        shift, scale = (embedded.unsqueeze(-2) + self.audio_scale_shift_table).unbind(-2)
        y = F.layer_norm(h, h.shape[-1:], eps=c.norm_eps)
        result: Tensor = self.audio_proj_out(torch.addcmul(shift, y, 1 + scale))
        return result.to(x.dtype)


def _modulated(context: Tensor, modulation: Tensor | None, table: Tensor) -> Tensor:
    """Return a context (B, S, D) as the keys and values of a block are made of it, or (…, B, S, D) for several blocks.

    modulation: that of the prompt, (B, 1, 2·D), if there is one. table: (2, D), or (…, 1, 1, 2, D), of shift and scale.
    """
    rows = table if modulation is None else modulation.unflatten(-1, (2, -1)) + table
    shift, scale = rows.unbind(-2)
    return torch.addcmul(shift, context, 1 + scale)


def _own_rows(modulation: Tensor, table: Tensor) -> Tensor:
    """Return the rows (…, 9, width) of shifts, scales and gates, scales with a 1 added, of a modulation (…, 9·width).

    table: (…, 9, width), the block's own rows.
    """
    rows: Tensor = modulation.unflatten(-1, (9, -1)) + table
    rows[..., 1::3, :] += 1
    return rows


def bypass_blocks(blocks: Collection[int] | None, layers: int, samples: Tensor | bool = True) -> Bypass:
    """Return the perturbation of `samples` (True, or a bool tensor (B,)) in the given blocks; None means all blocks."""
    return {index: samples for index in (range(layers) if blocks is None else blocks)}


def denoised(x: Tensor, velocity: Tensor, timesteps: Tensor) -> Tensor:
    """Return the clean latents (B, T, C) predicted from x, its velocity and its timesteps (B, T) or (B, 1).

    The sum is taken in fp32; the result has x's type.
    """
    return (x.float() - velocity.float() * timesteps.float().unsqueeze(-1)).to(x.dtype)


def _additive_context_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.is_floating_point():
        return mask.to(dtype)
    return ((mask.to(dtype) - 1) * torch.finfo(dtype).max)[:, None, None, :]


def _additive_self_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    bias = torch.where(mask > 0, mask.clamp_min(torch.finfo(torch.float32).tiny).log(), torch.finfo(dtype).min)
    return bias.to(dtype).unsqueeze(1)
