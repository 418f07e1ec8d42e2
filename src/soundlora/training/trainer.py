"""The training step: flow matching on cached latents, gradients for the adapter alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.config import AudioConfig
from soundlora.model.latents import positions
from soundlora.model.lora import Adapter
from soundlora.training.flow import loss_per_sample, noisy, sample_sigma, step_generator
from soundlora.training.optimizer import Optimizer


@dataclass(frozen=True)
class Example:
    """A clip as the trainer sees it."""

    name: str
    latents: Tensor  # (T, C), normalised, fp32
    context: Tensor  # (S, D)


@dataclass(frozen=True)
class StepFigures:
    """What a step is judged by; a line of metrics.jsonl."""

    step: int  # counted from 1
    loss: float
    sigma: float
    gradient_norm: float  # before clipping
    learning_rate: float
    clip: str


class DivergedError(RuntimeError):
    """The loss or a gradient is NaN or infinite."""


class Trainer:
    """Trains an adapter one clip a step.

    The clip, noise level and noise of a step are functions of (seed, step) alone: the order of clips is a fresh
    permutation every epoch, drawn from (seed, epoch).
    """

    def __init__(
        self,
        adapter: Adapter,
        examples: Sequence[Example],
        audio: AudioConfig,
        *,
        steps: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        if not examples:
            raise ValueError("there is nothing to train on")
        self.adapter, self.examples, self.seed = adapter, list(examples), seed
        self.optimizer = Optimizer(adapter.parameters(), learning_rate, steps)
        model = adapter.model
        self.device = model.audio_patchify_proj.weight.device
        lengths = {len(example.latents) for example in self.examples}
        self._ropes = {n: model.rope(positions(n, audio).to(self.device)) for n in lengths}

    def step(self, step: int) -> StepFigures:
        """Run step `step`, counted from 0. Raises DivergedError before anything is updated."""
        example = self.examples[self.clip_index(step)]
        clean = example.latents[None]
        tokens = clean.shape[1]
        generator = step_generator(self.seed, step)
        sigma = sample_sigma(1, tokens, generator).to(self.device)
        # Drawn on the CPU on every machine: the same seed trains the same LoRA wherever it runs.
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        clean, context = clean.to(self.device), example.context[None].to(self.device)
        velocity = self.adapter.model(
            noisy(clean, noise, sigma), sigma[:, None], sigma, context, self._ropes[tokens]
        )
        loss = loss_per_sample(velocity, clean, noise).mean()
        loss.backward()
        value = loss.item()
        rate, norm = self.optimizer.step() if math.isfinite(value) else (math.nan, math.nan)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise DivergedError(f"the loss became {value} (gradient norm {norm}) at step {step + 1} on {example.name}")
        return StepFigures(step + 1, value, sigma.item(), norm, rate, example.name)

    def clip_index(self, step: int) -> int:
        epoch, place = divmod(step, len(self.examples))
        # Apart from the steps' own generators, which count up from 0.
        generator = step_generator(self.seed, -1 - epoch)
        return int(torch.randperm(len(self.examples), generator=generator)[place])
