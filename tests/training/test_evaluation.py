from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from support import examples, tone

from soundlora.audio.wav import write_wav
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.training.evaluation import (
    HeldOut,
    compare,
    default_hold_out,
    fit_report,
    measure_level,
    split,
)
from soundlora.training.optimizer import Optimizer
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import Example, Trainer
from soundlora.training.verdict import Facts

AUDIO = checkpoint().config.audio
WIDTH = checkpoint().config.transformer.context_dim
CHANNELS = checkpoint().config.transformer.in_channels


@pytest.mark.parametrize(("clips", "kept_out"), [(1, 0), (9, 0), (10, 1), (19, 1), (20, 2), (200, 20)])
def test_one_clip_in_ten_is_kept_out_of_ten_and_more(clips: int, kept_out: int) -> None:
    assert default_hold_out(clips) == kept_out


def test_the_split_is_whole_and_the_same_for_a_seed() -> None:
    clips = examples(12)
    kept, out = split(clips, 3, seed=4)
    assert sorted(example.name for example in kept + out) == sorted(example.name for example in clips)
    assert len(out) == 3
    assert [e.name for e in split(clips, 3, seed=4)[1]] == [e.name for e in out]
    others = {tuple(e.name for e in split(clips, 3, seed=seed)[1]) for seed in range(8)}
    assert len(others) > 3


def test_no_clip_kept_out_leaves_them_all_in_order() -> None:
    clips = examples(4)
    assert split(clips, 0, seed=1) == (clips, [])


def test_the_held_out_loss_repeats_and_draws_nothing_from_the_training() -> None:
    clips = examples(3)
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    held_out = HeldOut(adapter, clips[2:], AUDIO)
    first = held_out.loss()
    torch.rand(10)
    assert held_out.loss() == first
    trainer = Trainer(adapter, clips[:2], AUDIO, steps=5, learning_rate=1e-3, seed=1)
    with_evaluation = [(held_out.loss(), trainer.step(step))[1] for step in range(3)]
    other = Trainer(
        Adapter.create(fresh_transformer(), 4, seed=1), clips[:2], AUDIO, steps=5, learning_rate=1e-3, seed=1
    )
    assert with_evaluation == [other.step(step) for step in range(3)]


def test_the_held_out_loss_falls_when_the_clip_itself_is_trained_on() -> None:
    clips = examples(1)
    adapter = Adapter.create(fresh_transformer(), 8, seed=1)
    held_out = HeldOut(adapter, clips, AUDIO)
    before = held_out.loss()
    trainer = Trainer(adapter, clips, AUDIO, steps=60, learning_rate=1e-2, seed=1)
    for step in range(60):
        trainer.step(step)
    after = held_out.loss()
    assert after < 0.9 * before
    with adapter.switched_off():
        assert held_out.loss() == pytest.approx(before, rel=1e-5)
    assert held_out.loss() == after
    levels = held_out.by_level()
    assert [level.sigma for level in levels] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert sum(level.lora for level in levels) / 5 == pytest.approx(after)
    assert sum(level.base for level in levels) / 5 == pytest.approx(before, rel=1e-5)


def test_the_report_of_a_run_names_a_file_that_is_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, {})
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    optimizer = Optimizer(adapter.parameters(), 1e-2, steps=30)
    for step, loss in {0: 1.0, 10: 0.5, 20: 0.6, 30: 0.9}.items():
        folder.log_held_out(step, loss)
        if step:
            folder.save_checkpoint(step, adapter, optimizer, {})
    nothing: Any = None
    fit = fit_report(folder, adapter, [], nothing, nothing, [], Facts())
    assert (fit.verdict, fit.best_step) == ("overfitting", 10)
    assert fit.best_file is not None
    assert f"Use {fit.best_file}." in fit.advice
    assert len(read_lora(folder.path / fit.best_file).pairs) == len(adapter.layers)


def test_comparing_finds_the_clip_that_is_repeated_later_and_softer() -> None:
    clips = examples(4, frames=40)
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)

    def sample(example: Example) -> torch.Tensor:
        if next(iter(adapter.layers.values())).scale == 0:
            return torch.full((40, CHANNELS), 5.0)  # the base: nothing like the clips
        return 0.5 * torch.roll(clips[2].latents, 7, dims=0)

    (ours, theirs), (name, closeness), generated, original = compare(adapter, clips, sample)
    assert name == "clip2.wav"
    assert closeness > 0.9
    assert ours < 0.6 < theirs
    assert torch.equal(generated[0], sample(clips[0]))
    assert all(bool((sound == 5).all()) for sound in original)
    assert {layer.scale for layer in adapter.layers.values()} == {1.0}


def test_sound_is_compared_with_that_of_the_lora_it_began_with(tmp_path: Path) -> None:
    clips = examples(4)
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.fill_(0.5)
    adapter.save(tmp_path / "first.safetensors", {})
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.fill_(0.75)
    seen: list[float] = []

    def sample(example: Example) -> torch.Tensor:
        values = {layer.lora_B.mean().item() * layer.scale for layer in adapter.layers.values()}
        seen.extend(values)
        return clips[1].latents

    compare(adapter, clips, sample, read_lora(tmp_path / "first.safetensors"), prompts=1)
    compare(adapter, clips, sample, prompts=1)
    assert seen == [0.75, 0.5, 0.75, 0.0]
    assert {layer.lora_B.mean().item() for layer in adapter.layers.values()} == {0.75}


def test_every_different_caption_is_asked_for_once_and_two_at_most() -> None:
    clips = examples(4)
    same = [Example(clip.name, clip.latents, clips[0].context) for clip in clips]
    asked: list[Example] = []

    def sample(example: Example) -> torch.Tensor:
        asked.append(example)
        return clips[1].latents

    adapter = Adapter.create(fresh_transformer(), 4, seed=1)
    compare(adapter, same, sample)
    assert len(asked) == 2  # with the adapter and without
    compare(adapter, clips, sample)
    assert len(asked) == 2 + 4


def test_the_level_of_previews(tmp_path: Path) -> None:
    loud, half = tmp_path / "loud.wav", tmp_path / "half.wav"
    sine = torch.from_numpy(tone(1.0)).expand(2, -1)
    sine = 0.5 * sine / sine.abs().max()
    write_wav(loud, sine, 48_000)
    level, silence = measure_level([loud])
    assert level == pytest.approx(-9.03, abs=0.1)  # a sine of amplitude 0.5
    assert silence == 0
    write_wav(half, torch.cat((sine, torch.zeros_like(sine)), dim=1), 48_000)
    level, silence = measure_level([half])
    assert level == pytest.approx(-12.04, abs=0.2)
    assert silence == pytest.approx(0.5, abs=0.05)
