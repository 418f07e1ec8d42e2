"""What a run is judged by: its loss on clips kept out of the training, and its sound beside the clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from soundlora.audio.decibels import decibels
from soundlora.audio.wav import read_wav
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import Lora
from soundlora.lora.rank import begun_with
from soundlora.model.condition import Condition, Given
from soundlora.model.config import AudioConfig
from soundlora.training.flow import HELD_OUT_SIGMAS, either, error_per_sample, noisy, slid, step_generator
from soundlora.training.preview import PreviewSettings, sample
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import Example
from soundlora.training.verdict import FEWEST_CLIPS, Facts, Figures, Fit, Heard, Level, judge
from soundlora.weights.base import Base

_SHARE = 10  # one clip in ten is kept out
_SEED = 20_25_01  # of the held-out noise, which is the same in every run, so that runs compare
_LAG = 25  # latents, 1 s: how far a copy may be shifted
_SILENCE_DBFS = -60.0
_WINDOW_SECONDS = 0.05


def default_hold_out(clips: int) -> int:
    """Return the number of clips to keep out of a training on `clips` of them."""
    return clips // _SHARE if clips >= FEWEST_CLIPS else 0


def keeping_order(clips: int, seed: int) -> list[int]:
    """Return the numbers of a run's clips in the order in which they are kept out of the training."""
    order: list[int] = torch.randperm(clips, generator=step_generator(seed, _SEED)).tolist()
    return order


def split(examples: Sequence[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Return the examples to train on and the `count` kept out, both in their order. The seed decides which."""
    out = set(keeping_order(len(examples), seed)[:count])
    kept = [example for number, example in enumerate(examples) if number not in out]
    return kept, [examples[number] for number in sorted(out)]


class HeldOut:
    """The flow-matching loss on the same clips, noise levels and noise every time."""

    def __init__(self, adapter: Adapter, examples: Sequence[Example], audio: AudioConfig) -> None:
        self.adapter, self.examples, self.audio = adapter, list(examples), audio

    def base_loss(self) -> float:
        """Return the `loss` of the base alone."""
        with self.adapter.switched_off():
            return self.loss()

    @torch.no_grad()
    def loss(self) -> float:
        """Return the mean loss of the model as it is, over clips and the n `HELD_OUT_SIGMAS`.

        All noise levels of a clip go through the model at once.
        """
        # Not every device has fp64, so the few losses are added on the CPU.
        total = sum(losses.sum(dtype=torch.float64).item() for losses in self._losses())
        return total / (len(self.examples) * len(HELD_OUT_SIGMAS))

    @torch.no_grad()
    def by_level(self) -> tuple[Level, ...]:
        """Return the losses of the base and of the model as it is at each noise level, as means over the clips."""

        def means() -> list[float]:
            found: list[float] = torch.stack([losses.double() for losses in self._losses()]).mean(dim=0).tolist()
            return found

        now = means()
        with self.adapter.switched_off():
            base = means()
        return tuple(map(Level, HELD_OUT_SIGMAS, base, now))

    def _losses(self) -> Iterator[Tensor]:
        """Yield the losses of each clip at the n noise levels, (n,) on the CPU."""
        for number, example in enumerate(self.examples):
            yield self._losses_of(number, example)

    def _losses_of(self, number: int, example: Example) -> Tensor:
        model = self.adapter.model
        device = model.audio_patchify_proj.weight.device
        sigma, count = torch.tensor(HELD_OUT_SIGMAS, device=device), len(HELD_OUT_SIGMAS)
        seeds = range(number * count, (number + 1) * count)
        noises = [torch.randn(example.latents.shape, generator=step_generator(_SEED, seed)) for seed in seeds]
        noise, clean = torch.stack(noises).to(device), example.latents.to(device)  # (n, T, C), (T, C)
        condition = _condition(example, count, device)
        rope = model.rope(condition.positions(len(clean), self.audio).to(device))
        x = condition.sequence(noisy(clean, noise, sigma), clean)  # (n, R + T, C)
        mask = condition.mask(len(clean), device)  # (n, R + T)

        def velocity(context: Tensor) -> Tensor:
            batch = context.to(device).expand(count, -1, -1)  # (n, S, D)
            out: Tensor = model(x, sigma[:, None], sigma, batch, rope, given=mask)
            return out[:, condition.front :].float()  # (n, T, C)

        target = noise - clean
        if example.ends is not None:
            with self.adapter.switched_off():
                low, high = map(velocity, example.ends)
                target = slid(velocity(example.context), low, high, example.strength)
        padding = None if example.padding is None else example.padding.to(device).expand(count, -1)
        with self.adapter.at(example.strength):
            return error_per_sample(velocity(example.context), target, either(condition.given, padding)).cpu()


def _condition(example: Example, count: int, device: torch.device) -> Condition:
    """Return the condition of a batch of `count` times the same example."""
    given, reference = (
        None if tensor is None else tensor.to(device).expand(count, *tensor.shape)
        for tensor in (example.given, example.reference)
    )
    return Condition(given, reference)


class Comparison(NamedTuple):
    """What generated sound is beside the clips, and the sound itself, as latents (T, C)."""

    distances: tuple[float, float]  # now, and at the start of the run
    closest: tuple[str, float]  # the clip that a generated sound is closest to, and their correlation
    generated: list[Tensor]
    original: list[Tensor]  # the same as the run began


def fit_report(
    folder: RunFolder,
    adapter: Adapter,
    examples: Sequence[Example],
    base: Base,
    settings: PreviewSettings,
    previews: Sequence[Path],
    facts: Facts,
    first_lora: Lora | None = None,
    hear: Callable[[Comparison], Sequence[Heard]] = lambda comparison: (),
) -> Fit:
    """Judge a run at its end. A run without previews generates nothing for its report either.

    first_lora: the LoRA that the run began with; None is a run that began with the base. hear: measures what is heard
    of generated sound.
    """
    held_out = folder.read_held_out()
    checkpoints = {step: path.relative_to(folder.path).as_posix() for step, path in folder.checkpoint_loras().items()}
    if not previews:
        return judge(Figures(held_out, checkpoints=checkpoints), facts)
    if examples[0].ends is not None:  # the base has made them itself
        return judge(Figures(held_out, level=measure_level(previews), checkpoints=checkpoints), facts)

    def made(example: Example) -> Tensor:
        with adapter.at(example.strength):
            return sample(base, adapter.model, example.context, settings, given_of(example))

    found = compare(adapter, examples, made, first_lora)
    level = measure_level(previews)
    return judge(Figures(held_out, found.distances, found.closest, level, checkpoints, tuple(hear(found))), facts)


def compare(
    adapter: Adapter,
    examples: Sequence[Example],
    sample: Callable[[Example], Tensor],
    first_lora: Lora | None = None,
    prompts: int = 2,
) -> Comparison:
    """Compare sound generated for the clips' own captions with the clips.

    sample: makes latents (T, C) for an example's caption, condition and strength, by the model as it is. Each side of a
    slider is compared with its own clips.
    """
    sides = [[each for each in examples if each.strength == side] for side in sorted({e.strength for e in examples})]
    chosen = [_different(side, max(1, prompts // len(sides))) for side in sides]
    generated = [[sample(example).cpu() for example in each] for each in chosen]
    with adapter.switched_off() if first_lora is None else begun_with(adapter, first_lora):
        original = [[sample(example).cpu() for example in each] for each in chosen]
    ours, theirs = (
        math.sqrt(sum(map(_squared_distance, sounds, sides)) / len(sides)) for sounds in (generated, original)
    )
    name, closeness = max(
        (
            (example.name, _correlation(sound, example.sound))
            for sound in chain.from_iterable(generated)
            for example in examples
        ),
        key=lambda pair: pair[1],
    )
    return Comparison((ours, theirs), (name, closeness), *map(list, map(chain.from_iterable, (generated, original))))


def measure_level(previews: Sequence[Path]) -> tuple[float, float]:
    """Return the RMS in dBFS and the share of 50-ms windows below −60 dBFS, over WAV files."""
    powers = []
    for path in previews:
        waveform, rate = read_wav(path)
        size = round(_WINDOW_SECONDS * rate)
        windows = waveform[:, : waveform.shape[1] // size * size].reshape(waveform.shape[0], -1, size)
        powers.append(windows.square().mean(dim=(0, 2)))
    power = torch.cat(powers)
    silent = (power < 10 ** (_SILENCE_DBFS / 10)).float().mean()
    return decibels(math.sqrt(power.mean().item())), silent.item()


def given_of(example: Example) -> Given | None:
    """Return what is given of an example, None where nothing is."""
    if example.given is None and example.reference is None:
        return None
    mask = torch.zeros(len(example.latents), dtype=torch.bool) if example.given is None else example.given
    return Given(example.latents, mask, example.reference)


def _different(examples: Sequence[Example], count: int) -> list[Example]:
    """Return the first `count` examples whose captions differ."""
    chosen: list[Example] = []
    for example in examples:
        if len(chosen) < count and not any(torch.equal(example.context, other.context) for other in chosen):
            chosen.append(example)
    return chosen


def _squared_distance(sounds: Sequence[Tensor], clips: Sequence[Example]) -> float:
    """Return how far the mean statistics of sounds (T, C) lie from those of the clips, as a mean square."""
    ours = torch.stack([_statistics(sound) for sound in sounds]).mean(dim=0)
    theirs = torch.stack([_statistics(clip.sound) for clip in clips]).mean(dim=0)
    return float((ours - theirs).square().mean())


def _statistics(latents: Tensor) -> Tensor:
    """Return mean and deviation of each channel, (2C,), of latents (T, C)."""
    return torch.cat((latents.mean(dim=0), latents.std(dim=0, correction=0)))


def _correlation(a: Tensor, b: Tensor) -> float:
    """Return the correlation of two latents (T, C) at the shift, of up to a second, that fits best."""
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    best = 0.0
    for lag in range(-_LAG, _LAG + 1):
        x, y = a[max(0, lag) :], b[max(0, -lag) :]
        count = min(len(x), len(y))
        if count < 2:
            continue
        x, y = x[:count], y[:count]
        norms = x.norm() * y.norm()
        if norms > 0:
            best = max(best, ((x * y).sum() / norms).item())
    return best
