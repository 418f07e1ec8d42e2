from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from support import FIXTURES, assert_matches, parity_cases

from soundlora.model.latents import generation_latents, initial_noise, positions, training_latents
from soundlora.model.mel import log_mel

AUDIO = checkpoint().config.audio
COUNTS: dict[str, Any] = json.loads((FIXTURES / "parity" / "latent_counts.json").read_text())


@parity_cases("positions_", "initial_noise")
def test_parity(case: str) -> None:
    assert_matches(case)


@pytest.mark.parametrize("row", COUNTS["durations"], ids=lambda row: f"{row['seconds']} s")
def test_counts_of_training_and_generation_are_the_references(row: dict[str, Any]) -> None:
    assert training_latents(row["seconds"], AUDIO) == row["training_latents"]
    assert generation_latents(row["seconds"], AUDIO) == row["generation_frames"]


@pytest.mark.parametrize("row", COUNTS["validation_frames_fps"], ids=lambda row: f"{row['frames']} at {row['fps']}")
def test_a_previews_count_follows_the_video_grid(row: dict[str, Any]) -> None:
    assert generation_latents(row["frames"] / row["fps"], AUDIO) == row["latents"]


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.02, 2.5])
def test_the_training_count_is_that_of_an_encoded_clip(seconds: float) -> None:
    mel = log_mel(torch.zeros(1, 2, round(seconds * AUDIO.sample_rate)), AUDIO)
    assert training_latents(seconds, AUDIO) == -(-mel.shape[2] // AUDIO.downsample)


def test_the_first_latent_lasts_one_mel_frame_and_every_later_one_four() -> None:
    start, end = positions(4, AUDIO)[0, 0].unbind(-1)
    torch.testing.assert_close(start, torch.tensor([0.0, 0.01, 0.05, 0.09]))
    torch.testing.assert_close(end, torch.tensor([0.01, 0.05, 0.09, 0.13]))


def test_noise_is_a_function_of_the_seed() -> None:
    assert torch.equal(initial_noise(5, 8, 7), initial_noise(5, 8, 7))
    assert not torch.equal(initial_noise(5, 8, 7), initial_noise(5, 8, 8))


def test_drawing_noise_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    initial_noise(5, 8, 7)
    assert torch.equal(before, torch.get_rng_state())
