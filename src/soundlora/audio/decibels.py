"""Levels in dB relative to full scale."""

from __future__ import annotations

import math

LOWEST = -120.0  # dB; silence has no level, and any below the noise of 16 bits will do


def decibels(amplitude: float) -> float:
    """Return the level in dB of an amplitude, of which 1 is full scale; it is at least `LOWEST`."""
    return max(LOWEST, 20 * math.log10(amplitude)) if amplitude > 0 else LOWEST
