"""The figures by which a codec is heard: right for the sound itself, and for what is known to be wrong with it."""

from __future__ import annotations

import ear_figures as ear
import numpy as np
import pytest


def test_a_sound_itself_loses_nothing() -> None:
    for number, kind in enumerate(ear.KINDS):
        clip = ear.hits(kind, number)
        assert ear.floor(clip.sound, clip) > 150
        assert ear.attack(clip.sound, clip) < 3
    assert ear.cents(ear.tone(440.0), 440.0) < 0.1
    assert ear.buzz(ear.tone(440.0), ear.tone(440.0), 440.0) == 0
    assert ear.line(ear.tone(440.0), 440.0)[1] == pytest.approx(50, abs=1)


def test_a_hiss_is_the_floor() -> None:
    clip = ear.hits("snare", 1)
    hiss = np.random.default_rng(0).normal(size=clip.sound.shape).astype(np.float32)
    loud = ear.floor(clip.sound + 1e-3 * hiss, clip)
    assert ear.floor(clip.sound + 1e-4 * hiss, clip) == pytest.approx(loud + 20, abs=0.5)


def test_a_slow_rise_is_a_slow_attack() -> None:
    clip = ear.hits("wood", 2)
    rise = round(0.04 * ear.RATE)
    window = np.hanning(2 * rise) / rise
    slow = np.stack([np.convolve(np.abs(channel), window, "same") for channel in clip.sound])
    assert ear.attack(slow.astype(np.float32), clip) > 15


def test_a_tone_between_two_lines_is_off_by_half_their_distance() -> None:
    wanted, played = 1050.0, ear.tone(1000.0) + ear.tone(1100.0)
    assert ear.cents(played, wanted) == pytest.approx(1200 * np.log2(1050 / 1000), abs=5)
    assert ear.buzz(played, ear.tone(wanted), wanted) > 45


@pytest.mark.parametrize(("shared", "correlation"), [(0.0, 0.0), (0.6, 0.6), (1.0, 1.0)])
def test_wide_noise_shares_what_it_is_told_to(shared: float, correlation: float) -> None:
    assert ear.correlation(ear.wide(3, shared)) == pytest.approx(correlation, abs=0.05)


def test_echoes_of_a_hall_make_hits_wide() -> None:
    assert ear.correlation(ear.hall("snare", 5)) < 0.8


def test_levels_that_are_averaged_change_less() -> None:
    noise, other = ear.wide(4, 1.0), ear.wide(5, 1.0)
    assert ear.low_changes(0.5 * noise) == pytest.approx(ear.low_changes(noise), rel=0.01)
    tone = 3 * ear.tone(440.0, 3.0)
    assert ear.low_changes(noise + other + tone) < 0.95 * ear.low_changes(noise)


def test_hits_are_found_where_they_are() -> None:
    clip = ear.hits("click", 6)
    assert ear.found_hits(clip.sound).onsets == pytest.approx(clip.onsets, abs=0.012)
