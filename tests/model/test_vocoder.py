from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity.runners import vocoder
from support import CPU, BaseNames, assert_matches, parity_cases

from soundlora.model.vocoder import Vocoder, hann_sinc_filter, kaiser_sinc_filter
from soundlora.weights.checkpoint import Checkpoint


@parity_cases("vocoder_", "activation1d", "ampblock", "resampler_filter", "kaiser_filter", "decode_latent")
def test_parity(case: str) -> None:
    assert_matches(case)


@pytest.fixture(scope="module")
def quick(quick_base: BaseNames) -> Vocoder:
    return Checkpoint(Path(quick_base.checkpoint)).load_vocoder(CPU)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 7, 21])
def test_a_mel_frame_becomes_480_samples_of_48_khz(quick: Vocoder, frames: int) -> None:
    assert quick(torch.zeros(2, 2, frames, 64)).shape == (2, 2, frames * 480)


@torch.no_grad()
def test_no_sample_is_beyond_full_scale(quick: Vocoder) -> None:
    waveform = quick(20 * torch.randn(1, 2, 9, 64))
    assert waveform.abs().max() <= 1
    assert waveform.std() > 0


@torch.no_grad()
@pytest.mark.parametrize("samples", [79, 80, 81, 333])
def test_a_length_that_is_no_whole_hop_is_kept(quick: Vocoder, samples: int) -> None:
    assert quick.extend(torch.zeros(1, 2, samples)).shape == (1, 2, 3 * samples)


@torch.no_grad()
def test_the_first_stage_is_clamped_and_the_second_is_not(quick: Vocoder) -> None:
    loud = 30 * torch.randn(1, 2, 9, 64)
    assert quick.vocoder.unclamped(loud).abs().max() > 1
    assert quick.vocoder(loud).abs().max() == 1
    assert torch.equal(quick.bwe_generator(loud), quick.bwe_generator.unclamped(loud))


def test_interpolation_keeps_a_constant() -> None:
    low = torch.full((1, 2, 50), 0.3)
    torch.testing.assert_close(vocoder().skip(low), torch.full((1, 2, 150), 0.3), atol=2e-3, rtol=0)


def test_the_second_front_end_hears_nothing_of_the_future() -> None:
    mel_stft, hop = vocoder().mel_stft, vocoder().config.hop
    sound = torch.randn(1, 2, 10 * hop)
    changed = sound.clone()
    changed[..., 6 * hop :] += 1
    before, after = mel_stft(sound), mel_stft(changed)
    torch.testing.assert_close(after[..., :6], before[..., :6], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(after[..., 6], before[..., 6])


def test_filters_and_bases_are_the_checkpoints_own() -> None:
    # The tiny checkpoint's differ from the computed ones on purpose.
    loaded = vocoder().vocoder.act_post.upsample.get_buffer("filter")
    assert not torch.allclose(loaded, kaiser_sinc_filter(), atol=1e-4)
    assert vocoder().mel_stft.get_buffer("mel_basis").abs().sum() > 0


def test_the_low_pass_is_even_and_sums_to_one() -> None:
    low_pass = kaiser_sinc_filter()
    assert low_pass.shape == (1, 1, 12)
    assert low_pass.sum().item() == pytest.approx(1)
    torch.testing.assert_close(low_pass, low_pass.flip(-1))


def test_the_interpolation_filter_is_one_at_its_middle_and_has_43_taps_for_three_times_the_rate() -> None:
    taps = hann_sinc_filter(3)[0, 0]
    assert len(taps) == 43
    assert int(taps.argmax()) == 21
    torch.testing.assert_close(taps, taps.flip(-1), atol=1e-6, rtol=1e-5)


def test_a_fresh_vocoders_filters_are_its_own() -> None:
    model = Vocoder(vocoder().config, 64)
    filters = [buffer for name, buffer in model.named_buffers() if name.endswith("filter")]
    assert len({buffer.data_ptr() for buffer in filters}) == len(filters) > 1
    assert all(torch.equal(buffer, kaiser_sinc_filter()) for buffer in filters)
