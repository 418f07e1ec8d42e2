from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from parity.cases import checkpoint
from support import CPU, BaseNames
from torch import Tensor

from soundlora.model.condition import Given, at_end, at_start
from soundlora.model.config import SamplingDefaults
from soundlora.sampling.generate import SamplingSettings, sample_latents, sample_takes
from soundlora.sampling.guidance import Guidance
from soundlora.weights.base import Base

Sample = Callable[..., Tensor]
CHANNELS = checkpoint().config.transformer.in_channels


@pytest.fixture(scope="module")
def base(quick_base: BaseNames) -> Base:
    return quick_base.open()


@pytest.fixture(scope="module")
def sample(base: Base) -> Sample:
    """Latents with every choice but the named ones held fixed."""
    model, audio = base.transformer(CPU), base.config.audio
    rain, negative = base.contexts(["rain", ""], CPU)

    def run(
        seconds: float = 0.4,
        seed: int = 1,
        steps: int = 2,
        guidance: Guidance | None = None,
        given: Given | None = None,
    ) -> Tensor:
        return sample_latents(
            model,
            audio,
            rain,
            negative,
            seconds=seconds,
            seed=seed,
            steps=steps,
            guidance=guidance or Guidance(3.0, 1.0, [1]),
            given=given,
        )

    return run


def test_a_seed_gives_the_same_sound_and_another_another(sample: Sample) -> None:
    first = sample(seed=1)
    torch.rand(5)
    assert torch.equal(first, sample(seed=1))
    assert not torch.allclose(first, sample(seed=2), atol=1e-2)


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 1), (0.1, 2), (0.5, 12), (1.0, 25)])
def test_twenty_five_latents_make_a_second_and_there_is_at_least_one(
    sample: Sample, seconds: float, frames: int
) -> None:
    assert len(sample(seconds=seconds)) == frames


def test_the_number_of_steps_matters(sample: Sample) -> None:
    assert not torch.allclose(sample(steps=2), sample(steps=5), atol=1e-3)


def test_sound_is_30_ms_shorter_than_asked_and_each_step_is_told(base: Base) -> None:
    told: list[int] = []
    rain, negative = base.contexts(["rain", ""], CPU)
    latents = sample_latents(
        base.transformer(CPU),
        base.config.audio,
        rain,
        negative,
        seconds=0.4,
        seed=1,
        steps=3,
        guidance=Guidance(1.0, 0.0),
        on_step=told.append,
    )
    waveform = base.codec(CPU, decoder=True).decode(latents)
    assert waveform.shape == (2, 48_000 * 37 // 100)
    assert waveform.isfinite().all()
    assert told == [0, 1, 2]


@pytest.mark.parametrize(
    "guidance", [Guidance(3.0, 1.0, [1]), Guidance(3.0, 0.0), Guidance(1.0, 1.0, None), Guidance(1.0, 0.0)]
)
def test_takes_that_go_through_the_model_together_are_what_each_is_alone(
    base: Base, sample: Sample, guidance: Guidance
) -> None:
    rain, negative = base.contexts(["rain", ""], CPU)
    together = sample_takes(
        base.transformer(CPU),
        base.config.audio,
        rain,
        negative,
        seconds=0.4,
        seeds=(5, 1, 9),
        steps=2,
        guidance=guidance,
    )
    alone = [sample(seed=seed, guidance=guidance) for seed in (5, 1, 9)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_what_is_not_named_is_the_bases() -> None:
    defaults = SamplingDefaults(steps=12, cfg=3.0, stg=0.5, stg_blocks=(1, 2), rescale=0.2)
    assert SamplingSettings().resolve(defaults) == (12, Guidance(3.0, 0.5, (1, 2), 0.2))
    assert SamplingSettings(steps=4, cfg=1.0, stg=0.0).resolve(defaults) == (4, Guidance(1.0, 0.0, (1, 2), 0.2))


# ----------------------------------------------------------------------------------------------------------------------
# conditions


def given(mask: Tensor, reference: Tensor | None = None) -> Given:
    latents = torch.randn(len(mask), CHANNELS, generator=torch.Generator().manual_seed(3))
    return Given(latents, mask, reference)


@pytest.mark.parametrize(
    "mask", [at_start(10, 4), at_end(10, 4), torch.arange(10) % 3 > 0], ids=["start", "end", "spans"]
)
def test_what_is_given_comes_back_as_it_was_and_shapes_the_rest(base: Base, sample: Sample, mask: Tensor) -> None:
    known = given(mask)
    made = sample(given=known)
    assert torch.equal(made[mask], known.latents[mask])
    assert not torch.allclose(made[~mask], sample()[~mask], atol=1e-2)


def test_of_what_is_not_given_the_latents_do_not_matter(sample: Sample) -> None:
    known, mask = given(at_start(10, 4)), at_start(10, 4)
    other = Given(torch.where(mask[:, None], known.latents, 9.0), mask)
    assert torch.equal(sample(given=known), sample(given=other))


def test_a_reference_is_cut_off_again_and_shapes_the_sound(sample: Sample) -> None:
    nothing = at_start(10, 0)
    one, two = (given(nothing, torch.full((6, CHANNELS), level)) for level in (-1.0, 1.0))
    assert sample(given=one).shape == (10, CHANNELS)
    assert not torch.allclose(sample(given=one), sample(given=two), atol=1e-2)
    assert torch.equal(sample(given=given(nothing)), sample())
