from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from parity.cases import checkpoint
from support import assert_matches, parity_cases

from soundlora.model.condition import Condition, Given, at_end, at_start, outside
from soundlora.model.latents import positions

AUDIO = checkpoint().config.audio
CPU = torch.device("cpu")


@parity_cases("mode_")
def test_parity(case: str) -> None:
    assert_matches(case)


def test_without_an_argument_nothing_is_given() -> None:
    x, clean, sigma = torch.randn(2, 7, 4), torch.randn(2, 7, 4), torch.tensor([0.2, 0.9])
    nothing = Condition()
    assert nothing.sequence(x, clean) is x
    assert torch.equal(nothing.timesteps(sigma, 7), sigma[:, None])
    assert nothing.mask(7, CPU) is None
    assert nothing.front == 0
    assert torch.equal(nothing.positions(7, AUDIO), positions(7, AUDIO))


def test_what_is_given_is_clean_at_timestep_0_and_a_reference_stands_in_front_from_second_0() -> None:
    x, clean, reference = torch.randn(2, 5, 4), torch.randn(2, 5, 4), torch.randn(2, 3, 4)
    given = torch.stack((at_start(5, 2), at_end(5, 1)))
    condition = Condition(given, reference)
    sequence = condition.sequence(x, clean)
    assert torch.equal(sequence[:, :3], reference)
    assert torch.equal(sequence[0, 3:], torch.cat((clean[0, :2], x[0, 2:])))
    assert torch.equal(sequence[1, 3:], torch.cat((x[1, :4], clean[1, 4:])))
    timesteps = condition.timesteps(torch.tensor([0.25, 0.75]), 5)
    assert timesteps[0].tolist() == [0, 0, 0, 0, 0, 0.25, 0.25, 0.25]
    assert timesteps[1].tolist() == [0, 0, 0, 0.75, 0.75, 0.75, 0.75, 0]
    places = condition.positions(5, AUDIO)
    assert torch.equal(places[:, :, :3], positions(3, AUDIO))
    assert torch.equal(places[:, :, 3:], positions(5, AUDIO))


@pytest.mark.parametrize(
    ("spans", "generated"),
    [
        ([(1.0, 2.0)], range(25, 51)),  # latent 25 lies from 0.97 to 1.01 s
        ([(0.0, 0.005)], range(1)),
        ([(0.005, 0.02)], range(2)),
        ([(1.0, 1.005), (4.0, 9.0)], [25, *range(100, 126)]),
        ([], []),
    ],
)
def test_spans_are_generated_with_every_latent_that_they_touch(
    spans: list[tuple[float, float]], generated: Iterable[int]
) -> None:
    mask = outside(126, spans, AUDIO)
    assert (~mask).nonzero().flatten().tolist() == list(generated)
    bounds = positions(126, AUDIO)[0, 0]
    for number, (start, end) in enumerate(bounds.tolist()):
        assert bool(mask[number]) != any(start < last and end > first for first, last in spans)


def test_a_sound_of_which_nothing_is_given_is_generated_as_without_a_condition() -> None:
    latents, condition = Given(torch.randn(5, 4), at_start(5, 0)).condition(CPU)
    assert condition.mask(5, CPU) is None
    assert latents.shape == (1, 5, 4)
