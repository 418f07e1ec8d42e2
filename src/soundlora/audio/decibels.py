"""Levels in dB relative to full scale."""

from __future__ import annotations

import math

LOWEST = -120.0  # below 16 bits' own noise nothing can be told from nothing


def decibels(amplitude: float) -> float:
    """Of an amplitude, of which 1 is full scale; at least `LOWEST`."""
    return max(LOWEST, 20 * math.log10(amplitude)) if amplitude > 0 else LOWEST
