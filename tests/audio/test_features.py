"""What a sound is like, in figures."""

from __future__ import annotations

import numpy as np
import pytest

from soundlora.audio import features

RATE = 48_000
Array = np.ndarray


def tone(hertz: float, seconds: float = 2.0, rate: int = RATE) -> Array:
    """A stereo tone with four harmonics."""
    time = np.arange(round(seconds * rate)) / rate
    one = sum(np.sin(2 * np.pi * hertz * harmonic * time) / harmonic for harmonic in range(1, 5)) * 0.2
    return np.stack((one, one)).astype(np.float32)


def test_a_level_that_stays_is_not_lively_and_hits_are() -> None:
    even, hits = (features.liveliness(features.log_mel(sound, RATE)) for sound in (noise(), clicks([0.3, 0.9, 1.5])))
    assert even < 1.5
    assert hits > 8
    softer = features.liveliness(features.log_mel(0.1 * clicks([0.3, 0.9, 1.5]), RATE))
    assert softer == pytest.approx(hits, rel=0.05), "what is softer as a whole is as lively"
    assert features.liveliness(features.log_mel(np.zeros((2, RATE)), RATE)) == pytest.approx(0, abs=1e-9)


def noise(seconds: float = 2.0, seed: int = 0) -> Array:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, round(seconds * RATE)))).astype(np.float32)


def clicks(at: list[float], seconds: float = 2.0, rate: int = RATE) -> Array:
    sound = np.zeros((2, round(seconds * rate)), np.float32)
    burst = np.random.default_rng(1).standard_normal(rate // 100) * np.exp(-np.arange(rate // 100) / (rate / 500))
    for place in at:
        sound[:, round(place * rate) : round(place * rate) + len(burst)] += 0.5 * burst
    return sound


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_onsets_are_where_something_begins(rate: int) -> None:
    at = [0.3, 0.55, 1.0, 1.6]
    found = features.onsets(features.log_mel(clicks(at, rate=rate), rate))
    assert np.allclose(np.asarray(found) / features.FRAMES, at, atol=0.03)


@pytest.mark.parametrize("sound", [tone(220), noise(), np.zeros((2, RATE), np.float32), np.zeros((1, 10), np.float32)])
def test_steady_sound_has_no_onsets(sound: Array) -> None:
    assert features.onsets(features.log_mel(sound, RATE)) == []


def test_hits_are_counted_on_top_of_steady_noise() -> None:
    found = features.onsets(features.log_mel(noise() + 4 * clicks([0.5, 1.2]), RATE))
    assert np.allclose(np.asarray(found) / features.FRAMES, [0.5, 1.2], atol=0.03)


@pytest.mark.parametrize("hertz", [82.4, 220.0, 440.0, 1200.0])
@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_a_pitch_is_found_within_a_fifth_of_a_semitone(hertz: float, rate: int) -> None:
    found, share = features.pitches(tone(hertz, rate=rate), rate)
    assert share == 1
    assert np.allclose(found, 12 * np.log2(hertz / 60), atol=0.2)


def test_noise_and_silence_have_no_pitch() -> None:
    assert features.pitches(noise(), RATE)[1] < 0.02
    found, share = features.pitches(np.zeros((2, RATE), np.float32), RATE)
    assert (len(found), share) == (0, 0.0)


def test_silence_beside_a_tone_is_left_out_of_the_share_with_a_pitch() -> None:
    sound = np.concatenate((tone(220, 1.0), np.zeros((2, 3 * RATE), np.float32)), axis=1)
    assert features.pitches(sound, RATE)[1] > 0.95


def test_width_is_the_correlation_of_left_and_right() -> None:
    one, other = noise()
    assert features.width(np.stack((one, one))) == pytest.approx(1)
    assert features.width(np.stack((one, -one))) == pytest.approx(-1)
    assert features.width(np.stack((one, one + other))) == pytest.approx(0.5**0.5, abs=0.01)
    assert features.width(np.stack((one, np.zeros_like(one)))) is None
    assert features.width(one[None]) is None


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_tone_is_loudest_in_the_band_of_its_frequency(rate: int) -> None:
    time = np.arange(rate) / rate
    loudest = [
        int(features.log_mel(np.sin(2 * np.pi * hertz * time)[None], rate).mean(axis=0).argmax())
        for hertz in (200, 400, 1000, 3000, 6000)
    ]
    assert loudest == sorted(set(loudest))
    assert loudest[0] > 0
    assert loudest[-1] < features.BANDS - 1


def test_bands_hold_the_same_power_at_every_rate() -> None:
    low, high = (features.log_mel(tone(440, rate=rate), rate).mean(axis=0) for rate in (24_000, 48_000))
    heard = high > -10
    assert heard.sum() > 5
    assert np.abs(low - high)[heard].max() < 0.7  # their bins are not the same
