"""Weights and biases of layers in torch's lists, which don't say what kind of layer they hold."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Numbers(NamedTuple):
    """A layer's parameters themselves, not copies."""

    weight: nn.Parameter
    bias: nn.Parameter


def numbers_of(layer: nn.Module) -> Numbers:
    """Raises AttributeError where the layer has no weight or no bias."""
    return Numbers(layer.get_parameter("weight"), layer.get_parameter("bias"))
