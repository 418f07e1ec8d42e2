"""This module makes a LoRA's steps go further: the transformer gets smaller weights, and larger values around them.

A LoRA's layers learn at 2e-4, a rate that suits a width of thousands. The effect of Adam's step on a layer's output
grows with the layer's width, so a thousand such steps are few at nano's width of 192. Every layer that a LoRA adapts
stands behind a modulation or in front of a gate. The values there can be larger by a factor, and the layer's weights
smaller by the same factor. The base then computes the same, and a LoRA's step changes its output by the factor more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soundlora.model.transformer import AudioTransformer, Block

# The factors are powers of two, so that weights in bf16 lose nothing. The attention to text has the larger one. A
# trigger phrase differs from other prompts there, so more of what a LoRA learns stays with its own phrase.
FACTOR, TEXT_FACTOR = 4.0, 16.0
# The rows of a block's table are shift, scale and gate of self-attention, feed-forward and attention to text.
SCALES, TEXT, ROWS = (1, 4, 7), slice(6, 9), 9
PROMPT_SCALES, PROMPT_ROWS = (1,), 2


@torch.no_grad()
def strengthen(model: AudioTransformer, factor: float = FACTOR, text_factor: float = TEXT_FACTOR) -> None:
    """Change the model in place. A call with `1 / factor` and `1 / text_factor` reverses it."""
    rows = torch.full((ROWS, 1), factor)
    rows[TEXT] = text_factor
    prompt_rows = torch.full((PROMPT_ROWS, 1), text_factor)
    _multiply_rows(model.audio_adaln_single.linear, rows)
    assert model.audio_prompt_adaln_single is not None
    _multiply_rows(model.audio_prompt_adaln_single.linear, prompt_rows)
    for block in model.transformer_blocks:
        assert isinstance(block, Block)
        for table, share, scales in (
            (block.audio_scale_shift_table, rows, SCALES),
            (block.audio_prompt_scale_shift_table, prompt_rows, PROMPT_SCALES),
        ):
            table.mul_(share)
            table[list(scales)] += share[list(scales)] - 1  # The model multiplies by 1 + scale.
        for attention, by in ((block.audio_attn1, factor), (block.audio_attn2, text_factor)):
            for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_gate_logits):
                layer.weight.div_(by)
            _divide(attention.to_out[0], by)
        block.audio_ff.get_parameter("net.0.proj.weight").div_(factor)
        _divide(block.audio_ff.net[2], factor)


def _multiply_rows(layer: nn.Linear, rows: Tensor) -> None:
    """Multiply the outputs of a layer, which are the rows of a table one after the other."""
    layer.weight.view(len(rows), -1).mul_(rows)
    layer.bias.view(len(rows), -1).mul_(rows)


def _divide(layer: nn.Module, factor: float) -> None:
    assert isinstance(layer, nn.Linear)
    layer.weight.div_(factor)
    layer.bias.div_(factor)
