"""What is measured of a recording: levels, peaks, onsets and flat tops, where they are; and parts of long ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundlora.dataset import frames as module
from soundlora.dataset.frames import HEARD, Frames, measured
from soundlora.dataset.problems import DecodeError

RATE = 48_000


def measure(path: Path, samples: np.ndarray, subtype: str = "PCM_16") -> Frames:
    soundfile.write(path, samples, RATE, subtype)
    [found] = measured(path)
    return found


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, (round(seconds * RATE), 2)).astype(np.float32)


def test_levels_and_peaks_are_those_of_their_moments(tmp_path: Path) -> None:
    samples = noise(1.0)
    samples[RATE // 2 :] *= 0.01
    samples[100] = 0.75, -0.9

    found = measure(tmp_path / "a.wav", samples, "FLOAT")

    assert len(found.levels) == len(found.peaks) == 100
    assert found.levels[1:50].mean() == pytest.approx(-20, abs=0.2)
    assert found.levels[50:].mean() == pytest.approx(-60, abs=0.2)
    assert found.peaks[0] == np.float32(0.9)
    assert (found.start, found.samples, found.hop, found.last) == (0, RATE, 480, True)


def test_an_attack_is_the_highest_onset(tmp_path: Path) -> None:
    samples = noise(2.0, 0.001)
    samples[RATE : RATE + 4800] += noise(0.1, 0.3, seed=1)

    found = measure(tmp_path / "a.wav", samples)

    assert found.onsets[1:].argmax() + 1 == 100
    assert found.onsets[100] > 20
    assert np.median(found.onsets) < 2


def test_flat_tops_are_counted_where_they_are(tmp_path: Path) -> None:
    samples = 0.5 * np.sin(np.arange(RATE) / 20)[:, None].astype(np.float32)
    samples[RATE // 2 :] = np.clip(samples[RATE // 2 :] * 8, -0.99, 0.99)

    found = measure(tmp_path / "a.wav", samples)

    assert found.flat[:50].sum() == 0
    assert (found.flat[50:] > 300).all()


def test_the_last_frame_may_be_a_short_one(tmp_path: Path) -> None:
    found = measure(tmp_path / "a.wav", noise(1.0)[: 480 * 7 + 1])

    assert len(found.levels) == len(found.onsets) == len(found.flat) == 8
    assert found.samples == 480 * 7 + 1


def test_used_bits_tell_24_from_32(tmp_path: Path) -> None:
    deep = np.full((RATE, 1), 0x01020304, np.int32)

    assert measure(tmp_path / "a.wav", deep, "PCM_32").used_bits & 0xFF == 4
    assert measure(tmp_path / "b.wav", deep, "PCM_24").used_bits & 0xFF == 0


def test_a_long_recording_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(3.5)
    whole = measure(tmp_path / "a.wav", samples)
    monkeypatch.setattr(module, "PART_SECONDS", 1)

    parts = list(measured(tmp_path / "a.wav"))

    assert [(part.start, part.samples, part.last) for part in parts] == [
        (0, RATE, False),
        (RATE, RATE, False),
        (2 * RATE, RATE, False),
        (3 * RATE, RATE // 2, True),
    ]
    assert np.allclose(np.concatenate([part.levels for part in parts]), whole.levels, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 30_000.0])
def test_floats_that_are_no_sound_are_refused(tmp_path: Path, value: float) -> None:
    samples = noise(0.5)
    samples[1000] = value

    with pytest.raises(DecodeError):
        measure(tmp_path / "a.wav", samples, "FLOAT")


def test_silence_is_not_heard_in_the_fingerprint(tmp_path: Path) -> None:
    samples = noise(2.0)
    samples[RATE:] = 0

    prints = measure(tmp_path / "a.wav", samples).prints

    assert len(prints) == 40
    assert (prints[:20] & HEARD).all()
    assert not (prints[22:] & HEARD).any()


@pytest.mark.parametrize("offset", [0.0005, 0.01, -0.1])
def test_a_dc_offset_is_no_sound(tmp_path: Path, offset: float) -> None:
    sound = np.zeros((20 * RATE, 2))
    sound[8 * RATE : 12 * RATE] = np.random.default_rng(0).normal(0, 0.05, (4 * RATE, 2))
    soundfile.write(tmp_path / "plain.wav", sound, RATE, "FLOAT")
    soundfile.write(tmp_path / "shifted.wav", sound + np.array([offset, 0.5 * offset]), RATE, "FLOAT")

    [plain], [shifted] = (list(measured(tmp_path / name)) for name in ("plain.wav", "shifted.wav"))

    assert plain.offset == 0
    assert shifted.offset == pytest.approx(abs(offset), rel=1e-3)
    heard = slice(801, 1199)
    assert np.allclose(shifted.levels[heard], plain.levels[heard], atol=0.05)
    assert shifted.levels[:799].max() < -90
    assert np.allclose(shifted.peaks[heard], plain.peaks[heard], atol=abs(offset))
    assert shifted.peaks[:799].max() <= abs(offset)


def test_a_sound_that_does_not_swing_evenly_makes_no_silence_loud(tmp_path: Path) -> None:
    """Two thirds of it stand at 0.3, as a hit that was cut badly does, and the rest is nothing."""
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.full(2 * RATE, 0.3), np.zeros(RATE)]), RATE)
    [frames] = measured(tmp_path / "a.wav")
    assert frames.levels[200:].max() == pytest.approx(-120)


def test_the_power_of_each_channel(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, [0.1, 0.001], (3 * RATE + 7, 2))
    soundfile.write(tmp_path / "a.wav", sound, RATE, "FLOAT")
    [frames] = measured(tmp_path / "a.wav")
    assert np.allclose(frames.powers, [1e-2, 1e-6], rtol=0.02)
