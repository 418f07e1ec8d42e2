"""Previews, which let the adapter be heard as it is so far, with the same seed every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from soundlora.audio.wav import read_wav, write_wav
from soundlora.lora.adapter import Adapter
from soundlora.model.condition import Given
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.generate import SamplingSettings, sample_latents
from soundlora.training.run_folder import RunFolder
from soundlora.weights.base import Base

_GAP_SECONDS = 0.5  # of silence between sounds in one file


@dataclass(frozen=True)
class PreviewSettings:
    """Prompts, and how they are sampled.

    contexts: (S, D) of each prompt, in their order. given: what is given of each preview, in the same order; empty
    where nothing is. seconds: of each preview of which nothing is given. strengths: at which the adapter is heard in a
    preview, one after the other.
    """

    prompts: tuple[str, ...]
    contexts: tuple[Tensor, ...]
    negative_context: Tensor
    seconds: float
    seed: int
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    given: tuple[Given, ...] = ()
    strengths: tuple[float, ...] = (1.0,)


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


def write_previews(folder: RunFolder, step: int, base: Base, adapter: Adapter, settings: PreviewSettings) -> list[Path]:
    """Generate every prompt, write one WAV each, and return their paths. step: the steps done, for the names."""
    model = adapter.model
    codec = base.codec(model.audio_patchify_proj.weight.device, decoder=True)
    paths = []
    for number, context in enumerate(settings.contexts):
        given = settings.given[number] if settings.given else None
        sounds = []
        for strength in settings.strengths:
            with adapter.at(strength):
                sounds.append(codec.decode(sample(base, model, context, settings, given)))
        path = folder.preview_path(step, number)
        write_wav(path, in_a_row(sounds, codec.sample_rate), codec.sample_rate)
        paths.append(path)
    return paths


def in_a_row(sounds: Sequence[Tensor], rate: int) -> Tensor:
    """Return sounds (channels, samples) one after the other, with half a second of silence between them."""
    gap = torch.zeros(sounds[0].shape[0], round(_GAP_SECONDS * rate))
    return torch.cat([part for sound in sounds for part in (gap, sound)][1:], dim=1)


def combine(paths: Sequence[Path], target: Path) -> None:
    """Write several previews to one file, with half a second of silence between them."""
    read = [read_wav(path) for path in paths]
    rate = read[-1][1]
    write_wav(target, in_a_row([waveform for waveform, _ in read], rate), rate)
