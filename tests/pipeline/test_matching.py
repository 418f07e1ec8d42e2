"""What was made gets the level and colour of the file that it stands in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from soundlora.model.mel import resample
from soundlora.pipeline.matching import MOST_DB, matched

RATE = 48_000


def noise(seconds: float, seed: int) -> Tensor:
    return 0.1 * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def dull(sound: Tensor) -> Tensor:
    """Return a sound without what lies above 4 kHz but for a quarter of it."""
    low = resample(resample(sound, RATE, 8_000), 8_000, RATE)[:, : sound.shape[1]]
    return low + 0.25 * (sound - low)


def level(sound: Tensor, low: float, high: float) -> float:
    """Return the level in dB between two frequencies."""
    frequency = torch.fft.rfftfreq(sound.shape[1], 1 / RATE)
    power = torch.fft.rfft(sound).abs().square().sum(dim=0)
    return float(10 * power[(frequency >= low) & (frequency < high)].mean().log10())


@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_the_level_is_the_files(gain: float) -> None:
    original, made = noise(1.0, 1), noise(1.0, 2)
    out = matched(gain * made, original, gain * original, RATE)
    assert level(out, 100, 20_000) == pytest.approx(level(made, 100, 20_000), abs=0.1)


def test_the_colour_is_the_files() -> None:
    original, made = noise(2.0, 1), noise(2.0, 2)
    out = matched(dull(made), original, dull(original), RATE)
    for low, high in ((200, 2_000), (6_000, 18_000)):
        assert level(dull(made), low, high) < level(made, low, high) - 10 or low == 200
        assert level(out, low, high) == pytest.approx(level(made, low, high), abs=0.5)


def test_a_copy_that_is_the_file_changes_nothing() -> None:
    original, made = noise(1.0, 1), noise(1.0, 2)
    assert matched(made, original, original, RATE) == pytest.approx(made, abs=1e-5)


def test_a_band_that_the_codec_has_lost_is_raised_within_bounds() -> None:
    original, made = noise(1.0, 1), noise(1.0, 2)
    out = matched(made, original, 1e-3 * original, RATE)
    assert level(out, 100, 20_000) == pytest.approx(level(made, 100, 20_000) + MOST_DB, abs=0.1)


def test_silence_between_hits_says_nothing_of_their_level() -> None:
    """The codec hisses where the file is silent; the hits themselves are the same."""
    original, made = noise(2.0, 1), noise(2.0, 2)
    original[:, RATE // 2 :] = 0
    copy = original + 1e-4 * noise(2.0, 3) / 0.1
    assert level(matched(made, original, copy, RATE), 100, 20_000) == pytest.approx(level(made, 100, 20_000), abs=0.3)


@pytest.mark.parametrize("samples", [0, 1, 500])
def test_too_little_tells_nothing(samples: int) -> None:
    made = noise(1.0, 2)
    assert matched(made, noise(1.0, 1)[:, :samples], made[:, :samples], RATE) is made
    assert torch.equal(matched(made[:, :samples], made, made, RATE), made[:, :samples])


def test_silent_files_stay_silent_or_as_they_are() -> None:
    made, silence = noise(1.0, 2), torch.zeros(2, RATE)
    assert matched(made, silence, silence, RATE) == pytest.approx(made, abs=1e-5)
    assert not matched(silence, made, made, RATE).any()
