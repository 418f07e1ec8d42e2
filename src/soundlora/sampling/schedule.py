"""The noise levels that sampling steps through."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BASE_SHIFT, MAX_SHIFT = 0.95, 2.05
_BASE_TOKENS, _MAX_TOKENS = 1024, 4096
_TERMINAL = 0.1  # the last noise level before 0


def shift(tokens: int) -> float:
    """Return μ, by which the noise levels of `tokens` tokens are shifted towards 1. It is linear, without bounds."""
    return _BASE_SHIFT + (tokens - _BASE_TOKENS) * (MAX_SHIFT - _BASE_SHIFT) / (_MAX_TOKENS - _BASE_TOKENS)


def sigmas(steps: int, tokens: int = _MAX_TOKENS) -> Tensor:
    """Return the noise levels (steps + 1,) of LTX 2.3's sampler, from 1 down to 0.1, then 0.

    The reference samples audio of any length with the shift of 4,096 tokens, though it trains with the shift of the
    true number; both are kept.
    """
    linear = torch.linspace(1, 0, steps + 1)
    e = math.exp(shift(tokens))
    shifted = torch.where(linear > 0, e / (e + (1 / linear - 1)), 0.0)  # (steps + 1,)
    if steps > 1:  # with one step the last level above 0 is also the first, and stays 1
        stretch = (1 - shifted[-2]) / (1 - _TERMINAL)
        shifted[:-1] = 1 - (1 - shifted[:-1]) / stretch
    return shifted
