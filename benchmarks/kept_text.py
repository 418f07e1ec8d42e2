"""This benchmark compares keys and values that are kept for every caption with those that are made in every step.

    .venv/bin/python benchmarks/kept_text.py [--steps 20] [--record]

The transformer has LTX 2.5's switches off: no noise level modulates its prompts, so that the frozen part of their keys
and values can stay for a whole training, and all of them for a whole generation. Both ways take turns in one process,
at mid size, for a training step (clips of 5 s, rank 32) and for a sampling step (CFG and STG). Their results are
compared, too. The work of a step is counted for the full size as well, where nothing is computed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from history import Figure
from step import RANK, SECONDS, count, seconds_of
from table import add_record, report
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.model.config import ModelConfig
from soundlora.model.latents import initial_noise, positions, training_latents
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.guidance import Guidance, denoise
from soundlora.training.flow import loss_per_sample
from soundlora.training.trainer import Example, Trainer
from soundlora.weights.full_size import LTX_2_5

SAMPLING_STEPS = 4  # of one sampling; the first keys and values are made within it
WAYS = ("made anew", "kept")


def mid() -> ModelConfig:
    transformer = replace(LTX_2_5.transformer, layers=8, heads=8, context_dim=512)
    return replace(LTX_2_5, transformer=transformer, text=replace(LTX_2_5.text, heads=8))


def trainer(config: ModelConfig, kept: bool) -> Trainer:
    torch.manual_seed(0)
    c = config.transformer
    model = AudioTransformer(c).requires_grad_(False)
    example = Example(
        "noise",
        torch.randn(training_latents(SECONDS, config.audio), c.in_channels),
        torch.randn(config.text.context_length, c.context_dim),
    )
    adapter = Adapter.create(model, RANK)
    return Trainer(adapter, [example], config.audio, steps=1000, learning_rate=1e-4, seed=0, project_text=kept)


def sampling(config: ModelConfig, kept: bool) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    c, frames = config.transformer, 125
    model = AudioTransformer(c).requires_grad_(False)
    context, negative = (torch.randn(1, config.text.context_length, c.context_dim) for _ in range(2))
    noise, rope = initial_noise(frames, c.in_channels, 0), model.rope(positions(frames, config.audio))
    levels = torch.linspace(1, 0, SAMPLING_STEPS + 1)
    guidance = Guidance(stg_blocks=(c.layers - 1,))
    forward = AudioTransformer.forward

    def plain(self: AudioTransformer, *args: Any, **kwargs: Any) -> Tensor:
        return forward(self, *args, **kwargs | {"projected": None, "whole": False})

    def run() -> Tensor:
        if kept:
            return denoise(model, noise, levels, rope, context, negative, guidance)
        nothing = patch.object(AudioTransformer, "project_text", lambda *_, **__: None)
        with nothing, patch.object(AudioTransformer, "forward", plain):
            return denoise(model, noise, levels, rope, context, negative, guidance)

    return run


def full_size_work(kept: bool, checkpointing: bool) -> int:
    """Return the operations in a full-size training step's products, counted on a device that computes nothing."""
    config, meta = LTX_2_5, torch.device("meta")
    c, tokens = config.transformer, training_latents(SECONDS, config.audio)
    with meta:
        model = AudioTransformer(c).requires_grad_(False)
        x, sigma = torch.randn(1, tokens, c.in_channels), torch.rand(1)
        context = torch.randn(1, config.text.context_length, c.context_dim)
        rope = (torch.randn(1, c.heads, tokens, c.head_dim // 2), torch.randn(1, c.heads, tokens, c.head_dim // 2))
    model.checkpointing = checkpointing
    Adapter.create(model, RANK)
    projected = model.project_text(context) if kept else None

    def step(_: int) -> None:
        velocity = model(x, sigma[:, None], sigma, context, rope, projected=projected)
        loss_per_sample(velocity, x, x).mean().backward()

    return count(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="that are measured, after three that are not")
    add_record(parser)
    arguments = parser.parse_args()
    config = mid()
    trainers = {way: trainer(config, way == "kept") for way in WAYS}
    samplings = {way: sampling(config, way == "kept") for way in WAYS}
    times: dict[str, list[float]] = {f"{what}, {way}": [] for what in ("training", "sampling") for way in WAYS}
    losses: dict[str, list[float]] = {way: [] for way in WAYS}
    sounds: dict[str, Tensor] = {}

    def step(way: str, number: int) -> None:
        losses[way].append(trainers[way].step(number).loss)

    def sound_of(way: str) -> None:
        sounds[way] = samplings[way]()

    for number in range(arguments.steps + 3):
        for way in WAYS:
            taken, sampled = seconds_of(partial(step, way, number)), seconds_of(partial(sound_of, way))
            if number >= 3:
                times[f"training, {way}"].append(taken)
                times[f"sampling, {way}"].append(sampled)
    figures = []
    for what, each in (("training", 1), ("sampling", SAMPLING_STEPS)):
        medians = [statistics.median(times[f"{what}, {way}"]) / each for way in WAYS]
        figures += [Figure(f"{what}, {way}", 1000 * t, "ms") for way, t in zip(WAYS, medians, strict=True)]
        figures.append(Figure(f"{what}, made anew / kept", medians[0] / medians[1], "times"))
    loss = max(abs(a - b) / a for a, b in zip(*losses.values(), strict=True))
    sound = float((sounds[WAYS[0]] - sounds[WAYS[1]]).abs().max() / sounds[WAYS[0]].abs().max())
    assert max(loss, sound) < 1e-3, f"the ways differ: losses by {loss:.2g}, latents by {sound:.2g} of their own size"
    figures.append(Figure("largest difference of a loss", 100 * loss, "%"))
    figures.append(Figure("largest difference of a latent", 100 * sound, "%"))
    for checkpointing, words in ((False, "activations kept"), (True, "activations made anew")):
        work = [full_size_work(way == "kept", checkpointing) / 1e12 for way in WAYS]
        for way, value in zip(WAYS, work, strict=True):
            figures.append(Figure(f"full size, {words}, keys and values {way}", value, "TFLOP"))
    title = f"Kept keys and values: mid size, clips of {SECONDS:g} s, rank {RANK}, fp32, {arguments.steps} each"
    report("kept_text", title, figures, {"seconds": times, "losses": losses}, arguments.record)


if __name__ == "__main__":
    main()
