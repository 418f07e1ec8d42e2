"""Runs that are made to fail, each in its way, get the verdict and the advice for it. It takes minutes.

The clips are of sounds that nano has never heard. Nine of ten clips are trained on, as is usual.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soundlora import train
from soundlora.audio.wav import write_wav
from soundlora.pipeline.train import TrainingResult

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "nano"))

from unseen import RATE, synthesised  # it lies in the recipe

pytestmark = pytest.mark.slow
KINDS = {sound.name: sound for sound in synthesised()}
Clips = list[tuple[np.ndarray, str]]


def clips(kind: str, count: int, caption: str | None = None) -> Clips:
    """Clips of 5.3 s, the same ones every time."""
    sounds = [KINDS[kind].make(np.random.default_rng((77, number))) for number in range(count)]
    said = KINDS[kind].caption if caption is None else caption
    return [(0.9 * sound / np.abs(sound).max(), said) for sound in sounds]


def several(captions: Sequence[str]) -> Clips:
    """Three clips of each of the four kinds, with captions in turn."""
    sounds = [sound for kind in KINDS for sound, _ in clips(kind, 3)]
    return [(sound, captions[number % len(captions)]) for number, sound in enumerate(sounds)]


def trained(folder: Path, data: Clips, **options: Any) -> TrainingResult:
    for number, (sound, caption) in enumerate(data):
        path = folder / "data" / f"clip_{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, torch.from_numpy(np.ascontiguousarray(sound, np.float32)), RATE)
        path.with_suffix(".txt").write_text(caption)
    usual: dict[str, Any] = {
        "duration": 3.0,
        "steps": 300,
        "validation_prompts": [data[0][1] or "sounds"],
        "preview_every": 100_000,
    }
    return train(folder / "data", folder / "run", **(usual | options))


@dataclass(frozen=True)
class Case:
    clips: Clips
    options: dict[str, Any] = field(default_factory=dict)
    verdict: str = "barely learnt"
    advice: str = ""


ZAPS = clips("zaps", 10)
CASES = {
    "nothing is wrong": Case(ZAPS, verdict="learnt"),
    "several kinds with their captions": Case(
        several([KINDS[kind].caption for kind in KINDS for _ in range(3)]), {"steps": 500}, "learnt"
    ),
    "a learning rate that is too low": Case(ZAPS, {"learning_rate": 1e-6}, advice="Raise learning_rate="),
    "a learning rate that is too high": Case(ZAPS, {"learning_rate": 1e-2}, advice="Lower learning_rate="),
    "steps that are too few": Case(ZAPS, {"steps": 100, "learning_rate": 6e-6}, advice="Raise learning_rate="),
    "steps that are too few at a usual rate": Case(
        clips("zaps", 10), {"steps": 100, "learning_rate": 5e-5, "rank": 8}, "learnt in part", "Train for more steps"
    ),
    "no captions for several kinds": Case(several([""]), {"steps": 500}, "learnt in part", "Write longer captions"),
    "captions of other clips": Case(
        several([KINDS[kind].caption for kind in reversed(KINDS)]), {"steps": 500}, "learnt in part", "Write longer"
    ),
    "too many steps on too few clips": Case(
        clips("chatter", 5),
        {"steps": 1500, "hold_out": 2, "rank": 64, "learning_rate": 5e-4},
        "overfitting",
        "Use checkpoints/data-",
    ),
    "prompts without the trigger phrase": Case(
        ZAPS, {"trigger_phrase": "zappo", "validation_prompts": ["laser zaps"]}, "learnt", "Put the trigger phrase"
    ),
    "no clip to judge by": Case(clips("zaps", 4), {"steps": 100}, "unknown", "10 clips, or hold_out="),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_fails_in_a_way_is_told_so(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    fit = trained(tmp_path, case.clips, **case.options).fit
    assert fit.verdict == case.verdict, fit
    assert not case.advice or any(sentence.startswith(case.advice) for sentence in fit.advice), fit
    assert bool(fit.advice) == bool(case.advice), fit


def test_a_run_that_begins_where_another_ended_does_not_take_its_merit(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", ZAPS, steps=500)
    again = trained(tmp_path / "again", ZAPS, steps=200, init_lora=first.lora)
    assert first.fit.verdict == "learnt"
    assert again.fit.verdict in ("learnt in part", "barely learnt"), again.fit
    assert again.fit.start_loss == pytest.approx(first.fit.final_loss, rel=0.02)
