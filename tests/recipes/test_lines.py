"""The vocoder that adds lines up: what plays them."""

from __future__ import annotations

from collections.abc import Callable

import lines
import pytest
import torch
from lines import (
    FRAME_STAGES,
    LINES,
    SPACING,
    UNIT,
    kept,
    line_blocks,
    mute,
    new_player,
    play,
    played,
    random_lines,
    spilt,
)
from sizes import AUDIO
from torch import Tensor, nn

from soundlora.model.vocoder import Generator


@pytest.fixture(scope="module")
def player() -> Generator:
    torch.manual_seed(0)
    return new_player()


def test_lines_are_played_at_their_frequencies() -> None:
    amplitudes = torch.zeros(1, 2 * LINES, 100)
    amplitudes[0, 4], amplitudes[0, LINES + 9] = 1, 0.5
    wave = played(amplitudes, torch.zeros(LINES))[0]
    spectrum = torch.fft.rfft(wave * torch.hann_window(wave.shape[-1])).abs()
    hertz = spectrum.argmax(dim=-1) * AUDIO.sample_rate / wave.shape[-1]
    assert hertz.tolist() == pytest.approx([5 * SPACING, 10 * SPACING], abs=2)
    assert wave.abs().amax(dim=-1).tolist() == pytest.approx([UNIT, UNIT / 2], rel=0.01)


def test_each_channel_plays_from_its_own_half(player: Generator) -> None:
    """As the front leaves them: 80 lines and some unused ones, left and right."""
    amplitudes, seen = random_lines(0), []
    player.ups[FRAME_STAGES].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        sound = play(player, amplitudes)
    left, right = seen[0].chunk(2, dim=1)
    assert torch.equal(torch.cat((left[:, :LINES], right[:, :LINES]), dim=1), amplitudes)
    assert not left[:, LINES:].any()
    assert sound.shape == (8, 2, 16 * AUDIO.hop)


def test_the_residual_blocks_above_the_mels_rate_change_nothing_yet(player: Generator) -> None:
    above = player.ups[FRAME_STAGES]
    assert isinstance(above, nn.ConvTranspose1d)
    x = torch.randn(1, above.out_channels, 50)
    assert torch.equal(player.resblocks[FRAME_STAGES](x), x)


def test_a_player_is_linear_whatever_its_blocks_learn() -> None:
    torch.manual_seed(1)
    player, silence = new_player(), torch.zeros(1, 2 * LINES, 16)
    with torch.no_grad():
        for block in line_blocks(player):
            for conv in block.convs2:
                nn.init.normal_(conv.get_parameter("weight"), std=0.05)
        a, b = random_lines(1)[:1], random_lines(2)[:1]
        rest = play(player, silence)
        sum_of_parts = play(player, a) + play(player, b) - rest
        assert torch.allclose(play(player, a + b), sum_of_parts, atol=1e-3 * float(sum_of_parts.abs().max()))


def test_a_muted_player_makes_nothing_of_nothing_and_the_same_of_lines() -> None:
    torch.manual_seed(2)
    player, silence = new_player(), torch.zeros(1, 2 * LINES, 16)
    mute(player)
    with torch.no_grad():
        assert not play(player, silence).any()
        plain = play(player, random_lines(1))
        for part in player.ups[FRAME_STAGES:]:
            part.get_parameter("bias").fill_(0.01)
        assert play(player, silence).any()
        mute(player)
        assert torch.equal(play(player, random_lines(1)), plain)


def test_high_lines_lose_to_the_filters_between_16_and_48_khz() -> None:
    share = kept()
    assert share.shape == (LINES,)
    assert (share[:50] - 1).abs().max() < 0.01
    assert (share[60:].diff() < 0).all()
    assert 0.4 < share[-1] < 0.5


def test_what_is_spilt_into_silent_bands_weighs_more_than_a_wrong_level(
    player: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = torch.zeros(LINES)

    def loss(change: Callable[[Tensor], Tensor]) -> float:
        monkeypatch.setattr(lines, "play", lambda _, amplitudes: change(played(amplitudes, phases)))
        return float(spilt(player, phases, 0))

    assert loss(lambda sound: sound) == 0
    noise = torch.randn(8, 2, 16 * AUDIO.hop) * 1e-3 * UNIT
    # One hundredth of the level is 40 dB below the sound, the noise is further away.
    assert loss(lambda sound: sound + noise) > 20 * loss(lambda sound: 1.01 * sound)
