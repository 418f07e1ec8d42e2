"""Silence that the decoder learns: what it hears of it, and what counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from silence import FLOOR, hits, losses
from sizes import AUDIO


def test_hits_rise_within_milliseconds_and_leave_nothing_between_them() -> None:
    wave = np.random.default_rng(0).normal(size=(2, 4 * AUDIO.sample_rate))
    cut = hits(wave, np.random.default_rng(1))
    assert 0.05 < np.abs(cut).max() <= 0.9
    heard = np.flatnonzero(cut[0])
    gaps = np.flatnonzero(np.diff(heard) > 0.1 * AUDIO.sample_rate)
    assert len(gaps) >= 4  # of at most 0.75 s each
    for gap in gaps:
        start = heard[gap + 1]
        assert np.abs(cut[0, start : start + 64]).max() > 0.2 * np.abs(cut[0, start : start + 2000]).max()


def test_what_is_heard_should_stay_and_what_is_silent_become_so() -> None:
    mel = torch.full((1, 2, 12, 4), FLOOR)
    mel[:, :, 4:8], mel[:, :, 8:] = -3.0, -9.5
    before = torch.full_like(mel, -10.0)
    before[:, :, 4:8] = -2.5
    parts = losses(before, before, mel)
    assert parts["moved"] == 0  # although it is not as the clip was: that is learnt elsewhere
    assert float(parts["left"]) == pytest.approx(-10 - FLOOR)
    assert float(parts["quiet"]) == pytest.approx(0.5)
    better = before.clone()
    better[:, :, :4] = FLOOR
    assert losses(better, before, mel)["left"] == 0
    better[:, :, :4] = FLOOR - 1  # what plays mels has never heard one below the floor
    assert float(losses(better, before, mel)["left"]) == pytest.approx(1)
    better[:, :, 4:8] -= 0.1
    assert float(losses(better, before, mel)["moved"]) == pytest.approx(0.1)


def test_a_clip_without_silence_or_without_sound_has_a_loss_all_the_same() -> None:
    for level in (FLOOR, -3.0):
        mel = torch.full((1, 2, 5, 4), level)
        assert all(torch.isfinite(part) for part in losses(mel, mel, mel).values())
