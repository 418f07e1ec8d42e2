"""The numbers that the parts of a base and of an adapter have. Modules are built on torch's meta device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import torch
from torch import nn

from soundlora.lora.forms import Form
from soundlora.lora.joint import aligned
from soundlora.lora.lokr import shapes_of
from soundlora.lora.targets import GROUPS, PRESETS, target_names
from soundlora.model.audio_vae import AudioVAE
from soundlora.model.config import ModelConfig, TransformerConfig
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.quantize import is_quantized
from soundlora.model.transformer import AudioTransformer
from soundlora.model.vocoder import Vocoder

Module = TypeVar("Module", bound=nn.Module)


@lru_cache
def transformer_weights(c: TransformerConfig, dtype: torch.dtype, quantize: str | None, part: str = "") -> int:
    """Return the bytes of the weights whose names begin with `part`."""
    total = 0
    for name, parameter in _on_meta(lambda: AudioTransformer(c)).named_parameters():
        if not name.startswith(part):
            continue
        if quantize is not None and is_quantized(name):
            # A weight takes two bytes in bf16, else a byte, and two for each row's scale.
            total += 2 * parameter.numel() if quantize == "bf16" else parameter.numel() + 2 * parameter.shape[0]
        else:
            total += parameter.numel() * dtype.itemsize
    return total


@lru_cache
def adapter_numbers(c: TransformerConfig, rank: int, targets: str, form: Form = "lora") -> int:
    """Return the numbers of all that an adapter learns: of A and B, and what other forms have."""
    return sum(math.prod(shape) for shape in _learnt(c, rank, targets, form))


@lru_cache
def adapter_sides(c: TransformerConfig, rank: int, targets: str, form: Form = "lora") -> int:
    """Return the rows and columns of all that an adapter learns together; of a row of numbers all of them."""
    return sum(sum(shape) for shape in _learnt(c, rank, targets, form))


def _learnt(c: TransformerConfig, rank: int, targets: str, form: Form) -> Iterator[tuple[int, ...]]:
    model = _on_meta(lambda: AudioTransformer(c))
    for name in target_names(model, targets):
        outputs, inputs = model.get_parameter(f"{name}.weight").shape
        if form == "lokr":
            yield from shapes_of(outputs, inputs, rank).values()
        else:
            yield from ((rank, inputs), (outputs, rank))


@lru_cache
def encoder_numbers(config: ModelConfig) -> int:
    """Return the numbers of the VAE's encoder."""
    return _numbers(lambda: AudioVAE(config.audio, decoder=False))


@lru_cache
def decoder_numbers(config: ModelConfig) -> int:
    """Return the numbers of the VAE's decoder and the vocoder."""
    vocoder = _numbers(lambda: Vocoder(config.vocoder, config.audio.mel_bins))
    return vocoder + _numbers(lambda: AudioVAE(config.audio, encoder=False))


@lru_cache
def connector_numbers(config: ModelConfig) -> int:
    """Return the numbers of the text's connector."""
    return _numbers(lambda: AudioConnector(config.text))


@lru_cache
def projection_numbers(config: ModelConfig, states: int) -> int:
    """Return the numbers of the projection of the text encoder's features."""
    return _numbers(lambda: FeatureProjection(config.text, states))


@lru_cache
def joint_numbers(c: TransformerConfig, rank: int, targets: str, wide: bool) -> int:
    """Return the numbers of joints beside the layers' weights: A and B, and the zeros between them.

    wide: whether they are one matrix with the weights, and with those of the gates.
    """
    total = 0
    for group, inputs, outputs in joined_sizes(c, targets):
        ranks = aligned(rank * len(group))
        gates = aligned(c.heads) if wide and group[0].endswith("to_q") else 0
        more = gates - c.heads if gates else 0  # zeros below the gates' weights
        # (O + G + R)(I + R) less what the layers and the gates have, see `Joint`
        total += ranks * (outputs + inputs + (gates + ranks) * wide) + more * inputs
    return c.layers * total


@lru_cache
def joined_sizes(c: TransformerConfig, targets: str) -> list[tuple[tuple[str, ...], int, int]]:
    """Return each group of layers that are joined, with its inputs I and its outputs O together."""
    model = _on_meta(lambda: AudioTransformer(replace(c, layers=1)))
    found: list[tuple[tuple[str, ...], int, int]] = []
    for group in GROUPS:
        if set(group) <= set(PRESETS[targets]):
            shapes = [model.get_parameter(f"transformer_blocks.0.{name}.weight").shape for name in group]
            found.append((group, shapes[0][1], sum(rows for rows, _ in shapes)))
    return found


def _numbers(build: Callable[[], nn.Module]) -> int:
    return sum(tensor.numel() for tensor in _on_meta(build).state_dict().values())


def _on_meta(build: Callable[[], Module]) -> Module:
    with torch.device("meta"):
        return build()
