"""What is heard of a run at its end, and that it tells what latent statistics can't: a drone in place of dry hits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from support import CPU
from torch import Tensor

from soundlora.pipeline.hearing import heard
from soundlora.training.evaluation import Comparison
from soundlora.training.trainer import Example
from soundlora.training.verdict import LIVELINESS, SPECTRUM, Facts, Figures, Heard, judge
from soundlora.weights.base import Base, Codec, open_base

RATE, SECONDS = 48_000, 1.5
SETTLED = ((0, 1.0), (50, 0.62), (100, 0.6))


@pytest.fixture(scope="module")
def base() -> Base:
    return open_base("nano")


@cache
def codec() -> Codec:
    return open_base("nano").codec(CPU, encoder=True)


def hits(seed: int) -> Tensor:
    """Latents of short dry hits with silence between them."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(round(SECONDS * RATE))
    size = round(0.12 * RATE)
    fall = np.exp(-np.arange(size) / RATE / 0.02)
    for start in np.arange(0.1, SECONDS - 0.2, 0.45) + rng.uniform(0, 0.05, 3):
        place = round(start * RATE)
        sound[place : place + size] += rng.standard_normal(size) * fall
    return latents(sound)


def rush(seed: int) -> Tensor:
    """Latents of even noise, which a base may make of the prompt before it knows better."""
    return latents(np.random.default_rng(seed).standard_normal(round(SECONDS * RATE)))


def latents(sound: np.ndarray) -> Tensor:
    return codec().encode(torch.from_numpy((0.5 * sound / np.abs(sound).max()).astype(np.float32))[None], RATE)


def drone(like: Sequence[Tensor], seed: int) -> Tensor:
    """Latents with mean and deviation of each channel as those of others, in no order at all: an even grumble."""
    joined = torch.cat(list(like))
    noise = torch.randn(like[0].shape, generator=torch.Generator().manual_seed(seed))
    noise = (noise - noise.mean(dim=0)) / noise.std(dim=0, correction=0)
    return joined.mean(dim=0) + joined.std(dim=0, correction=0) * noise


@cache
def clips() -> tuple[Tensor, ...]:
    return tuple(hits(seed) for seed in range(3))


def figures(base: Base, sounds: list[Tensor], known: int = 3) -> tuple[dict[str, Heard], str]:
    real = [Example(f"{number}.wav", each, torch.zeros(1, 1)) for number, each in enumerate(clips()[:known])]
    start = [rush(seed) for seed in range(len(sounds))]
    rows, said = heard(base, CPU, real, Comparison((0.1, 0.7), ("", 0.0), sounds, start), kept_out=True)
    return {row.name: row for row in rows}, said


def value(row: Heard, column: str) -> float:
    estimate = getattr(row, column)
    assert estimate is not None
    return float(estimate.value)


def test_a_drone_with_the_latent_statistics_of_dry_hits_is_no_longer_called_learnt(base: Base) -> None:
    rows, _ = figures(base, [drone(clips(), seed) for seed in (1, 2)])
    distances = (0.05, 0.7)  # what statistics of latents say of it, since they are the clips' own
    without = judge(Figures(SETTLED, distances), Facts())
    assert without.verdict == "learnt"
    fit = judge(Figures(SETTLED, distances, heard=tuple(rows.values())), Facts())
    assert fit.verdict == "learnt in part"
    assert "but of generated sound the level moves by " in fit.sentences[0]
    moves = rows[LIVELINESS]
    assert value(moves, "lora") < 0.5 * value(moves, "clips")


def test_other_hits_are_learnt(base: Base) -> None:
    rows, said = figures(base, [hits(50), hits(51)])
    assert judge(Figures(SETTLED, (0.05, 0.7), heard=tuple(rows.values())), Facts()).verdict == "learnt"
    for name in (SPECTRUM, "latents, kernel distance", "latents, Fréchet distance"):
        assert value(rows[name], "lora") < 0.5 * value(rows[name], "start"), name
    assert said == "2 sounds of the LoRA and as many of the start, for captions of clips, beside 3 clips kept out."


def test_one_sound_has_no_sets_to_compare_and_a_sentence_says_so(base: Base) -> None:
    rows, said = figures(base, [hits(50)], known=1)
    assert rows["latents, kernel distance"].lora is None
    assert rows[SPECTRUM].lora is not None
    assert said.endswith("beside 1 clip kept out; one of sounds and of clips is too few to compare latents as sets.")
