"""How far a LoRA's step goes: the transformer written with smaller weights and larger values around them.

A LoRA's layers learn at the rate that suits a width of thousands, 2e-4. What Adam's step does to a layer's output grows
with the layer's width, so at nano's width of 192 a thousand such steps are few. Every layer that a LoRA adapts stands
behind a modulation or in front of a gate. There the values can be larger by a factor and the layer's weights smaller
by the same: the base computes what it did, and a LoRA's step changes its output by the factor more.
"""

from __future__ import annotations

import torch
from torch import nn

from soundlora.model.transformer import AudioTransformer, Block

FACTOR = 4.0  # a power of two, so that weights in bf16 lose nothing
# Rows of a block's table: shift, scale, gate; of self-attention, of the feed-forward, of the attention to text.
SCALES, PROMPT_SCALES = (1, 4, 7), (1,)


@torch.no_grad()
def strengthen(model: AudioTransformer, factor: float = FACTOR) -> None:
    """In place; `1 / factor` takes it back."""
    for modulation in (model.audio_adaln_single, model.audio_prompt_adaln_single):
        _multiply(modulation.linear, factor)
    for block in model.transformer_blocks:
        assert isinstance(block, Block)
        for table, scales in (
            (block.audio_scale_shift_table, SCALES),
            (block.audio_prompt_scale_shift_table, PROMPT_SCALES),
        ):
            table.mul_(factor)
            table[list(scales)] += factor - 1  # it is 1 + scale that multiplies
        for attention in (block.audio_attn1, block.audio_attn2):
            for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_gate_logits):
                layer.weight.div_(factor)
            _multiply(attention.to_out[0], 1 / factor)
        first, last = block.audio_ff.net[0].proj, block.audio_ff.net[2]
        first.weight.div_(factor)
        _multiply(last, 1 / factor)


def _multiply(layer: nn.Module, factor: float) -> None:
    assert isinstance(layer, nn.Linear)
    layer.weight.mul_(factor)
    layer.bias.mul_(factor)
