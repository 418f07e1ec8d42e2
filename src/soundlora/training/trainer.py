"""The training step: flow matching on cached latents, with gradients for the adapter alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.errors import DivergedError
from soundlora.lora.adapter import Adapter
from soundlora.model.config import AudioConfig
from soundlora.system.devices import has_fp64, pins
from soundlora.training.flow import sample_sigma, step_generator
from soundlora.training.gradient import Gradient, Samples
from soundlora.training.optimizer import Optimizer
from soundlora.training.order import Order
from soundlora.training.workers import Workers

# They keep the choices of captions, of conditions and of steps apart from noise and noise levels.
_CAPTIONS, _GIVEN, _REFERENCES = 0x5CA9_7105, 0x61_4E17, 0x4EF_E4E7
_PRESERVED, _PROMPTS = 0x94E5_E47E, 0x9407_4975


@dataclass(frozen=True)
class Example:
    """A clip as the trainer sees it."""

    name: str
    latents: Tensor  # (T, C), normalised, fp32, on the CPU
    context: Tensor  # (S, D), on the CPU
    given: Tensor | None = None  # (T,) bool, latents that are given; all examples of a run have it, or none
    reference: Tensor | None = None  # (R, C), latents of the sound that this one is made of, in the same way
    padding: Tensor | None = None  # (T,) bool, silence behind a short clip, which counts nothing; in the same way
    preserved: tuple[Tensor, ...] = ()  # (S, D) each, contexts of the prompts whose sound is kept as the base makes it
    strength: float = 1.0  # of the adapter that learns it: one side of a slider is -1, the other 1
    ends: Tensor | None = None  # (2, S, D), contexts between which a slider goes; all of a run have it, or none

    @property
    def sound(self) -> Tensor:
        """The latents (t, C) without the silence that was added."""
        return self.latents if self.padding is None else self.latents[~self.padding]

    @property
    def shape(self) -> tuple[object, ...]:
        """What examples that go through the model together have in common."""
        return self.latents.shape, getattr(self.reference, "shape", None), self.strength


@dataclass(frozen=True)
class StepFigures:
    """The figures that a step is judged by, which are a line of metrics.jsonl."""

    step: int  # counted from 1
    loss: float  # mean over the batch, as is sigma
    sigma: float
    gradient_norm: float  # before clipping
    learning_rate: float
    clip: str  # names, with commas between them
    preserving: bool = False  # the loss is then the distance from the base's velocity, not from the clips'


class Trainer:
    """Trains an adapter on `batch_size` clips a step.

    `at_once` clips of a batch go through the model together, and the gradients are added up. One by one, a batch needs
    the memory of one clip. Clip, noise level and noise are functions of (seed, number of the sample) alone, so the
    number of processes that share a batch makes no difference. `Order` says which clip a sample is.
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
        average: bool = False,
        schedule: str = "linear",
        b_rate: float = 1.0,
        caption_dropout: float = 0.0,
        empty_context: Tensor | None = None,
        condition_probability: float = 1.0,
        preserve: float = 0.0,
        noise_levels: tuple[float, float] | None = None,
        project_text: bool = False,
        gathers: bool = True,
        workers: Workers = Workers(),  # noqa: B008  (frozen)
    ) -> None:
        """b_rate: how many times the learning rate of A that of B is.
        caption_dropout: share of the samples that see `empty_context` (S, D) instead of their caption's.

        condition_probability: share of the samples that see what is given of them. Of references it is the share of
        the steps, so that a batch has one shape. The rest trains text to audio.
        preserve: share of the steps whose target is the base's own velocity, for `preserved` contexts of the examples.
        noise_levels: the lowest and the highest, between which they are drawn evenly; None draws the reference's.
        project_text: keep the frozen part of every caption's keys and values on the device, see
        `AudioTransformer.project_text`.
        gathers: see `Adapter.join`.
        Raises ValueError when there are no examples, a dropout has no empty context, or an example nothing to preserve.
        """
        if not examples:
            raise ValueError("there is nothing to train on")
        if caption_dropout and empty_context is None:
            raise ValueError("caption_dropout takes the context of the empty caption")
        if preserve and not all(example.preserved for example in examples):
            raise ValueError("preserve takes contexts that are preserved, of every example")
        self.adapter, self.examples, self.seed = adapter, list(examples), seed
        self.batch_size, self.at_once, self.workers = batch_size, at_once, workers
        self.caption_dropout, self.empty_context = caption_dropout, empty_context
        self.condition_probability, self.preserve = condition_probability, preserve
        self.noise_levels = noise_levels
        self.optimizer = Optimizer(
            adapter.parameters(),
            learning_rate,
            steps,
            optimizer,
            average=average,
            schedule=schedule,
            faster=[parameter for layer in adapter.trainable.values() for parameter in layer.after],
            factor=b_rate,
        )
        model = adapter.model
        self.device = model.audio_patchify_proj.weight.device
        self._order = Order([example.shape for example in self.examples], batch_size, seed)
        self._gradient = Gradient(adapter, audio, batch_size, steps, gathers)
        self._projected: dict[int, Tensor] = {}  # (1, blocks, S, 2C) by the context's identity
        if project_text:
            contexts = [context for example in self.examples for context in (example.context, *example.preserved)]
            contexts += [] if empty_context is None else [empty_context]
            for context in {id(context): context for context in contexts}.values():
                self._projected[id(context)] = model.project_text(context[None].to(self.device))
        self._ahead: tuple[int, list[Samples]] = (-1, [])

    def step(self, step: int) -> StepFigures:
        """Run step `step`, counted from 0. Raises DivergedError before anything is updated."""
        ahead, groups = self._ahead
        finish = self._launch(groups if ahead == step else self._draw(step))
        if self.device.type != "cpu":
            self._ahead = (step + 1, self._draw(step + 1))  # the device computes meanwhile
        samples = self._samples(step)
        names = ", ".join(self.examples[self.clip_index(sample)].name for sample in samples)
        sigma = sum(self._sigma(sample)[0].item() for sample in samples) / self.batch_size
        loss, norm, rate = finish()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(f"the loss became {loss} (gradient norm {norm}) at step {step + 1} on {names}")
        return StepFigures(step + 1, loss, sigma, norm, rate, names, self._preserves(step))

    def _launch(self, groups: Sequence[Samples]) -> Callable[[], tuple[float, float, float]]:
        """Start a step on the device. The function returned waits for its loss, gradient's norm and learning rate.

        Where loss or norm is not finite, nothing is updated.
        """
        if self.optimizer.advances:
            rate = self.optimizer.begin()
            if len(groups) == self.workers.count == 1:  # all of it is one recording
                figures = self._gradient.add(groups[0], self._advance)
            else:
                losses = torch.cat([self._gradient.add(group) for group in groups])
                self.workers.sum(self.optimizer.gradient)
                figures = self._advance(losses)
            return lambda: self._advanced(figures, rate)
        each = torch.cat([self._gradient.add(group) for group in groups])  # (the samples of this process,)
        return lambda: self._update(each)

    def _advance(self, losses: Tensor) -> Tensor:
        """Update on the device, from the losses of this process, (n,). Returns loss and norm, (2,), on the device."""
        total = losses.sum(dtype=torch.float64 if has_fp64(self.device) else torch.float32)
        self.workers.sum(total)
        return self.optimizer.advance(total / self.batch_size)

    def _advanced(self, figures: Tensor, rate: float) -> tuple[float, float, float]:
        loss, norm = figures.cpu().tolist()
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.done()
        return loss, norm, rate

    def _update(self, losses: Tensor) -> tuple[float, float, float]:
        """Read the loss of all processes, and update if it is finite. Returns loss, norm and learning rate."""
        total = (losses if has_fp64(self.device) else losses.cpu()).sum(dtype=torch.float64)
        self.workers.sum(total)
        loss = total.item() / self.batch_size
        if not math.isfinite(loss):
            return loss, math.nan, math.nan
        self.workers.sum(self.optimizer.gradient)
        rate, norm = self.optimizer.step()
        return loss, norm, rate

    def make_room(self) -> None:
        """Call it before other work needs a GPU's memory. The next step then takes a moment longer."""
        self._gradient.forget()

    def _samples(self, step: int) -> Sequence[int]:
        """Return the numbers of the samples in a step's batch, of all processes together."""
        return range(step * self.batch_size, (step + 1) * self.batch_size)

    def _draw(self, step: int) -> list[Samples]:
        """Return this process's share of a step's batch, in the groups that go through the model together."""
        mine = self._samples(step)[self.workers.rank :: self.workers.count]
        groups = [self._group(mine[start : start + self.at_once]) for start in range(0, len(mine), self.at_once)]
        return [group.pinned() for group in groups] if pins(self.device) else groups

    def _group(self, samples: Sequence[int]) -> Samples:
        examples = [self.examples[self.clip_index(sample)] for sample in samples]
        sigmas, generators = zip(*map(self._sigma, samples), strict=True)
        clean = torch.stack([example.latents for example in examples])  # (n, T, C)
        # (n, T, C)
        noise = torch.cat([torch.randn((1, *clean.shape[1:]), generator=generator) for generator in generators])
        contexts = [self._context(sample) for sample in samples]
        projected = [self._projected[id(context)] for context in contexts] if self._projected else []
        known = None if not projected else projected[0] if len(projected) == 1 else torch.cat(projected)
        given, reference = self._given(samples, examples), self._references(samples, examples)
        masks = [example.padding for example in examples if example.padding is not None]
        padding = torch.stack(masks) if masks else None
        between = [example.ends for example in examples if example.ends is not None]
        return Samples(
            clean,
            noise,
            torch.cat(sigmas),
            torch.stack(contexts),
            given,
            reference,
            known,
            padding,
            preserving=self._preserves(samples[0] // self.batch_size),
            ends=torch.stack(between) if between else None,
            strength=examples[0].strength,
        )

    def _preserves(self, step: int) -> bool:
        """Say whether the target of a step is the base's own velocity."""
        return self.preserve > 0 and draws(self.seed ^ _PRESERVED, step, self.preserve)

    def _given(self, samples: Sequence[int], examples: Sequence[Example]) -> Tensor | None:
        """Return which latents of the samples are given, (n, T)."""
        masks = [
            example.given & draws(self.seed ^ _GIVEN, sample, self.condition_probability)
            for sample, example in zip(samples, examples, strict=True)
            if example.given is not None
        ]
        return torch.stack(masks) if masks else None

    def _references(self, samples: Sequence[int], examples: Sequence[Example]) -> Tensor | None:
        """Return the latents (n, R, C) that stand in front of the samples in this step."""
        step = samples[0] // self.batch_size
        references = [example.reference for example in examples if example.reference is not None]
        here = references and draws(self.seed ^ _REFERENCES, step, self.condition_probability)
        return torch.stack(references) if here else None

    def _context(self, sample: int) -> Tensor:
        """Return the context (S, D) that a sample attends to."""
        if self._preserves(sample // self.batch_size):
            preserved = self.examples[self.clip_index(sample)].preserved
            generator = step_generator(self.seed ^ _PROMPTS, sample)
            return preserved[int(torch.randint(len(preserved), (), generator=generator))]
        if self.empty_context is not None and drops_caption(self.seed, sample, self.caption_dropout):
            return self.empty_context
        return self.examples[self.clip_index(sample)].context

    def _sigma(self, sample: int) -> tuple[Tensor, torch.Generator]:
        """Return a sample's noise level (1,), and the generator that its noise comes from."""
        # Every machine draws on the CPU, so that a seed trains the same LoRA wherever it runs.
        generator = step_generator(self.seed, sample)
        tokens = len(self.examples[self.clip_index(sample)].latents)
        return sample_sigma(1, tokens, generator, self.noise_levels), generator

    def clip_index(self, sample: int) -> int:
        """Return the number of a sample's clip among the examples."""
        return self._order.clip(sample)


def drops_caption(seed: int, sample: int, share: float) -> bool:
    """Say whether a sample trains with the empty caption, as a `share` of all do. (seed, sample) alone decides."""
    return draws(seed ^ _CAPTIONS, sample, share)


def draws(seed: int, number: int, share: float) -> bool:
    """Say whether a sample or a step is among the `share` of all that something is done to. (seed, number) decides."""
    return torch.rand((), generator=step_generator(seed, number)).item() < share
