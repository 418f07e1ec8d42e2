"""Whether a device can have the kernels."""

from __future__ import annotations

import importlib.util

import torch

from soundlora.lora.joint import Kernels
from soundlora.training.kernels.notice import tell

_OLDEST = (8, 0)
"""Ampere, the first generation whose tensor cores multiply bf16."""


def fused(device: torch.device, tunes: bool) -> Kernels | None:
    """Return the kernels for a device, or None after a sentence on stderr.

    tunes: whether tile sizes are tried out that this machine has not tried yet. It takes about as long as compiling.
    """
    try:
        lacks = lacking(device)
        if lacks is None:
            from soundlora.training.kernels.launch import on_card  # it imports Triton

            return on_card(device, tunes)
    except Exception as error:  # Triton may find its driver, its compiler or a header missing, each in its own words
        tell(error)
        return None
    tell(lacks)
    return None


def lacking(device: torch.device) -> str | None:
    """Return what the kernels lack here, None if nothing."""
    if device.type != "cuda" or torch.version.hip:
        return "the kernels are made for NVIDIA's GPUs"
    if torch.cuda.get_device_capability(device) < _OLDEST:
        return f"{torch.cuda.get_device_name(device)} is older than the kernels take"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install triton, on Windows triton-windows, brings it"
    return None
