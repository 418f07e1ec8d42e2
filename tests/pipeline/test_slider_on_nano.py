"""The strength of a slider moves what is heard, on nano, from two prompts and nothing else. It takes a minute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soundlora import Generator, LoraUse, train

pytestmark = pytest.mark.slow
SECONDS = 1.0


def centroid(sound: np.ndarray) -> float:
    """The middle of a power spectrum, in shares of the sample rate."""
    power = np.square(np.abs(np.fft.rfft(sound.mean(axis=0))))
    return float((np.arange(len(power)) * power).sum() / power.sum() / sound.shape[1])


def test_a_bell_gets_higher_with_the_strength(tmp_path: Path) -> None:
    result = train(
        out=tmp_path / "run",
        slide_from="a low church bell",
        slide_to="a high church bell",
        duration=SECONDS,
        steps=150,
        validation_prompts=[],
    )
    means = []
    for strength in (-1.0, 0.0, 1.0):
        generator = Generator(loras=[LoraUse(str(result.lora), strength)])
        takes = generator.takes("a church bell", range(4), duration=SECONDS)
        means.append(np.mean([centroid(take.waveform.numpy()) for take in takes]))
    assert means == sorted(means)
    assert means[2] > 2 * means[0]
