"""An adapter whose strength goes from one end to the other: its steps, its held-out loss, and what it has learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from parity.runners25 import unmodulated_transformer
from support import examples
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.model.transformer import AudioTransformer
from soundlora.training.evaluation import HeldOut, compare
from soundlora.training.flow import SLIDE, noisy, slid
from soundlora.training.trainer import Example, Trainer

CONFIG = checkpoint().config
AUDIO, WIDTH, CHANNELS = CONFIG.audio, CONFIG.transformer.context_dim, CONFIG.transformer.in_channels
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def between(count: int = 2) -> list[Example]:
    """Sounds of one prompt, each at both ends, which are two other prompts."""
    generator = torch.Generator().manual_seed(5)
    context, ends = torch.randn(8, WIDTH, generator=generator), torch.randn(2, 8, WIDTH, generator=generator)
    return [
        replace(example, context=context, ends=ends, strength=strength)
        for example in examples(count)
        for strength in (-1.0, 1.0)
    ]


def trainer(
    clips: list[Example], *, steps: int = 60, rate: float = 1e-2, model: AudioTransformer | None = None, **given: Any
) -> Trainer:
    adapter = Adapter.create(model or fresh_transformer(), 4, seed=1)
    return Trainer(adapter, clips, AUDIO, steps=steps, learning_rate=rate, seed=1, **given)


def velocity(model: AudioTransformer, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
    rope = model.rope(torch.arange(x.shape[1]).float().view(1, 1, -1, 1).expand(1, 1, -1, 2) / 25)
    out: Tensor = model(x, sigma[:, None], sigma, context[None], rope)
    return out


def test_the_target_is_the_way_between_the_ends_to_either_side() -> None:
    middle, low, high = torch.randn(3, 2, 4, CHANNELS).unbind(0)
    assert torch.equal(slid(middle, low, high, 0.0), middle)
    torch.testing.assert_close(slid(middle, low, high, 1.0) - middle, SLIDE * (high - low))
    torch.testing.assert_close(slid(middle, low, high, 1.0) + slid(middle, low, high, -1.0), 2 * middle)


def test_the_strength_moves_the_velocity_evenly_from_one_end_to_the_other() -> None:
    clips = between(1)
    run = trainer(clips, steps=150)
    for step in range(150):
        run.step(step)
    adapter, example = run.adapter, clips[0]
    held_out = HeldOut(adapter, clips, AUDIO)
    assert held_out.loss() < 0.3 * held_out.base_loss()
    assert example.ends is not None
    noise, sigma = torch.randn(1, *example.latents.shape), torch.tensor([0.6])
    x = noisy(example.latents[None], noise, sigma)
    with torch.no_grad():
        with adapter.switched_off():
            middle, low, high = (velocity(adapter.model, x, sigma, each) for each in (example.context, *example.ends))
        way = high - low
        moved = []
        for strength in STRENGTHS:
            with adapter.at(strength):
                now = velocity(adapter.model, x, sigma, example.context)
            moved.append((((now - middle) * way).sum() / way.square().sum()).item())
    assert moved == sorted(moved)
    assert moved[0] < -0.4
    assert moved[-1] > 0.4
    assert abs(moved[2]) < 1e-6


def test_a_fresh_adapters_loss_is_the_way_itself() -> None:
    run, clips = trainer(between(), rate=1e-12), between()
    losses = [run.step(step).loss for step in range(4)]
    assert all(loss > 1e-3 for loss in losses), "the base is not at the ends"
    same = [replace(clip, ends=torch.stack([clip.context, clip.context])) for clip in clips]
    still = trainer(same, rate=1e-12)
    assert all(still.step(step).loss < 1e-10 for step in range(4))


def test_clips_of_one_side_alone_train_what_they_train_at_that_strength() -> None:
    """At -1 the update is learnt with the other sign: used at -1, the LoRA does what an ordinary one does at 1."""
    plain, turned = trainer(examples(2), steps=20), trainer([replace(e, strength=-1.0) for e in examples(2)], steps=20)
    for step in range(20):
        assert plain.step(step).loss == pytest.approx(turned.step(step).loss, rel=1e-3)
    ordinary, other = plain.adapter.state_dict(), turned.adapter.state_dict()
    for key, tensor in ordinary.items():
        sign = -1 if "lora_B" in key else 1
        torch.testing.assert_close(sign * other[key], tensor, atol=1e-3, rtol=1e-2)
    assert {layer.scale for layer in turned.adapter.layers.values()} == {1.0}


def test_a_batch_has_one_side() -> None:
    run = trainer(between(3), batch_size=2, at_once=2)
    sides = []
    for step in range(12):
        (group,) = run._draw(step)
        strengths = {run.examples[run.clip_index(sample)].strength for sample in run._samples(step)}
        assert strengths == {group.strength}
        sides.append(group.strength)
    assert set(sides) == {-1.0, 1.0}


def test_joined_layers_and_known_texts_slide_the_same() -> None:
    def weights(joined: bool) -> dict[str, Tensor]:
        run = trainer(between(), model=unmodulated_transformer(), project_text=joined)
        if joined:
            run.adapter.join()
            assert run.adapter.joints
        for step in range(6):
            run.step(step)
        return run.adapter.state_dict()

    plain, joined = weights(joined=False), weights(joined=True)
    for key, tensor in plain.items():
        torch.testing.assert_close(joined[key], tensor, atol=1e-4, rtol=1e-3)


def test_each_side_is_compared_with_its_own_clips() -> None:
    clips = [
        replace(clip, latents=clip.latents + 4 * side, strength=side) for clip in examples(2) for side in (-1.0, 1.0)
    ]
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)

    def right(example: Example) -> Tensor:
        return torch.randn_like(example.latents) + (4 * example.strength if adapter_works(adapter) else 0)

    def swapped(example: Example) -> Tensor:
        return torch.randn_like(example.latents) - (4 * example.strength if adapter_works(adapter) else 0)

    near, start = compare(adapter, clips, right).distances
    far, _ = compare(adapter, clips, swapped).distances
    assert near < 0.5 * start
    assert far > 1.5 * start


def adapter_works(adapter: Adapter) -> bool:
    return next(iter(adapter.layers.values())).scale != 0
