"""The teacher that nano learns to be without guidance."""

from __future__ import annotations

import torch
from distil import GUIDANCE, guided
from torch import Tensor


class Teacher:
    """Whose velocity is its context's mean times x, whatever else it is given."""

    def __call__(self, x: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, rope: object) -> Tensor:
        return context.mean(dim=(1, 2), keepdim=True) * x


def test_a_prompt_is_followed_further_than_the_teacher_would_and_no_prompt_is_left_alone() -> None:
    x, sigma, empty = torch.randn(2, 5, 128), torch.tensor([0.8, 0.8]), torch.full((1, 3, 4), 0.5)
    context = torch.cat((torch.full((1, 3, 4), 0.25), empty))
    velocity = guided(Teacher(), x, sigma, context, empty, torch.tensor([True, False]), None)  # type: ignore[arg-type]
    assert torch.equal(velocity[1], 0.5 * x[1])
    # What the teacher takes for the clean sound is a share of x: prompted, not prompted, and guided.
    prompted, plain = 1 - 0.8 * 0.25, 1 - 0.8 * 0.5
    moved = plain + GUIDANCE.cfg * (prompted - plain)
    share = GUIDANCE.rescale * prompted + (1 - GUIDANCE.rescale) * moved
    assert prompted < share < moved
    assert torch.allclose(x[0] - 0.8 * velocity[0], share * x[0], atol=1e-5)
