"""The least time that a training step takes on a card, from its bytes and its arithmetic alone.

A product takes as long as the card needs to multiply, or to read its factors and write its result, whichever is longer.
What is kept for the backward pass is written once and read once, and the update reads and writes its numbers. What else
there is to do, and the start of each call, is left out: a step takes longer than this on any card.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from soundlora.model.config import ModelConfig, TransformerConfig
from soundlora.model.latents import training_latents
from soundlora.training.memory_plan import Settings, plan
from soundlora.training.part_sizes import adapter_numbers, joined_sizes


@dataclass(frozen=True)
class Card:
    """What a card does at most, by its maker's data sheet."""

    bandwidth: float  # of its memory, bytes a second
    rate: float  # operations a second of dense products in bf16 that are added up in fp32


CARDS = {
    "B200": Card(8.0e12, 2250e12),
    "H200": Card(4.8e12, 989e12),
    "H100 80GB HBM3": Card(3.35e12, 989e12),
    "H100 NVL": Card(3.9e12, 835e12),
    "H100 PCIe": Card(2.0e12, 756e12),
    "A100": Card(2.04e12, 312e12),  # the one with 80 GB; the other one's memory is slower
    "L40S": Card(0.864e12, 362e12),
    "L4": Card(0.3e12, 121e12),
    "A10": Card(0.6e12, 125e12),
    "RTX 6000 Ada": Card(0.96e12, 364e12),
    "RTX A6000": Card(0.768e12, 155e12),
    "RTX 5090": Card(1.792e12, 210e12),
    "RTX 4090": Card(1.008e12, 165e12),
    "RTX 3090": Card(0.936e12, 71e12),
}
"""Cards by a part of the name that their drivers give them."""


def card_of(name: str) -> Card | None:
    """Return the card of this name, such as "NVIDIA H200", or None for one whose rates are not known here."""
    words = f" {name.replace('-', ' ')} "
    return next((card for part, card in CARDS.items() if f" {part} " in words), None)


def least_seconds(config: ModelConfig, settings: Settings, card: Card) -> float:
    """Return the seconds that a step on `settings.clips` clips, all at once, takes at least.

    The rate is that of bf16: a quantised weight is multiplied in bf16 too, and fp32 takes longer.
    """
    s = settings
    products = sum(max(flop / card.rate, size / card.bandwidth) for flop, size in _products(config, s))
    # Of each number, fp32: the norm reads the gradient, clipping reads and writes it, AdamW reads it, and reads and
    # writes the value and both moments, clearing writes it. The mean is read and written.
    each = 4 + 8 + 4 + 8 + (16 if s.optimizer == "adamw" else 4) + 4 + 8 * s.average
    update = each * adapter_numbers(config.transformer, s.rank, s.targets)
    return products + (2 * plan(config, s).saved + update) / card.bandwidth


def work(config: ModelConfig, settings: Settings) -> int:
    """Return the operations in a step's products."""
    return sum(flop for flop, _ in _products(config, settings))


def _products(config: ModelConfig, s: Settings) -> Iterator[tuple[int, int]]:
    """Yield the operations and the bytes of each product. N rows, I inputs, O outputs, R ranks of a joint's layers."""
    c, wide = config.transformer, s.dtype.itemsize
    held = {None: wide, "bf16": 2}.get(s.quantize, 1)  # bytes of a weight
    tokens = training_latents(s.seconds, config.audio) * (2 if s.given == "reference" else 1)
    context = config.text.context_length
    forward = 2 if s.checkpointing else 1
    adapted = {group for group, _, _ in joined_sizes(c, s.targets)}
    for group, inputs, outputs in joined_sizes(c, "all"):
        text = group[0] == "audio_attn2.to_k"
        rows, rank = s.clips * (context if text else tokens), s.rank * (group in adapted)
        # B is (o, r) for each layer, and A is (r, I): R I and r O numbers.
        low = rank * (len(group) * inputs + outputs)
        known = text and s.captions > 0
        flop = 2 * rows * ((0 if known else inputs * outputs) + low)
        activations = wide * rows * (inputs + outputs)
        moved = activations + (0 if known else held * inputs * outputs)
        for _ in range(c.layers):
            for _ in range(forward):
                yield flop, moved
            if not text:  # the gradient of x; nothing before the text is trained
                yield flop, moved
            if rank:  # those of A and B, in fp32
                yield 2 * rows * low, activations + 4 * low
    yield from _attention(c, s, tokens, context, forward)


def _attention(c: TransformerConfig, s: Settings, tokens: int, context: int, forward: int) -> Iterator[tuple[int, int]]:
    """Yield those of attention: two products forward, and backward five, as the scores are made anew."""
    for keys in (tokens, context):
        flop = 2 * s.clips * tokens * keys * c.width
        moved = 2 * s.dtype.itemsize * s.clips * (tokens + keys) * c.width  # q and the result, k and v
        for _ in range(c.layers):
            yield 2 * forward * flop, forward * moved
            yield 5 * flop, 2 * moved
