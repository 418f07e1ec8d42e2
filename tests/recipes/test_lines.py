"""The vocoder that adds lines up: amplitudes by weights that are written down, exact enough for silence."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from codec_vocoder import new_vocoder
from lines import (
    FRAME_STAGES,
    LINES,
    SPACING,
    UNIT,
    Halves,
    bands_to_lines,
    cube_roots,
    mel_of_lines,
    played,
    rounded,
    spilt,
)
from sizes import AUDIO
from torch import Tensor

FRAMES = 24


@pytest.fixture(scope="module")
def halves() -> Halves:
    torch.manual_seed(0)
    return Halves(new_vocoder().vocoder)


def test_an_even_mel_comes_out_even_at_any_level(halves: Halves) -> None:
    matrix = mel_of_lines()
    for level, tolerance in ((-9.0, 0.6), (-6.0, 0.3), (-3.0, 0.3), (0.0, 0.3)):
        with torch.no_grad():
            mel = torch.full((1, 2, FRAMES, AUDIO.mel_bins), level)
            amplitudes = halves.amplitudes(mel)[0, : 2 * LINES, FRAMES // 2].unflatten(0, (2, LINES))
        out = (amplitudes.abs() @ matrix.T).log()
        assert (out - level).abs().mean() < tolerance, level


def test_silence_stays_silent_with_weights_as_bf16_holds_them(halves: Halves) -> None:
    """Constants that are rounded one by one would be louder than what can just be heard."""
    exact = {name: tensor.clone() for name, tensor in halves.state_dict().items()}
    halves.load_state_dict({name: tensor.bfloat16().float() for name, tensor in exact.items()})
    with torch.no_grad():
        quiet = halves.amplitudes(torch.full((1, 2, FRAMES, AUDIO.mel_bins), math.log(1e-5)))[0, : 2 * LINES, 8:-8]
    halves.load_state_dict(exact)
    assert (quiet.abs().unflatten(0, (2, LINES)).transpose(1, 2) @ mel_of_lines().T).log().max() < -9


def test_the_two_channels_are_apart(halves: Halves) -> None:
    mel = torch.full((1, 2, FRAMES, AUDIO.mel_bins), math.log(1e-5))
    mel[0, 1] = -2
    with torch.no_grad():
        left, right = halves.amplitudes(mel)[0, : 2 * LINES, FRAMES // 2].abs().unflatten(0, (2, LINES))
    assert right.mean() > 1000 * left.mean()


def test_lines_are_played_at_their_frequencies() -> None:
    amplitudes = torch.zeros(1, 2 * LINES, 100)
    amplitudes[0, 4], amplitudes[0, LINES + 9] = 1, 0.5
    wave = played(amplitudes, torch.zeros(LINES))[0]
    spectrum = torch.fft.rfft(wave * torch.hann_window(wave.shape[-1])).abs()
    hertz = spectrum.argmax(dim=-1) * AUDIO.sample_rate / wave.shape[-1]
    assert hertz.tolist() == pytest.approx([5 * SPACING, 10 * SPACING], abs=2)
    assert wave.abs().amax(dim=-1).tolist() == pytest.approx([UNIT, UNIT / 2], rel=0.01)


def test_every_line_lies_between_two_bands_and_all_of_them_make_an_even_mel() -> None:
    share, magnitude = bands_to_lines()
    assert share.sum(dim=1) == pytest.approx(torch.ones(LINES), abs=1e-5)
    # Low bands are narrower than the spacing of lines, high ones hold several.
    level = (mel_of_lines() @ magnitude).log()
    assert level[:-1].abs().mean() < 0.25
    assert level[36:-1].abs().max() < 0.01


def test_what_is_called_rounded_is_what_bf16_holds() -> None:
    roots = cube_roots()
    for value in (roots.scale, roots.shift, roots.slopes, roots.offsets, roots.sums, roots.constant):
        assert np.array_equal(rounded(value), value)


def test_the_residual_blocks_above_the_mels_rate_change_nothing_at_first(halves: Halves) -> None:
    x = torch.randn(1, halves.generator.ups[FRAME_STAGES].out_channels, 50)
    assert torch.equal(halves.generator.resblocks[FRAME_STAGES](x), x)


def test_what_is_spilt_into_silent_bands_weighs_more_than_a_wrong_level(
    halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = torch.zeros(LINES)

    def loss(change: Callable[[Tensor], Tensor]) -> float:
        monkeypatch.setattr(halves, "play", lambda x: change(played(x[:, : 2 * LINES], phases)))
        return float(spilt(halves, phases, 0))

    assert loss(lambda sound: sound) == 0
    noise = torch.randn(8, 2, 16 * AUDIO.hop) * 1e-3 * UNIT
    # One hundredth of the level is 40 dB below the sound, the noise is further away.
    assert loss(lambda sound: sound + noise) > 20 * loss(lambda sound: 1.01 * sound)
