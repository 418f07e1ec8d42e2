from __future__ import annotations

import re
from collections.abc import Iterator
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
    judge,
    measure_level,
    split,
    switched_off,
)
from soundlora.training.optimizer import Optimizer
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import Example, Trainer
from soundlora.wording import command_line_words, wording

AUDIO = checkpoint().config.audio
WIDTH = checkpoint().config.transformer.context_dim
CHANNELS = checkpoint().config.transformer.in_channels


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


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
    with switched_off(adapter):
        assert held_out.loss() == pytest.approx(before, rel=1e-5)
    assert held_out.loss() == after


def test_a_falling_loss_is_learnt() -> None:
    fit = judge([(0, 1.0), (50, 0.7), (100, 0.6)], None, None, None)
    assert fit.verdict == "learnt"
    assert fit.sentences == ("Learnt: the loss on clips kept out fell by 40%, from 1.000 to 0.600.",)
    assert (fit.base_loss, fit.final_loss, fit.best_step) == (1.0, 0.6, 100)


def test_a_loss_that_turns_is_overfitting_and_names_the_best_file() -> None:
    losses = [(0, 1.0), (25, 0.75), (40, 0.6), (50, 0.61), (75, 0.7), (100, 0.8)]
    files = {step: f"checkpoints/{step}" for step in (25, 49, 50, 75, 100)}
    fit = judge(losses, None, None, None, files)
    assert fit.verdict == "overfitting"
    assert "lowest at step 40 (0.600) and rose to 0.800" in fit.sentences[0]
    assert "; checkpoints/50, with 0.610, is the best LoRA of this run." in fit.sentences[0]
    (sentence,) = judge(losses, None, None, None, {100: "checkpoints/100"}).sentences
    assert sentence.endswith("; with checkpoints more often, there would be a LoRA from there.")


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
    fit = fit_report(folder, adapter, [], nothing, nothing, previews=[])
    assert fit.verdict == "overfitting"
    (name,) = re.findall(r"; (\S+), with 0\.500, is the best LoRA of this run", fit.sentences[0])
    assert len(read_lora(folder.path / name).pairs) == len(adapter.layers)


def test_a_lora_to_begin_with_is_told_apart_from_the_base() -> None:
    fit = judge([(0, 1.0), (0, 0.7), (50, 0.65), (100, 0.6)], None, None, None)
    assert (fit.verdict, fit.base_loss, fit.start_loss, fit.final_loss) == ("learnt", 1.0, 0.7, 0.6)
    assert fit.sentences == (
        "Learnt: the loss on clips kept out fell by 40%, from 1.000 to 0.600.",
        "The LoRA it began with had 0.700.",
    )
    worse = judge([(0, 1.0), (0, 0.5), (50, 0.7), (100, 0.8)], None, None, None, {50: "checkpoints/50"})
    assert worse.verdict == "overfitting"
    assert "lowest at step 0 (0.500) and rose to 0.800 since; the LoRA it began with is better" in worse.sentences[0]
    assert judge([(0, 1.0), (9, 0.5)], None, None, None).start_loss is None


def test_a_ripple_at_the_end_is_not_overfitting() -> None:
    assert judge([(0, 1.0), (90, 0.6), (100, 0.61)], None, None, None).verdict == "learnt"


def test_a_loss_that_hardly_moves_is_barely_learnt() -> None:
    fit = judge([(0, 1.0), (100, 0.97)], None, None, None)
    assert fit.verdict == "barely learnt"
    assert "fell by 3% only" in fit.sentences[0]


def test_a_loss_that_never_fell_below_the_base_says_so() -> None:
    fit = judge([(0, 1.0), (50, 1.2), (100, 1.1)], None, None, None, {50: "a", 100: "b"})
    assert fit.verdict == "barely learnt"
    assert "never fell below the base's 1.000" in fit.sentences[0]


def test_without_a_clip_kept_out_nothing_is_claimed() -> None:
    fit = judge([], None, None, None)
    assert fit.verdict == "unknown"
    assert "10 clips or --hold-out" in fit.sentences[0]
    assert fit.to_json()["base_loss"] is None


def test_a_copy_and_silence_are_told() -> None:
    fit = judge([(0, 1.0), (9, 0.5)], (0.2, 0.9), ("clip3.wav", 0.97), (-75.0, 0.95))
    text = " ".join(fit.sentences)
    assert "0.20 from the clips" in text
    assert "the base's lies 0.90" in text
    assert "repeats clip3.wav" in text
    assert "almost silent" in text
    quiet = " ".join(judge([(0, 1.0), (9, 0.5)], (0.2, 0.9), ("clip3.wav", 0.5), (-20.0, 0.1)).sentences)
    assert "repeats" not in quiet
    assert "silent" not in quiet


def test_comparing_finds_the_clip_that_is_repeated_later_and_softer() -> None:
    clips = examples(4, frames=40)
    adapter = Adapter.create(fresh_transformer(), 4, seed=1)

    def sample(example: Example) -> torch.Tensor:
        if next(iter(adapter.layers.values())).scale == 0:
            return torch.full((40, CHANNELS), 5.0)  # the base: nothing like the clips
        return 0.5 * torch.roll(clips[2].latents, 7, dims=0)

    (ours, theirs), (name, closeness) = compare(adapter, clips, sample)
    assert name == "clip2.wav"
    assert closeness > 0.9
    assert ours < 0.6 < theirs
    assert {layer.scale for layer in adapter.layers.values()} == {1.0}


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
