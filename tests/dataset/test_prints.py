"""Copies are found by their fingerprints; other moments of one steady sound are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundlora.dataset.frames import measured
from soundlora.dataset.prints import Prints

RATE = 48_000


def print_of(folder: Path, samples: np.ndarray) -> np.ndarray:
    soundfile.write(folder / "a.wav", samples, RATE, "FLOAT")
    [found] = measured(folder / "a.wav")
    return found.prints


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise of a colour, as rain has one."""
    white = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * RATE), 1))
    return (white[2:] + 0.9 * white[1:-1] + 0.5 * white[:-2]).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.6, 1.0, 5.0])
@pytest.mark.parametrize(
    "change",
    [
        lambda sound: sound,
        lambda sound: sound * np.float32(0.2),
        lambda sound: sound + np.random.default_rng(9).normal(0, 0.002, sound.shape).astype(np.float32),
    ],
    ids=["the same", "quieter", "with a little noise"],
)
def test_copies_are_found(tmp_path: Path, seconds: float, change: object) -> None:
    known = Prints()
    known.add("first", print_of(tmp_path, noise(seconds, 1)))
    known.add("second", print_of(tmp_path, noise(seconds, 2)))

    assert callable(change)
    assert known.same(print_of(tmp_path, change(noise(seconds, 2)))) == "second"


def test_a_copy_that_is_cut_later_is_found(tmp_path: Path) -> None:
    sound = noise(6.0)
    known = Prints()
    known.add("first", print_of(tmp_path, sound)[:100])

    assert known.same(print_of(tmp_path, sound)[7:107]) == "first"
    assert known.same(print_of(tmp_path, sound[12_000:])[:100]) == "first"


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_moments_of_the_same_rain_are_different(tmp_path: Path, seconds: float) -> None:
    prints = print_of(tmp_path, noise(120.0))
    length = round(seconds * 20)
    known = Prints()
    for number in range(len(prints) // length):
        piece = prints[number * length : (number + 1) * length]
        assert known.same(piece) is None
        known.add(str(number), piece)


def test_silence_is_no_copy_of_silence(tmp_path: Path) -> None:
    silence = print_of(tmp_path, np.zeros((2 * RATE, 1), np.float32))
    known = Prints()
    known.add("first", silence)

    assert known.same(silence) is None
