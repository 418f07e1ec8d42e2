"""The training step: flow matching on cached latents, gradients for the adapter alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.config import AudioConfig
from soundlora.model.latents import positions
from soundlora.model.lora import Adapter
from soundlora.training.flow import loss_per_sample, noisy, sample_sigma, step_generator
from soundlora.training.optimizer import Optimizer
from soundlora.training.workers import Workers


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
    loss: float  # mean over the batch, as is sigma
    sigma: float
    gradient_norm: float  # before clipping
    learning_rate: float
    clip: str  # names, with commas between them


class DivergedError(RuntimeError):
    """The loss or a gradient is NaN or infinite."""


class Trainer:
    """Trains an adapter on `batch_size` clips a step.

    `at_once` of a batch go through the model together, and the gradients are added up: one by one, a batch needs the
    memory of one. Clip, noise level and noise are functions of (seed, number of the sample) alone: the order of clips
    is a fresh permutation every epoch, drawn from (seed, epoch), and it makes no difference how many processes share a
    batch.
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
        batch_size: int = 1,
        at_once: int = 1,
        optimizer: str = "adamw",
        workers: Workers = Workers(),  # noqa: B008  (frozen)
    ) -> None:
        if not examples:
            raise ValueError("there is nothing to train on")
        self.adapter, self.examples, self.seed = adapter, list(examples), seed
        self.batch_size, self.at_once, self.workers = batch_size, at_once, workers
        self.optimizer = Optimizer(adapter.parameters(), learning_rate, steps, optimizer)
        model = adapter.model
        self.device = model.audio_patchify_proj.weight.device
        lengths = {len(example.latents) for example in self.examples}
        self._ropes = {n: model.rope(positions(n, audio).to(self.device)) for n in lengths}

    def step(self, step: int) -> StepFigures:
        """Run step `step`, counted from 0. Raises DivergedError before anything is updated."""
        samples = range(step * self.batch_size, (step + 1) * self.batch_size)
        batch = [self.examples[self.clip_index(sample)] for sample in samples]
        share = slice(self.workers.rank, None, self.workers.count)
        mine = [figures for group in self._groups(samples[share]) for figures in self._add_gradient(group)]
        sums = torch.tensor(mine, device=self.device, dtype=torch.float64).sum(dim=0)
        self.workers.sum(sums)
        loss, sigma = (sums / self.batch_size).tolist()
        names = ", ".join(example.name for example in batch)
        rate = norm = math.nan
        if math.isfinite(loss):
            self.workers.sum(self.optimizer.gradient)
            rate, norm = self.optimizer.step()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(f"the loss became {loss} (gradient norm {norm}) at step {step + 1} on {names}")
        return StepFigures(step + 1, loss, sigma, norm, rate, names)

    def _groups(self, samples: Sequence[int]) -> Iterator[Sequence[int]]:
        """The samples in groups that go through the model together."""
        # A run's clips are all of one length; others can't be stacked.
        size = self.at_once if len(self._ropes) == 1 else 1
        for start in range(0, len(samples), size):
            yield samples[start : start + size]

    def _add_gradient(self, samples: Sequence[int]) -> list[tuple[float, float]]:
        """Add some samples' share of the batch's gradient → (loss, sigma) of each."""
        examples = [self.examples[self.clip_index(sample)] for sample in samples]
        clean = torch.stack([example.latents for example in examples])
        tokens = clean.shape[1]
        # Drawn on the CPU on every machine: the same seed trains the same LoRA wherever it runs.
        generators = [step_generator(self.seed, sample) for sample in samples]
        sigma = torch.cat([sample_sigma(1, tokens, generator) for generator in generators]).to(self.device)
        noise = torch.cat([torch.randn((1, *clean.shape[1:]), generator=g) for g in generators]).to(self.device)
        clean = clean.to(self.device)
        context = torch.stack([example.context for example in examples]).to(self.device)
        velocity = self.adapter.model(
            noisy(clean, noise, sigma), sigma[:, None], sigma, context, self._ropes[tokens]
        )
        losses = loss_per_sample(velocity, clean, noise)
        (losses.sum() / self.batch_size).backward()
        return list(zip(losses.tolist(), sigma.tolist(), strict=True))

    def clip_index(self, sample: int) -> int:
        epoch, place = divmod(sample, len(self.examples))
        # Apart from the samples' own generators, which count up from 0.
        generator = step_generator(self.seed, -1 - epoch)
        return int(torch.randperm(len(self.examples), generator=generator)[place])
