"""Real clips as the transformer makes them, and the mels that they should become."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import remade
import torch
from remade import LATENTS, Remade, remake
from torch import Tensor


class Perfect:
    """A transformer that knows the clean latents of its batch."""

    config = SimpleNamespace(layers=4)
    text_lasts = False

    def __init__(self, clean: Tensor) -> None:
        self.clean = clean
        self.levels: list[float] = []

    def rope(self, positions: Tensor) -> None:
        return None

    def __call__(
        self, x: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, rope: None, **how: object
    ) -> Tensor:
        self.levels.append(float(sigma[0]))
        return (x - torch.cat((self.clean, self.clean))) / timesteps[..., None]


@pytest.mark.parametrize("level", [0.2, 0.6])
def test_what_noise_took_comes_back_by_the_last_steps_of_sampling(level: float) -> None:
    clean, noise = torch.randn(1, 5, 128), torch.randn(1, 5, 128)
    model = Perfect(clean)
    made = remake(model, clean, torch.zeros(1, 3, 4), level, noise)  # type: ignore[arg-type]
    assert torch.allclose(made, clean, atol=1e-5)
    assert level - 0.1 < model.levels[0] <= level
    assert model.levels == sorted(model.levels, reverse=True)
    assert model.levels[-1] == pytest.approx(0.1)


def test_a_crop_of_latents_comes_with_the_frames_that_it_is_decoded_to() -> None:
    clips, latents = 18, 40
    pairs = Remade.__new__(Remade)
    pairs.chosen = list(range(100, 100 + clips))
    time = np.arange(latents, dtype=np.float16)
    pairs.latents = np.broadcast_to(time[None, :, None], (clips, latents, 128))
    # A mel's frame says its number in quarters of latents, and its clip's number.
    frames = np.arange(4 * latents - 3) / 4
    mels = np.zeros((200, 2, len(frames), 64))
    mels[:, 0], mels[:, 1] = frames[:, None], np.arange(200)[:, None, None]
    pairs.mels = mels
    for held_out in (False, True):
        some, mel = pairs.draw(np.random.default_rng(0), 50, held_out=held_out)
        assert mel.shape == (50, 2, 4 * LATENTS - 3, 64)
        assert torch.equal(mel[:, 0, ::4, 0], some[:, :, 0])
        numbers = {int(n) - 100 for n in mel[:, 1, 0, 0]}
        assert all((n % remade.HELD_OUT == remade.HELD_OUT - 1) == held_out for n in numbers)
        assert len(numbers) > 1
