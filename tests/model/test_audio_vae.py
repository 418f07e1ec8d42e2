from __future__ import annotations

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import vae
from support import CPU, assert_matches, parity_cases

from soundlora.model.audio_vae import CausalConv, Statistics, patchify, unpatchify

CONFIG = checkpoint().config.audio
CHANNELS = CONFIG.latent_channels * CONFIG.latent_bins


@parity_cases("vae_", "patchify")
def test_parity(case: str) -> None:
    assert_matches(case)


@torch.no_grad()
@pytest.mark.parametrize("known", [0, 1, 4])
def test_a_latent_hears_no_mel_frame_after_its_own(known: int) -> None:
    mel = torch.randn(1, 2, 33, CONFIG.mel_bins)
    changed = mel.clone()
    changed[:, :, 4 * known + 1 :] += 3
    before, after = vae().encode(mel), vae().encode(changed)
    torch.testing.assert_close(after[:, : known + 1], before[:, : known + 1], atol=1e-5, rtol=1e-5)
    assert (after - before)[:, known + 1].abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("known", [1, 3])
def test_a_decoded_frame_hears_no_later_latent(known: int) -> None:
    latents = torch.randn(1, 8, CHANNELS)
    changed = latents.clone()
    changed[:, known:] += 3
    before, after = vae().decode(latents), vae().decode(changed)
    torch.testing.assert_close(after[:, :, : 4 * known - 3], before[:, :, : 4 * known - 3], atol=1e-5, rtol=1e-5)
    assert (after - before)[:, :, 4 * known - 3].abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (51, 13)])
def test_four_mel_frames_make_a_latent_and_a_begun_one_counts(frames: int, latents: int) -> None:
    assert vae().encode(torch.zeros(1, 2, frames, CONFIG.mel_bins)).shape == (1, latents, CHANNELS)


@torch.no_grad()
@pytest.mark.parametrize("latents", [1, 2, 7])
def test_decoding_gives_four_frames_a_latent_less_three(latents: int) -> None:
    assert vae().decode(torch.zeros(1, latents, CHANNELS)).shape == (1, 2, 4 * latents - 3, CONFIG.mel_bins)


@torch.no_grad()
def test_encoding_takes_the_mean_and_no_chance() -> None:
    mel = torch.randn(1, 2, 9, CONFIG.mel_bins)
    assert torch.equal(vae().encode(mel), vae().encode(mel))
    mean, log_variance = vae().encoder.moments(mel)
    assert mean.shape == log_variance.shape
    torch.testing.assert_close(vae().per_channel_statistics.denormalize(vae().encode(mel)), patchify(mean))


def test_tokens_hold_the_bins_of_a_channel_side_by_side() -> None:
    latents = torch.arange(2 * 3 * 4).reshape(1, 2, 3, 4)
    tokens = patchify(latents)
    assert tokens.shape == (1, 3, 8)
    assert tokens[0, 1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert torch.equal(unpatchify(tokens, 2), latents)


def test_statistics_undo_themselves_channel_by_channel() -> None:
    statistics = Statistics(3)
    statistics.get_buffer("mean-of-means").copy_(torch.tensor([1.0, 2.0, 3.0]))
    statistics.get_buffer("std-of-means").copy_(torch.tensor([0.5, 2.0, 4.0]))
    tokens = torch.randn(1, 5, 3)
    torch.testing.assert_close(statistics.denormalize(statistics.normalize(tokens)), tokens)
    torch.testing.assert_close(statistics.normalize(torch.tensor([1.5, 4.0, 7.0])), torch.ones(3))


def test_a_causal_convolution_of_one_has_no_padding() -> None:
    assert CausalConv(2, 3, kernel=1)(torch.randn(1, 2, 5, 6)).shape == (1, 3, 5, 6)
    assert CausalConv(2, 3)(torch.randn(1, 2, 5, 6)).shape == (1, 3, 5, 6)


def test_half_a_vae_has_half_the_weights() -> None:
    encoder = checkpoint().load_vae(CPU, encoder=True, decoder=False)
    assert not any(name.startswith("decoder") for name in encoder.state_dict())
    mel = torch.randn(1, 2, 9, CONFIG.mel_bins)
    torch.testing.assert_close(encoder.encode(mel), vae().encode(mel))
