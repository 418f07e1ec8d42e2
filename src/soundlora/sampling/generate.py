"""Generation of sound from text: contexts go in, latents come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.condition import Condition, Given
from soundlora.model.config import AudioConfig, SamplingDefaults
from soundlora.model.latents import generation_latents, initial_noise
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.guidance import Guidance, denoise
from soundlora.sampling.schedule import sigmas


@dataclass(frozen=True)
class SamplingSettings:
    """The settings of a generation. The base's own take the place of None."""

    steps: int | None = None
    cfg: float | None = None
    stg: float | None = None

    def resolve(self, defaults: SamplingDefaults) -> tuple[int, Guidance]:
        """Return the steps and the guidance, with `defaults` in the place of None."""
        guidance = Guidance(
            cfg=defaults.cfg if self.cfg is None else self.cfg,
            stg=defaults.stg if self.stg is None else self.stg,
            stg_blocks=defaults.stg_blocks,
            rescale=defaults.rescale,
        )
        return defaults.steps if self.steps is None else self.steps, guidance


def sample_latents(
    model: AudioTransformer,
    audio: AudioConfig,
    context: Tensor,
    negative_context: Tensor,
    *,
    seconds: float,
    seed: int,
    steps: int,
    guidance: Guidance,
    on_step: Callable[[int], None] | None = None,
    given: Given | None = None,
    before_step: Callable[[int], bool] | None = None,
) -> Tensor:
    """Return latents (T, C), T = round(25·seconds), for contexts (S, D).

    given: what is given of the sound, whose T takes the place of `seconds`; it comes back as it is. The same seed
    starts from the same noise on every device. on_step(step) is called after every step. before_step and what is
    raised are those of `denoise`.
    """
    takes = sample_takes(
        model,
        audio,
        context,
        negative_context,
        seconds=seconds,
        seeds=(seed,),
        steps=steps,
        guidance=guidance,
        on_step=on_step,
        given=given,
        before_step=before_step,
    )
    return takes[0]


def sample_takes(
    model: AudioTransformer,
    audio: AudioConfig,
    context: Tensor,
    negative_context: Tensor,
    *,
    seconds: float,
    seeds: Sequence[int],
    steps: int,
    guidance: Guidance,
    on_step: Callable[[int], None] | None = None,
    given: Given | None = None,
    before_step: Callable[[int], bool] | None = None,
) -> Tensor:
    """Return latents (B, T, C) of B takes, one of each seed, that go through the model together.

    A take differs from the same one made alone by rounding. Arguments and errors are those of `sample_latents`.
    """
    device = model.audio_patchify_proj.weight.device
    frames = max(1, generation_latents(seconds, audio)) if given is None else len(given.latents)
    noise = torch.cat([initial_noise(frames, model.config.in_channels, seed) for seed in seeds]).to(device)  # (B, T, C)
    clean, condition = (noise, Condition()) if given is None else given.condition(device)
    rope = model.rope(condition.positions(frames, audio).to(device))
    latents = denoise(
        model,
        condition.sequence(noise, clean),  # (B, R + T, C)
        sigmas(steps),
        rope,
        context[None].to(device),
        negative_context[None].to(device),
        guidance,
        None if on_step is None else lambda step, guided, x: on_step(step),
        condition.mask(frames, device),
        before_step,
    )
    return latents[:, condition.front :]
