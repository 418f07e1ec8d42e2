from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from soundlora.audio.spectrogram import HEIGHT, HIGHEST_HZ, LOWEST_HZ, WIDTH, levels, side_by_side


def sine(frequency: float, rate: int, seconds: float = 1.0, peak: float = 1.0) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)[None]


def row_of(frequency: float) -> float:
    """The row of a picture where the frequency belongs, counted from the top."""
    return float(np.log(HIGHEST_HZ / frequency) / np.log(HIGHEST_HZ / LOWEST_HZ) * (HEIGHT - 1))


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("frequency", [200.0, 1_000.0, 6_000.0])
def test_a_tone_is_a_bright_line_at_its_pitch_and_level(rate: int, frequency: float) -> None:
    middle = levels(sine(frequency, rate), rate, 1.0)[:, WIDTH // 2]
    assert middle.argmax() == pytest.approx(row_of(frequency), abs=3)
    assert middle.max() >= 245  # full scale is 255, and a pitch between two bins is a little lower
    assert levels(sine(frequency, rate, peak=0.01), rate, 1.0)[:, WIDTH // 2].max() == pytest.approx(
        middle.max() - 0.4 * 255, abs=2
    )


def test_time_runs_to_the_right_and_what_a_rate_cannot_hold_is_dark() -> None:
    picture = levels(np.pad(sine(1_000, 16_000, 0.5), ((0, 0), (8_000, 0))), 16_000, 2.0)
    row = picture[round(row_of(1_000))]
    assert row[: WIDTH // 4 - 12].max() < 60
    assert row[WIDTH // 4 + 12 : WIDTH // 2 - 12].min() > 200
    assert row[WIDTH // 2 + 12 :].max() < 60
    assert not picture[: int(row_of(8_000))].any()


def test_the_png_is_read_by_others_and_holds_both_sounds() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 44_100)).astype(np.float32)
    image = Image.open(io.BytesIO(side_by_side([(noise, 44_100), (0 * noise[:, :9], 48_000)])))
    image.load()
    assert image.format == "PNG"
    assert image.size == (2 * WIDTH + 6, HEIGHT)
    colours = np.asarray(image.convert("RGB")).astype(int).sum(axis=2)
    assert colours[20:150, 10 : WIDTH - 10].mean() > 200
    assert colours[:, WIDTH + 8 :].max() < 30
    assert colours[0, WIDTH + 2] == colours.max() > 600
