from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from parity.runners25 import unmodulated_transformer
from support import assert_matches, examples, needs_gpu, parity_cases
from torch import Tensor

from soundlora.errors import DivergedError
from soundlora.lora.adapter import Adapter
from soundlora.model.condition import at_start
from soundlora.model.transformer import AudioTransformer
from soundlora.training import gradient as gradient_module
from soundlora.training.flow import loss_per_sample
from soundlora.training.gradient import Samples
from soundlora.training.optimizer import Optimizer
from soundlora.training.trainer import Example, StepFigures, Trainer, drops_caption

AUDIO = checkpoint().config.audio
WIDTH = checkpoint().config.transformer.context_dim
CHANNELS = checkpoint().config.transformer.in_channels


@parity_cases("train_")
def test_parity(case: str) -> None:
    assert_matches(case)


def trainer(clips: list[Example] | None = None, *, seed: int = 1, steps: int = 20, rate: float = 1e-3) -> Trainer:
    adapter = Adapter.create(fresh_transformer(), 4, seed=seed)
    return Trainer(adapter, clips or examples(), AUDIO, steps=steps, learning_rate=rate, seed=seed)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in trainer.adapter.state_dict().items()}


def test_a_steps_loss_does_not_depend_on_what_ran_before() -> None:
    # At a rate of nearly nothing the weights stay what they were, so that only randomness could differ.
    straight, jumping = trainer(rate=1e-12), trainer(rate=1e-12)
    before = [straight.step(step) for step in range(6)]
    torch.rand(100)
    for step in (5, 0, 3):
        figures = jumping.step(step)
        assert figures.loss == pytest.approx(before[step].loss, rel=1e-5)
        assert (figures.clip, figures.sigma) == (before[step].clip, before[step].sigma)


def test_the_same_seed_trains_the_same_adapter_to_the_bit() -> None:
    one, two = trainer(), trainer()
    assert [one.step(step) for step in range(5)] == [two.step(step) for step in range(5)]
    assert all(torch.equal(tensor, weights(two)[key]) for key, tensor in weights(one).items())


def test_another_seed_trains_another_one() -> None:
    assert trainer(seed=1).step(0).sigma != trainer(seed=2).step(0).sigma


@pytest.mark.parametrize("count", [1, 2, 7])
def test_each_epoch_visits_every_clip_once(count: int) -> None:
    run = trainer(examples(count))
    order = [run.clip_index(step) for step in range(6 * count)]
    epochs = [order[start : start + count] for start in range(0, len(order), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count == 7:
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_of_clips_is_a_function_of_the_seed() -> None:
    clips = examples(7)
    orders = {seed: [trainer(clips, seed=seed).clip_index(step) for step in range(14)] for seed in (1, 2)}
    assert orders[1] != orders[2]
    assert orders[1] == [trainer(clips, seed=1).clip_index(step) for step in range(14)]


def test_training_lowers_the_loss_on_what_it_sees() -> None:
    run = trainer(examples(1), steps=60, rate=1e-2)
    losses = [run.step(step).loss for step in range(60)]
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15])


def test_the_base_is_not_trained() -> None:
    run = trainer()
    before = {name: p.clone() for name, p in run.adapter.model.named_parameters() if "lora" not in name}
    for step in range(3):
        run.step(step)
    for name, p in run.adapter.model.named_parameters():
        assert name not in before or torch.equal(p, before[name])


def test_figures_name_the_step_the_clip_and_what_was_measured() -> None:
    run = trainer(steps=10, rate=1e-3)
    run.step(0)
    figures = run.step(1)
    assert isinstance(figures, StepFigures)
    assert figures.step == 2
    assert figures.clip == run.examples[run.clip_index(1)].name
    assert figures.learning_rate == pytest.approx(1e-3 * 0.91)
    assert 0 <= figures.sigma <= 1
    assert figures.loss > 0
    assert figures.gradient_norm > 0


def test_clips_of_different_lengths_are_trained_on() -> None:
    run = trainer([*examples(1, frames=3), *examples(1, frames=9)])
    assert all(math.isfinite(run.step(step).loss) for step in range(4))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_latents_stop_the_run_before_anything_is_updated(value: float) -> None:
    clips = examples(1)
    run = trainer(clips)
    run.step(0)
    before = weights(run)
    clips[0].latents[2, 3] = value
    with pytest.raises(DivergedError, match=r"at step 2 on clip0\.wav"):
        run.step(1)
    assert run.optimizer.step_number == 1
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights(run).items())


class Replayed:
    """A recording as a GPU has it, on the CPU: the same calls again, on memory of its own."""

    launches = 0
    graph = SimpleNamespace(pool=lambda: None)

    def __init__(self, function: Callable[[Samples], Tensor], samples: Samples, pool: object) -> None:
        self.function, self.samples = function, samples._each(Tensor.clone)

    def replay(self, samples: Samples) -> Tensor:
        Replayed.launches += 1
        for mine, new in zip(self.samples, samples, strict=True):
            if isinstance(mine, torch.Tensor) and isinstance(new, torch.Tensor):
                mine.copy_(new)
        return self.function(self.samples).clone()


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Trainer:
    """A trainer whose steps are recorded and whose device updates by itself, with layers joined."""
    monkeypatch.setattr(gradient_module, "_Recording", Replayed)
    monkeypatch.setattr(Optimizer, "advances", True)
    monkeypatch.setattr(Replayed, "launches", 0)
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    run = Trainer(adapter, examples(4), AUDIO, steps=20, learning_rate=1e-3, seed=1, average=True, **settings)
    adapter.join()
    run._gradient._records = True
    return run


@pytest.mark.parametrize(("batch_size", "at_once"), [(1, 1), (2, 2), (3, 2)])
def test_a_step_is_one_launch_where_the_batch_is_one_group(
    batch_size: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer(
        Adapter.create(fresh_transformer(), 4, seed=1), examples(4), AUDIO, steps=20, learning_rate=1e-3, seed=1,
        average=True, batch_size=batch_size, at_once=at_once,
    )  # fmt: skip
    expected = [plain.step(step) for step in range(8)]
    there = on_a_gpu(monkeypatch, batch_size=batch_size, at_once=at_once)
    launches = []
    for step, wanted in enumerate(expected):
        before = Replayed.launches
        figures = there.step(step)
        launches.append(Replayed.launches - before)
        assert (figures.clip, figures.sigma, figures.step) == (wanted.clip, wanted.sigma, wanted.step)
        assert figures.learning_rate == wanted.learning_rate
        assert (figures.loss, figures.gradient_norm) == pytest.approx((wanted.loss, wanted.gradient_norm), rel=1e-4)
    assert launches == [0, 0, 0] + [-(-batch_size // at_once)] * 5
    with plain.optimizer.averaged(), there.optimizer.averaged():
        for key, tensor in weights(plain).items():
            torch.testing.assert_close(weights(there)[key], tensor, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("step", [1, 5])  # before and after it is recorded
@pytest.mark.parametrize(("batch_size", "at_once"), [(1, 1), (2, 2), (3, 2)])
def test_a_divergence_on_a_gpu_is_told_at_its_step_and_nothing_is_lost(
    step: int, batch_size: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spared = (on_a_gpu(monkeypatch, batch_size=batch_size, at_once=at_once) for _ in range(2))
    for number in range(step):
        assert run.step(number) == spared.step(number)
    run._ahead = (-1, [])
    clip = run.examples[run.clip_index(step * batch_size)]
    kept = clip.latents.clone()
    clip.latents[2, 3] = math.nan
    before = weights(run)
    with pytest.raises(DivergedError, match=rf"at step {step + 1} on {clip.name}"):
        run.step(step)
    assert run.optimizer.step_number == step
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights(run).items())
    clip.latents.copy_(kept)
    assert [run.step(number) for number in (step, step + 1)] == [spared.step(number) for number in (step, step + 1)]
    with run.optimizer.averaged(), spared.optimizer.averaged():
        assert all(torch.equal(tensor, weights(spared)[key]) for key, tensor in weights(run).items())


@needs_gpu
def test_a_divergence_in_a_recorded_step_changes_nothing() -> None:
    def on_the_gpu() -> Trainer:
        adapter = Adapter.create(fresh_transformer().to("cuda"), 4, seed=1)
        return Trainer(adapter, examples(4), AUDIO, steps=20, learning_rate=1e-3, seed=1, average=True)

    run, spared = on_the_gpu(), on_the_gpu()
    for number in range(6):
        run.step(number)
        spared.step(number)
    assert run._gradient._recordings
    run._ahead = (-1, [])
    clip = run.examples[run.clip_index(6)]
    kept = clip.latents.clone()
    clip.latents[2, 3] = math.nan
    before = weights(run)
    with pytest.raises(DivergedError, match="at step 7"):
        run.step(6)
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights(run).items())
    clip.latents.copy_(kept)
    assert run.step(6).loss == pytest.approx(spared.step(6).loss, rel=1e-4)
    with run.optimizer.averaged(), spared.optimizer.averaged():
        for key, tensor in weights(run).items():
            torch.testing.assert_close(weights(spared)[key], tensor, atol=1e-4, rtol=1e-2)


def test_a_rate_that_blows_up_is_noticed() -> None:
    run = trainer(examples(1), rate=1e18)
    with pytest.raises(DivergedError):
        list(map(run.step, range(20)))


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        Trainer(Adapter.create(fresh_transformer(), 4), [], AUDIO, steps=1, learning_rate=1e-4, seed=0)


def test_a_batch_is_the_mean_of_its_samples_and_one_step_of_the_schedule() -> None:
    # At a rate of nearly nothing the weights stay what they were, so that the steps of single clips can be compared.
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    batched = Trainer(adapter, examples(), AUDIO, steps=20, learning_rate=1e-12, seed=1, batch_size=3)
    figures = batched.step(1)
    single = trainer(rate=1e-12)
    singles = [single.step(sample) for sample in (3, 4, 5)]
    assert figures.loss == pytest.approx(sum(one.loss for one in singles) / 3, rel=1e-5)
    assert figures.sigma == pytest.approx(sum(one.sigma for one in singles) / 3)
    assert figures.clip == ", ".join(one.clip for one in singles)
    assert sorted(figures.clip.split(", ")) == [f"clip{i}.wav" for i in range(3)]
    assert batched.optimizer.step_number == 1


@pytest.mark.parametrize("at_once", [2, 3, 8])
def test_clips_that_go_through_together_train_the_same_adapter(at_once: int) -> None:
    def run(at_once: int) -> tuple[list[StepFigures], Trainer]:
        run = Trainer(
            Adapter.create(fresh_transformer(), 4, seed=1), examples(5), AUDIO, steps=20, learning_rate=1e-3, seed=1,
            batch_size=4, at_once=at_once,
        )  # fmt: skip
        return [run.step(step) for step in range(3)], run

    (alone, one), (together, several) = run(1), run(at_once)
    for a, b in zip(alone, together, strict=True):
        assert (a.clip, a.sigma) == (b.clip, b.sigma)
        assert b.loss == pytest.approx(a.loss, rel=1e-5)
    for key, tensor in weights(one).items():
        torch.testing.assert_close(weights(several)[key], tensor, atol=1e-5, rtol=1e-3)


def test_clips_of_other_lengths_are_not_stacked() -> None:
    clips = [*examples(1), *examples(1, frames=9)]
    run = Trainer(
        Adapter.create(fresh_transformer(), 4), clips, AUDIO, steps=2, learning_rate=1e-3, seed=1,
        batch_size=2, at_once=2,
    )  # fmt: skip
    assert math.isfinite(run.step(0).loss)


def padded(clips: list[Example], counted: int) -> list[Example]:
    return [replace(clip, padding=torch.arange(len(clip.latents)) >= counted) for clip in clips]


def test_what_stands_where_a_clip_is_padded_is_not_learnt() -> None:
    """The step is the same whatever the velocity there should be, and another one where the clip itself differs."""
    clips = examples(1, frames=6)
    run = Trainer(Adapter.create(fresh_transformer(), 4), padded(clips, 4), AUDIO, steps=2, learning_rate=1e-3, seed=1)
    samples = run._group([0])
    assert samples.padding is not None
    assert samples.padding.tolist() == [[False] * 4 + [True] * 2]

    def loss(noise: Tensor) -> float:
        # The clean latents move against the noise, so that the transformer sees the same.
        s = samples.sigma.view(-1, 1, 1)
        clean = samples.clean - (noise - samples.noise) * s / (1 - s)
        return run._gradient.add(samples._replace(noise=noise, clean=clean)).item()

    other_end, other_start = samples.noise.clone(), samples.noise.clone()
    other_end[:, 4:] += 1
    other_start[:, :4] += 1
    assert loss(other_end) == pytest.approx(loss(samples.noise), rel=1e-4)
    assert loss(other_start) > 1.01 * loss(samples.noise)


def test_a_padding_of_nothing_changes_nothing() -> None:
    plain, masked = trainer(examples(2)), trainer(padded(examples(2), 99))
    losses = [[run.step(step).loss for step in range(3)] for run in (plain, masked)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_activations_computed_again_give_the_same_adapter() -> None:
    kept, again = trainer(), trainer()
    again.adapter.model.checkpointing = True
    assert [kept.step(step) for step in range(4)] == [again.step(step) for step in range(4)]
    assert all(torch.equal(tensor, weights(again)[key]) for key, tensor in weights(kept).items())


# ----------------------------------------------------------------------------------------------------------------------
# the empty caption


def dropping(share: float, *, seed: int = 1, batch_size: int = 1) -> Trainer:
    adapter = Adapter.create(fresh_transformer(), 4, seed=seed)
    empty = torch.full_like(examples()[0].context, 0.5)
    return Trainer(
        adapter,
        examples(),
        AUDIO,
        steps=20,
        learning_rate=1e-12,  # so that only the captions make a difference
        seed=seed,
        batch_size=batch_size,
        caption_dropout=share,
        empty_context=empty,
    )


def test_the_share_of_samples_without_their_caption_is_as_asked_for() -> None:
    dropped = [drops_caption(7, sample, 0.25) for sample in range(4000)]
    assert sum(dropped) / len(dropped) == pytest.approx(0.25, abs=0.03)
    assert [drops_caption(7, sample, 0.25) for sample in range(4000)] == dropped
    assert [drops_caption(8, sample, 0.25) for sample in range(4000)] != dropped
    assert not any(drops_caption(7, sample, 0.0) for sample in range(100))
    assert all(drops_caption(7, sample, 1.0) for sample in range(100))


def test_a_dropped_caption_changes_the_sample_and_nothing_else_of_it() -> None:
    plain, dropped = trainer(rate=1e-12), dropping(0.5)
    for step in range(8):
        one, other = plain.step(step), dropped.step(step)
        assert (one.clip, one.sigma) == (other.clip, other.sigma)
        assert (abs(one.loss - other.loss) > 1e-6) == drops_caption(1, step, 0.5)


def test_which_captions_are_dropped_does_not_depend_on_how_samples_are_batched() -> None:
    alone = [dropping(0.5).step(step).loss for step in range(4)]
    together = dropping(0.5, batch_size=4).step(0).loss
    assert together == pytest.approx(sum(alone) / 4, rel=1e-4)


def test_dropping_captions_takes_the_empty_ones_context() -> None:
    adapter = Adapter.create(fresh_transformer(), 4)
    with pytest.raises(ValueError, match="empty caption"):
        Trainer(adapter, examples(), AUDIO, steps=1, learning_rate=1e-3, seed=1, caption_dropout=0.1)


@pytest.mark.parametrize(("batch_size", "at_once"), [(1, 1), (2, 1), (2, 2)])
def test_known_keys_and_values_train_the_same_lora_to_rounding(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, at_once: int
) -> None:
    projected: list[int] = []
    original = AudioTransformer.project_text

    def counting(self: AudioTransformer, context: torch.Tensor, whole: bool = False) -> torch.Tensor:
        projected.append(len(context))
        return original(self, context, whole)

    monkeypatch.setattr(AudioTransformer, "project_text", counting)
    # Two of three clips share a caption.
    clips = examples()
    clips[2] = Example(clips[2].name, clips[2].latents, clips[0].context)

    def run(project_text: bool) -> Trainer:
        adapter = Adapter.create(unmodulated_transformer(), 4, seed=1)
        trainer = Trainer(
            adapter, clips, AUDIO, steps=20, learning_rate=1e-2, seed=1, batch_size=batch_size, at_once=at_once,
            caption_dropout=0.4, empty_context=torch.ones(8, WIDTH), project_text=project_text,
        )  # fmt: skip
        for step in range(6):
            trainer.step(step)
        return trainer

    plain = run(False)
    assert projected == []
    known = run(True)
    assert projected == [1, 1, 1], "two captions and the empty one"
    for key, tensor in weights(plain).items():
        torch.testing.assert_close(weights(known)[key], tensor, atol=1e-4, rtol=1e-3)


# ----------------------------------------------------------------------------------------------------------------------
# the base as it is


def preserving(
    share: float,
    clips: list[Example] | None = None,
    *,
    rate: float = 1e-3,
    model: AudioTransformer | None = None,
    **settings: Any,
) -> Trainer:
    """A trainer that keeps what the base makes of two contexts a clip."""
    generator = torch.Generator().manual_seed(11)
    kept = [
        replace(clip, preserved=tuple(torch.randn(8, WIDTH, generator=generator) for _ in range(2)))
        for clip in clips or examples()
    ]
    adapter = Adapter.create(model or fresh_transformer(), 4, seed=1)
    return Trainer(adapter, kept, AUDIO, steps=20, learning_rate=rate, seed=1, preserve=share, **settings)


def test_a_share_of_the_steps_has_the_base_as_its_target_and_the_others_are_as_ever() -> None:
    plain, kept = trainer(rate=1e-12), preserving(0.4, rate=1e-12)
    steps = [(plain.step(step), kept.step(step)) for step in range(20)]
    assert 3 <= sum(figures.preserving for _, figures in steps) <= 13
    for expected, figures in steps:
        assert (figures.clip, figures.sigma) == (expected.clip, expected.sigma)
        if figures.preserving:
            assert figures.loss < 1e-10, "a fresh adapter is the base"
        else:
            assert figures.loss == pytest.approx(expected.loss, rel=1e-5)


def test_a_step_that_preserves_leads_back_to_the_base() -> None:
    kept = preserving(0.9, rate=1e-2)
    generator = torch.Generator().manual_seed(3)
    for layer in kept.adapter.layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.2, generator=generator)
    samples = next(group for step in range(9) for group in kept._draw(step) if group.preserving)
    losses = []
    for _ in range(20):
        losses.append(kept._gradient.add(samples).item())
        kept.optimizer.step()
    assert losses[-1] < 0.2 * losses[0]
    assert {layer.scale for layer in kept.adapter.layers.values()} == {1.0}


def test_both_kinds_of_prompts_are_preserved() -> None:
    kept = preserving(0.9)
    seen = {id(kept._context(sample)) for sample in range(60) if kept._preserves(sample)}
    assert seen == {id(context) for example in kept.examples for context in example.preserved}


@pytest.mark.parametrize(("batch_size", "at_once", "project_text"), [(1, 1, True), (4, 1, False), (4, 4, True)])
def test_groups_known_texts_and_joined_layers_preserve_the_same(
    batch_size: int, at_once: int, project_text: bool
) -> None:
    def run(joined: bool, **settings: Any) -> Trainer:
        made = preserving(0.5, rate=1e-2, batch_size=batch_size, model=unmodulated_transformer(), **settings)
        if joined:
            made.adapter.join()
        for step in range(6):
            made.step(step)
        return made

    plain = weights(run(joined=False))
    joined = run(joined=True, at_once=at_once, project_text=project_text)
    assert joined.adapter.joints
    for key, tensor in plain.items():
        torch.testing.assert_close(weights(joined)[key], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["given", "reference"])
def test_conditions_stand_in_front_of_what_is_preserved(kind: str) -> None:
    kept = preserving(0.9, conditioned(**{kind: 3}), rate=1e-12)
    figures = [kept.step(step) for step in range(8)]
    assert any(each.preserving for each in figures)
    assert all(each.loss < 1e-10 for each in figures if each.preserving)


def test_preserving_takes_contexts() -> None:
    with pytest.raises(ValueError, match="preserved, of every example"):
        Trainer(
            Adapter.create(fresh_transformer(), 4), examples(), AUDIO, steps=1, learning_rate=1e-3, seed=1, preserve=0.1
        )


# ----------------------------------------------------------------------------------------------------------------------
# conditions


def conditioned(*, given: int = 0, reference: int = 0, count: int = 4) -> list[Example]:
    """Examples with so many latents given at their start, and so many of another sound in front."""
    generator = torch.Generator().manual_seed(9)
    return [
        replace(
            each,
            given=at_start(len(each.latents), given) if given else None,
            reference=torch.randn(reference, CHANNELS, generator=generator) if reference else None,
        )
        for each in examples(count)
    ]


def run_of(clips: list[Example], share: float, **settings: Any) -> Trainer:
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    return Trainer(adapter, clips, AUDIO, steps=20, learning_rate=1e-3, seed=1, condition_probability=share, **settings)


@pytest.mark.parametrize("kind", ["given", "reference"])
def test_a_condition_changes_the_loss_and_a_share_of_none_trains_text_to_audio(kind: str) -> None:
    plain = run_of(examples(4), 1.0)
    clips = conditioned(**{kind: 3})
    all_, none = run_of(clips, 1.0), run_of(clips, 0.0)
    for step in range(4):
        expected, with_, without = plain.step(step), all_.step(step), none.step(step)
        assert without.loss == pytest.approx(expected.loss, rel=1e-5)
        assert (without.sigma, without.clip) == (expected.sigma, expected.clip)
        assert abs(with_.loss - expected.loss) > 1e-5


def test_given_latents_count_nothing() -> None:
    # Whatever the target is there: where all but one latent is given, the loss is that latent's.
    clean, noise = torch.randn(1, 6, CHANNELS), torch.randn(1, 6, CHANNELS)
    velocity = noise - clean
    velocity[0, 5] += 2
    velocity[0, :5] += 100
    assert loss_per_sample(velocity, clean, noise, at_start(6, 5)[None]).item() == pytest.approx(4)


@pytest.mark.parametrize("kind", ["given", "reference"])
def test_clips_at_once_and_one_by_one_train_the_same_with_conditions(kind: str) -> None:
    clips = conditioned(**{kind: 3})
    together, single = (run_of(clips, 0.5, batch_size=4, at_once=n) for n in (4, 1))
    for step in range(3):
        assert together.step(step).loss == pytest.approx(single.step(step).loss, rel=1e-5)
    for key, tensor in weights(together).items():
        torch.testing.assert_close(tensor, weights(single)[key], atol=1e-5, rtol=1e-3)


def test_a_reference_is_there_for_a_whole_batch_or_not_at_all() -> None:
    run = run_of(conditioned(reference=3), 0.5, batch_size=3, at_once=1)
    here = [[group.reference is not None for group in run._draw(step)] for step in range(60)]
    assert all(len(set(step)) == 1 for step in here)
    assert 15 < sum(step[0] for step in here) < 45


def test_references_of_different_lengths_are_trained_on() -> None:
    clips = conditioned(reference=3)
    assert clips[0].reference is not None
    clips[0] = replace(clips[0], reference=clips[0].reference[:2])
    run = run_of(clips, 1.0, batch_size=4, at_once=4)
    assert math.isfinite(run.step(0).loss)
