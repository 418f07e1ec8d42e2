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

    Clips are taken one by one, their gradients added up, so that a batch needs the memory of one. Clip, noise level and
    noise are functions of (seed, number of the sample) alone: the order of clips is a fresh permutation every epoch,
    drawn from (seed, epoch), and it makes no difference how many processes share a batch.
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
        workers: Workers = Workers(),  # noqa: B008  (frozen)
    ) -> None:
        if not examples:
            raise ValueError("there is nothing to train on")
        self.adapter, self.examples, self.seed = adapter, list(examples), seed
        self.batch_size, self.workers = batch_size, workers
        self.optimizer = Optimizer(adapter.parameters(), learning_rate, steps)
        model = adapter.model
        self.device = model.audio_patchify_proj.weight.device
        lengths = {len(example.latents) for example in self.examples}
        self._ropes = {n: model.rope(positions(n, audio).to(self.device)) for n in lengths}

    def step(self, step: int) -> StepFigures:
        """Run step `step`, counted from 0. Raises DivergedError before anything is updated."""
        samples = range(step * self.batch_size, (step + 1) * self.batch_size)
        batch = [self.examples[self.clip_index(sample)] for sample in samples]
        share = slice(self.workers.rank, None, self.workers.count)
        mine = [self._add_gradient(*pair) for pair in zip(samples[share], batch[share], strict=True)]
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

    def _add_gradient(self, sample: int, example: Example) -> tuple[float, float]:
        """Add one sample's share of the batch's gradient → (loss, sigma)."""
        clean = example.latents[None]
        tokens = clean.shape[1]
        generator = step_generator(self.seed, sample)
        sigma = sample_sigma(1, tokens, generator).to(self.device)
        # Drawn on the CPU on every machine: the same seed trains the same LoRA wherever it runs.
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        clean, context = clean.to(self.device), example.context[None].to(self.device)
        velocity = self.adapter.model(
            noisy(clean, noise, sigma), sigma[:, None], sigma, context, self._ropes[tokens]
        )
        loss = loss_per_sample(velocity, clean, noise).mean()
        (loss / self.batch_size).backward()
        return loss.item(), sigma.item()

    def clip_index(self, sample: int) -> int:
        epoch, place = divmod(sample, len(self.examples))
        # Apart from the samples' own generators, which count up from 0.
        generator = step_generator(self.seed, -1 - epoch)
        return int(torch.randperm(len(self.examples), generator=generator)[place])
