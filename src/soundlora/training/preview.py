"""Previews, which let the adapter be heard as it is so far, with the same seed every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from soundlora.audio.wav import read_wav, write_wav
from soundlora.model.condition import Given
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.generate import SamplingSettings, sample_latents
from soundlora.training.run_folder import RunFolder
from soundlora.weights.base import Base

_GAP_SECONDS = 0.5  # of silence between the prompts of the combined preview


@dataclass(frozen=True)
class PreviewSettings:
    """Prompts, and how they are sampled.

    contexts: (S, D) of each prompt, in their order. given: what is given of each preview, in the same order; empty
    where nothing is. seconds: of each preview of which nothing is given.
    """

    prompts: tuple[str, ...]
    contexts: tuple[Tensor, ...]
    negative_context: Tensor
    seconds: float
    seed: int
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    given: tuple[Given, ...] = ()


def sample(
    base: Base, model: AudioTransformer, context: Tensor, settings: PreviewSettings, given: Given | None = None
) -> Tensor:
    """Return latents (T, C) for a context (S, D), by the model as it is, with its adapter unmerged."""
    steps, guidance = settings.sampling.resolve(base.config.sampling)
    return sample_latents(
        model,
        base.config.audio,
        context,
        settings.negative_context,
        seconds=settings.seconds,
        seed=settings.seed,
        steps=steps,
        guidance=guidance,
        given=given,
    )


def write_previews(
    folder: RunFolder, step: int, base: Base, model: AudioTransformer, settings: PreviewSettings
) -> list[Path]:
    """Generate every prompt, write one WAV each, and return their paths. step: the steps done, for the names."""
    codec = base.codec(model.audio_patchify_proj.weight.device, decoder=True)
    paths = []
    for number, context in enumerate(settings.contexts):
        given = settings.given[number] if settings.given else None
        waveform = codec.decode(sample(base, model, context, settings, given))
        path = folder.preview_path(step, number)
        write_wav(path, waveform, codec.sample_rate)
        paths.append(path)
    return paths


def combine(paths: Sequence[Path], target: Path) -> None:
    """Write several previews to one file, with half a second of silence between them."""
    parts: list[Tensor] = []
    rate = 0
    for path in paths:
        waveform, rate = read_wav(path)
        if parts:
            parts.append(torch.zeros(waveform.shape[0], round(_GAP_SECONDS * rate)))
        parts.append(waveform)
    write_wav(target, torch.cat(parts, dim=1), rate)
