"""This benchmark asks what conditions cost: a training step and a sampling step with and without them.

    .venv/bin/python benchmarks/modes.py [--steps 20] [--record]

A step of audio to audio has a reference of the same length in front, so it is held against text to audio of twice the
length. Of the other modes a part is given, so they are held against text to audio of the same length. All take turns in
one process, at mid size, for clips of 5 s and rank 32; sampling has CFG and STG.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from history import Figure
from kept_text import mid
from step import RANK, SECONDS, seconds_of
from table import add_record, report
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.model.condition import Given, at_start
from soundlora.model.config import ModelConfig
from soundlora.model.latents import training_latents
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.generate import sample_latents
from soundlora.sampling.guidance import Guidance
from soundlora.training.trainer import Example, Trainer

SAMPLING_STEPS = 4  # of one sampling
WAYS = ("text to audio", "text to audio, twice as long", "a start is given", "audio to audio")
RATIOS = (("audio to audio", "text to audio, twice as long"), ("a start is given", "text to audio"))


def given_of(config: ModelConfig, way: str) -> Given:
    """Return what a way gives of a clip; nothing of text to audio."""
    tokens = training_latents(SECONDS * (2 if "twice" in way else 1), config.audio)
    latents = torch.randn(tokens, config.transformer.in_channels)
    return Given(latents, at_start(tokens, 25 if "start" in way else 0), latents if way == "audio to audio" else None)


def training(config: ModelConfig, way: str) -> Trainer:
    torch.manual_seed(0)
    model = AudioTransformer(config.transformer).requires_grad_(False)
    given = given_of(config, way)
    context = torch.randn(config.text.context_length, config.transformer.context_dim)
    mask = given.mask if given.mask.any() else None
    example = Example("noise", given.latents, context, mask, given.reference)
    return Trainer(Adapter.create(model, RANK), [example], config.audio, steps=1000, learning_rate=1e-4, seed=0)


def sampling(config: ModelConfig, way: str) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    model = AudioTransformer(config.transformer).requires_grad_(False)
    context, negative = (torch.randn(config.text.context_length, config.transformer.context_dim) for _ in range(2))
    guidance, given = Guidance(stg_blocks=(config.transformer.layers - 1,)), given_of(config, way)

    def run() -> Tensor:
        return sample_latents(
            model, config.audio, context, negative,
            seconds=0, seed=0, steps=SAMPLING_STEPS, guidance=guidance, given=given,
        )  # fmt: skip

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="that are measured, after three that are not")
    add_record(parser)
    arguments = parser.parse_args()
    config = mid()
    trainers = {way: training(config, way) for way in WAYS}
    samplings = {way: sampling(config, way) for way in WAYS}
    times: dict[str, list[float]] = {f"{what}, {way}": [] for what in ("training", "sampling") for way in WAYS}
    for number in range(arguments.steps + 3):
        for way in WAYS:
            taken, sampled = seconds_of(partial(trainers[way].step, number)), seconds_of(samplings[way])
            if number >= 3:
                times[f"training, {way}"].append(taken)
                times[f"sampling, {way}"].append(sampled / SAMPLING_STEPS)
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures = [Figure(name, 1000 * value, "ms") for name, value in medians.items()]
    for what in ("training", "sampling"):
        for one, other in RATIOS:
            ratio = medians[f"{what}, {one}"] / medians[f"{what}, {other}"]
            figures.append(Figure(f"{what}, {one} / {other}", ratio, "times"))
    title = f"Modes: mid size, clips of {SECONDS:g} s, rank {RANK}, fp32, {arguments.steps} each"
    report("modes", title, figures, {"seconds": times}, arguments.record)


if __name__ == "__main__":
    main()
