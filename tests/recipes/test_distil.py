"""The teacher that nano learns to be without guidance."""

from __future__ import annotations

import torch
from distil import GUIDANCE, guided
from torch import Tensor


class Teacher:
    """Whose velocity is its context's mean, whatever else it is given."""

    def __call__(self, x: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, rope: object) -> Tensor:
        return context.mean(dim=(1, 2), keepdim=True).expand_as(x)


def test_a_prompt_is_followed_further_than_the_teacher_would_and_no_prompt_is_left_alone() -> None:
    x, sigma, empty = torch.zeros(2, 5, 128), torch.ones(2), torch.full((1, 3, 4), 0.5)
    context = torch.cat((torch.full((1, 3, 4), 0.75), empty))
    velocity = guided(Teacher(), x, sigma, context, empty, torch.tensor([True, False]), None)  # type: ignore[arg-type]
    assert torch.allclose(velocity[0], torch.full((5, 128), 0.5 + GUIDANCE * 0.25))
    assert torch.equal(velocity[1], torch.full((5, 128), 0.5))
