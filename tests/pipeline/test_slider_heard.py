"""A slider trained on nano moves what is heard from one end to the other, as docs/loras.md says of church bells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from soundlora.pipeline.generate import Generator
from soundlora.pipeline.lora_use import LoraUse
from soundlora.pipeline.train import train

pytestmark = pytest.mark.slow
STRENGTHS = (-1.0, 0.0, 1.0)


def centroid(waveform: Tensor, rate: int) -> float:
    """Return the centroid of the power spectrum of a waveform (channels, samples), in Hz."""
    power = torch.fft.rfft(waveform.mean(dim=0).double()).abs().square()
    hertz = torch.fft.rfftfreq(waveform.shape[-1], 1 / rate, dtype=torch.float64)
    return float((power * hertz).sum() / power.sum())


def test_low_and_high_bells_lie_at_the_ends_of_the_strength(tmp_path: Path) -> None:
    run = train(
        out=tmp_path / "bells",
        slide_from="a low church bell",
        slide_to="a high church bell",
        duration=2.5,
        steps=400,
        validation_prompts=[],
    )
    heard = {}
    for strength in STRENGTHS:
        generator = Generator(loras=[LoraUse(str(run.lora), strength)])
        sounds = generator.takes("a church bell", range(4), duration=2.5)
        heard[strength] = [centroid(sound.waveform, sound.sample_rate) for sound in sounds]
    low, middle, high = (sum(heard[strength]) / 4 for strength in STRENGTHS)
    assert low < 0.6 * middle, heard
    assert high > 1.5 * middle, heard
    assert max(heard[-1.0]) < 250, "every seed is a low bell"
    assert min(heard[1.0]) > 500, "every seed is a high bell"
