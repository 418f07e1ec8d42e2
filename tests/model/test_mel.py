from __future__ import annotations

import math

import pytest
import torch
from parity.cases import checkpoint
from support import assert_matches, parity_cases

from soundlora.errors import InputError
from soundlora.model.mel import LOG_FLOOR, log_mel, resample, to_stereo

CONFIG = checkpoint().config.audio
RATE = CONFIG.sample_rate


@parity_cases("mel_", "encode_audio")
def test_parity(case: str) -> None:
    assert_matches(case)


def sine(frequency: float, rate: int = RATE, seconds: float = 0.5) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency * torch.arange(round(seconds * rate), dtype=torch.float64) / rate).float()


def test_silence_is_the_floor_everywhere() -> None:
    mel = log_mel(torch.zeros(1, 2, 1600), CONFIG)
    assert torch.equal(mel, torch.full_like(mel, math.log(1e-5)))
    assert mel[0, 0, 0, 0].item() == pytest.approx(-11.5129, abs=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(513, 4), (1599, 10), (1600, 11), (80_000, 501)])
def test_there_is_a_frame_every_hop_and_one_more(samples: int, frames: int) -> None:
    assert log_mel(torch.zeros(3, 2, samples), CONFIG).shape == (3, 2, frames, CONFIG.mel_bins)


def test_512_samples_are_too_few() -> None:
    with pytest.raises(ValueError, match="512 samples are too few"):
        log_mel(torch.zeros(1, 2, 512), CONFIG)


def test_magnitudes_are_logged_not_powers() -> None:
    noise = 0.01 * torch.randn(1, 2, 4000)
    torch.testing.assert_close(log_mel(10 * noise, CONFIG), log_mel(noise, CONFIG) + math.log(10), atol=1e-4, rtol=0)


def test_a_higher_tone_stands_in_a_higher_band() -> None:
    bands = [int(log_mel(sine(f).expand(1, 2, -1), CONFIG)[0, 0, 10].argmax()) for f in (100, 400, 1000, 3000, 7000)]
    assert bands == sorted(set(bands))


def test_channels_are_heard_apart() -> None:
    left, right = sine(440), torch.zeros(RATE // 2)
    mel = log_mel(torch.stack((left, right))[None], CONFIG)
    assert mel[0, 0].max() > 0
    assert mel[0, 1].max() == pytest.approx(math.log(LOG_FLOOR))


def test_mono_is_doubled_and_stereo_stays() -> None:
    mono, stereo = torch.randn(1, 9), torch.randn(2, 9)
    assert torch.equal(to_stereo(mono), mono.expand(2, -1))
    assert to_stereo(stereo) is stereo


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
def test_no_mixdown_is_louder_than_its_loudest_channel(channels: int) -> None:
    torch.testing.assert_close(to_stereo(torch.ones(channels, 4)), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("channels", "left", "right"),
    [
        (6, [1, 0, 0.707, 0, 0.707, 0], [0, 1, 0.707, 0, 0, 0.707]),
        (8, [1, 0, 0.707, 0, 0.707, 0, 0.707, 0], [0, 1, 0.707, 0, 0, 0.707, 0, 0.707]),
    ],
)
def test_surround_goes_to_its_side_at_minus_3_db_and_the_lfe_nowhere(
    channels: int, left: list[float], right: list[float]
) -> None:
    mixed = to_stereo(torch.eye(channels))
    torch.testing.assert_close(mixed, torch.tensor([left, right]) / sum(left))


@pytest.mark.parametrize("channels", [3, 4, 5, 7])
def test_other_layouts_are_averaged(channels: int) -> None:
    torch.testing.assert_close(to_stereo(torch.eye(channels)), torch.full((2, channels), 1 / channels))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone_and_its_length(rate: int) -> None:
    resampled = resample(sine(1000, rate), rate, RATE)
    assert resampled.shape == (math.ceil(round(0.5 * rate) * RATE / rate),)
    middle = slice(RATE // 8, 3 * RATE // 8)
    torch.testing.assert_close(resampled[middle], sine(1000)[middle], atol=5e-3, rtol=0)


def test_what_the_lower_rate_cannot_hold_vanishes() -> None:
    assert resample(sine(12_000, 48_000), 48_000, RATE)[1000:-1000].abs().max() < 5e-3


def test_the_same_rate_is_left_alone() -> None:
    waveform = torch.randn(2, 10)
    assert resample(waveform, RATE, RATE) is waveform


def test_channels_are_resampled_apart() -> None:
    waveform = torch.randn(2, 3, 500)
    apart = torch.stack([torch.stack([resample(c, 44_100, RATE) for c in row]) for row in waveform])
    torch.testing.assert_close(resample(waveform, 44_100, RATE), apart)


@pytest.mark.parametrize("rate", [0, -16_000, 1, 999, 1_000_001, 2**40])
def test_rates_that_no_sound_has_are_refused(rate: int) -> None:
    with pytest.raises(InputError, match=f"The sample rate is {rate} Hz, but it must be from 1000 to 1000000 Hz"):
        resample(torch.zeros(2, 100), rate, RATE)


@pytest.mark.parametrize("rate", [44_101, 191_999])
def test_rates_that_would_take_gigabytes_are_refused(rate: int) -> None:
    with pytest.raises(InputError, match=f"Sound of {rate} Hz can't be brought to {RATE} Hz"):
        resample(torch.zeros(2, 100), rate, RATE)


@pytest.mark.parametrize("rate", [8_025, 11_025, 22_050, 44_100, 47_975, 191_975, 192_000])
def test_every_rate_that_clips_are_brought_to_is_taken(rate: int) -> None:
    assert resample(torch.zeros(2, rate // 100), rate, RATE).shape == (2, math.ceil(rate // 100 * RATE / rate))
