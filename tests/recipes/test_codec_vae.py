"""The latents' axes: another basis and other deviations, the same sound."""

from __future__ import annotations

import pytest
import torch
from codec_vae import DEVIATIONS, balance
from sizes import AUDIO

from soundlora.model.audio_vae import AudioVAE


def test_balanced_latents_decode_to_the_same_and_lie_along_their_axes() -> None:
    torch.manual_seed(0)
    vae = AudioVAE(AUDIO)
    # Like a loudness, one thing moves all channels.
    mel = torch.randn(3, 2, 41, 1) * 2 + torch.randn(3, 2, 41, AUDIO.mel_bins) * 0.3 - 5
    with torch.inference_mode():
        before = vae.decode(vae.encode(mel))
        encoded = vae.encoder(mel)
    balance(vae, encoded.clone())
    with torch.inference_mode():
        latents = vae.encode(mel)
        after = vae.decode(latents)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    channels = latents.unflatten(-1, (len(DEVIATIONS), -1))  # (B, T, channels, bins)
    spread = channels.flatten(0, 1).std(dim=0).mean(dim=-1)
    assert spread.tolist() == pytest.approx(DEVIATIONS, rel=1e-3)
    flat = channels.movedim(2, 0).flatten(1)
    covariance = torch.corrcoef(flat)
    assert covariance.fill_diagonal_(0).abs().max() < 0.2
