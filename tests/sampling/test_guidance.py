from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import transformer
from parity.runners25 import unmodulated_transformer
from support import assert_matches, block_of, parity_cases
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.attention import Attention
from soundlora.model.latents import initial_noise, positions
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.guidance import Guidance, denoise
from soundlora.sampling.schedule import sigmas

FRAMES, STEPS = 5, 3


@parity_cases("guided_")
def test_parity(case: str) -> None:
    assert_matches(case)


@dataclass
class Calls:
    """Batch sizes and bypasses that the transformer was called with."""

    batches: list[int] = field(default_factory=list)
    bypasses: list[Any] = field(default_factory=list)


@pytest.fixture
def calls() -> Iterator[Calls]:
    calls = Calls()

    def record(module: object, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        calls.batches.append(len(args[0]))
        calls.bypasses.append(kwargs.get("bypass"))

    hook = transformer().register_forward_pre_hook(record, with_kwargs=True)
    yield calls
    hook.remove()


def context(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 6, transformer().config.context_dim, generator=generator)


def sample(guidance: Guidance, negative: Tensor | None = None, positive: int = 1) -> Tensor:
    model = transformer()
    noise = initial_noise(FRAMES, model.config.in_channels, seed=0)
    rope = model.rope(positions(FRAMES, checkpoint().config.audio))
    return denoise(model, noise, sigmas(STEPS), rope, context(positive), negative, guidance)


@pytest.mark.parametrize(
    ("cfg", "stg", "passes"), [(1.0, 0.0, 1), (7.0, 0.0, 2), (1.0, 1.0, 2), (7.0, 1.0, 3), (0.0, 0.0, 2)]
)
def test_a_step_is_one_call_with_only_the_passes_that_guidance_needs(
    calls: Calls, cfg: float, stg: float, passes: int
) -> None:
    sample(Guidance(cfg, stg, [1]), context(2))
    assert calls.batches == [passes] * STEPS


@pytest.mark.parametrize(("cfg", "stg", "prompts"), [(7.0, 0.0, 2), (1.0, 1.0, 1), (7.0, 1.0, 2)])
def test_keys_and_values_of_a_prompt_are_computed_once_a_step(cfg: float, stg: float, prompts: int) -> None:
    computed: list[int] = []
    attention = block_of(transformer(), 0).audio_attn2
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: computed.append(len(args[0])))
        for layer in (attention.to_k, attention.to_v)
    ]
    sample(Guidance(cfg, stg, [1]), context(2))
    for hook in hooks:
        hook.remove()
    assert computed == [prompts] * 2 * STEPS


def test_without_guidance_the_negative_prompt_is_not_heard(calls: Calls) -> None:
    plain = Guidance(1.0, 0.0, [1])
    assert torch.equal(sample(plain, context(2)), sample(plain, context(3)))
    assert torch.equal(sample(plain, None), sample(plain, context(3)))
    assert not any(calls.bypasses)


def test_guidance_leans_on_both_prompts() -> None:
    guided = sample(Guidance(7.0, 0.0, [1]), context(2))
    assert not torch.allclose(guided, sample(Guidance(7.0, 0.0, [1]), context(3)), atol=1e-3)
    assert not torch.allclose(guided, sample(Guidance(7.0, 0.0, [1]), context(2), positive=4), atol=1e-3)


def test_only_the_last_pass_is_perturbed_and_only_in_the_named_blocks(calls: Calls) -> None:
    sample(Guidance(7.0, 1.0, [1]), context(2))
    sample(Guidance(7.0, 1.0, None), context(2))
    for bypass in calls.bypasses[:STEPS]:
        assert {block: samples.tolist() for block, samples in bypass.items()} == {1: [False, False, True]}
    for bypass in calls.bypasses[STEPS:]:
        assert set(bypass) == set(range(transformer().config.layers))


def test_a_step_is_told_after_it_is_taken() -> None:
    model, seen = transformer(), []
    noise = initial_noise(FRAMES, model.config.in_channels, seed=0)
    rope = model.rope(positions(FRAMES, checkpoint().config.audio))
    final = denoise(
        model, noise, sigmas(STEPS), rope, context(1), None, Guidance(1.0, 0.0), lambda *news: seen.append(news)
    )
    assert [step for step, _, _ in seen] == [0, 1, 2]
    torch.testing.assert_close(seen[-1][1], final)
    assert torch.equal(seen[-1][2], final)


def test_predictions_are_combined_in_the_space_of_clean_latents() -> None:
    c, n, p = torch.randn(3, 1, 4, 8)
    plain = Guidance(cfg=3.0, stg=0.5, rescale=0.0)
    torch.testing.assert_close(plain.combine(c, n, p), c + 2 * (c - n) + 0.5 * (c - p))
    torch.testing.assert_close(plain.combine(c, n, None), c + 2 * (c - n))
    assert torch.equal(plain.combine(c, None, None), c)


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescaling_pulls_the_spread_back_to_the_conditional_one(rescale: float) -> None:
    c, n = torch.randn(2, 1, 50, 8)
    wide = Guidance(cfg=7.0, rescale=0.0).combine(c, n, None).std()
    expected = rescale * c.std() + (1 - rescale) * wide
    torch.testing.assert_close(Guidance(cfg=7.0, rescale=rescale).combine(c, n, None).std(), expected)


def test_a_sound_is_rescaled_by_its_own_spread_whatever_is_made_with_it() -> None:
    c, n, p = torch.randn(3, 4, 50, 8) * torch.tensor([1.0, 10.0, 0.1, 3.0])[:, None, None]
    together = Guidance().combine(c, n, p)
    for number in range(4):
        one = slice(number, number + 1)
        assert torch.equal(together[one], Guidance().combine(c[one], n[one], p[one]))


def test_guidance_is_computed_in_fp32() -> None:
    c, n = torch.randn(2, 1, 4, 8, dtype=torch.bfloat16)
    assert Guidance().combine(c, n, None).dtype == torch.float32


def test_bf16_latents_stay_bf16() -> None:
    model = transformer()
    noise = initial_noise(FRAMES, model.config.in_channels, 0, torch.bfloat16)
    rope = model.rope(positions(FRAMES, checkpoint().config.audio))
    final = denoise(model, noise, sigmas(2), rope, context(1), context(2), Guidance(7.0, 1.0, [1]))
    assert final.dtype == torch.bfloat16
    assert final.isfinite().all()


@pytest.mark.parametrize("blocks", [(28,), (-1,), (0, 2)])
def test_blocks_that_there_are_not_are_refused_where_they_would_count(blocks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="but the blocks of this base are 0 to 1"):
        sample(Guidance(cfg=1.0, stg=1.0, stg_blocks=blocks))
    assert sample(Guidance(cfg=1.0, stg=0.0, stg_blocks=blocks)).isfinite().all()


def test_a_prompts_keys_and_values_are_made_once_for_all_steps_where_they_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = unmodulated_transformer()
    projections: list[int] = []
    project = Attention.project

    def counting(self: Attention, context: Tensor, whole: bool) -> Tensor:
        assert whole
        projections.append(len(context))
        return project(self, context, whole)

    def run() -> Tensor:
        noise = initial_noise(FRAMES, model.config.in_channels, seed=0)
        rope = model.rope(positions(FRAMES, checkpoint().config.audio))
        guidance = Guidance(cfg=4.0, stg=1.0, stg_blocks=(1,))
        return denoise(model, noise, sigmas(STEPS), rope, context(1), context(2), guidance)

    monkeypatch.setattr(Attention, "project", counting)
    known = run()
    assert projections == [2] * model.config.layers
    # As it would be with a modulation, which is made anew in each step.
    forward = AudioTransformer.forward

    def plain(self: AudioTransformer, *args: Any, projected: Tensor, whole: bool, **kwargs: Any) -> Tensor:
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(AudioTransformer, "forward", plain)
    torch.testing.assert_close(known, run())
