"""What lines follow: amplitudes by weights that are written down, exact enough for silence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from codec_vocoder import new_vocoder
from front import Front, bands_to_lines, cube_roots, put_front, rounded, take_front
from lines import FRAME_STAGES, LINES, mel_of_lines
from sizes import AUDIO
from torch import Tensor

FRAMES = 24


@pytest.fixture(scope="module")
def front() -> Front:
    torch.manual_seed(0)
    return Front()


def heard(front: Front, mel: Tensor) -> Tensor:
    """Log of what the mel's bands hear of lines with these amplitudes."""
    with torch.no_grad():
        logs: Tensor = (mel_of_lines() @ front(mel)[0].abs()).log()
        return logs


def test_an_even_mel_comes_out_even_at_any_level(front: Front) -> None:
    for level, tolerance in ((-9.0, 0.6), (-6.0, 0.3), (-3.0, 0.3), (0.0, 0.3)):
        out = heard(front, torch.full((1, AUDIO.mel_bins, FRAMES), level))[:, FRAMES // 2]
        assert (out - level).abs().mean() < tolerance, level


def test_silence_stays_silent_with_weights_as_bf16_holds_them(front: Front) -> None:
    """Constants that are rounded one by one would be louder than what can just be heard."""
    exact = {name: tensor.clone() for name, tensor in front.state_dict().items()}
    front.load_state_dict({name: tensor.bfloat16().float() for name, tensor in exact.items()})
    quiet = heard(front, torch.full((1, AUDIO.mel_bins, FRAMES), math.log(1e-5)))[:, 8:-8]
    front.load_state_dict(exact)
    assert quiet.max() < -9


def test_a_generator_has_the_front_once_for_each_channel(front: Front) -> None:
    generator = new_vocoder().vocoder
    put_front(generator, front)
    mel = torch.randn(2, 2, FRAMES, AUDIO.mel_bins) - 4
    with torch.no_grad():
        x = generator.conv_pre(mel.transpose(2, 3).flatten(1, 2))
        for up, block in zip(generator.ups[:FRAME_STAGES], generator.resblocks, strict=False):
            x = block(up(x))
        left, right = (x.unflatten(1, (2, -1))[:, side, :LINES] for side in range(2))
        assert torch.allclose(left, front(mel[:, 0].transpose(1, 2)), atol=1e-5)
        assert torch.allclose(right, front(mel[:, 1].transpose(1, 2)), atol=1e-5)
        again = take_front(generator).state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in front.state_dict().items())
        assert torch.equal(front.of_stereo(mel)[:, LINES:], front(mel.flatten(0, 1).transpose(1, 2))[1::2])


def test_the_two_channels_are_apart(front: Front) -> None:
    mel = torch.full((1, 2, FRAMES, AUDIO.mel_bins), math.log(1e-5))
    mel[0, 1] = -2
    with torch.no_grad():
        left, right = front.of_stereo(mel)[0, :, FRAMES // 2].abs().unflatten(0, (2, LINES))
    assert right.mean() > 1000 * left.mean()


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
