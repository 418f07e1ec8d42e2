"""The condition of a mode: what is given of a run's clips, of its previews, and of one sound that is generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from soundlora.contract.modes import MODES, Mode
from soundlora.dataset import Spans, local_source
from soundlora.errors import InputError, about
from soundlora.model.condition import Given, at_end, at_start, outside
from soundlora.model.config import AudioConfig
from soundlora.model.latents import positions
from soundlora.pipeline.encode import EncodedClip
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.sound_files import read_sound
from soundlora.pipeline.spans import parse_spans
from soundlora.training.trainer import Example
from soundlora.weights.base import Base
from soundlora.wording import setting, using

Encode = Callable[[Tensor, int], Tensor]
"""Makes latents (T, C) of a waveform (channels, samples) at so many samples a second."""


def check_mode(options: TrainingOptions) -> None:
    """Raise InputError when the settings of a mode and those of its previews do not belong together."""
    mode = MODES[options.mode]
    seconds, audio, spans = options.conditioning_seconds, options.validation_audio, options.validation_spans
    if seconds is not None and not mode.takes_seconds:
        raise InputError(
            f"{setting('conditioning_seconds')} says how much of a clip is given, for which {using('mode', mode.name)} "
            "has no use; leave it out.",
            field="conditioning_seconds",
        )
    shortest = min((options.duration, *options.shorter_durations))
    if mode.takes_seconds and (seconds or 1.0) >= shortest:
        raise InputError(
            f"{setting('conditioning_seconds')} is {seconds or 1.0:g}, but it must be less than the bucket of "
            f"{shortest:g} s.",
            field="conditioning_seconds",
        )
    if options.short == "pad" and mode.given != "nothing":
        raise InputError(
            f"{using('short', 'pad')} has no use with {using('mode', mode.name)}, as silence would be given or learnt; "
            "leave it out.",
            field="short",
        )
    prompts = options.validation_prompts or ()
    if audio is not None and mode.given == "nothing":
        raise InputError(
            f"{setting('validation_audio')} has no use with {using('mode', mode.name)}; leave it out.",
            field="validation_audio",
        )
    if spans is not None and mode.given != "spans":
        raise InputError(
            f"{setting('validation_spans')} has no use with {using('mode', mode.name)}; leave it out.",
            field="validation_spans",
        )
    for name, values in (("validation_audio", audio), ("validation_spans", spans)):
        if values is not None and len(values) != len(prompts):
            raise InputError(
                f"{setting(name)} is there {len(values)} times, but {len(prompts)} validation prompts take one each.",
                field=name,
            )
    if mode.given == "spans" and audio is not None and spans is None:
        raise InputError(
            f"{setting('validation_spans')} is missing: name the seconds of {setting('validation_audio')} that are "
            "made anew.",
            field="validation_spans",
        )
    for text in spans or ():
        parse_spans(text, "validation_spans")


def example_of(clip: EncodedClip, context: Tensor, options: TrainingOptions, audio: AudioConfig) -> Example:
    """Return a clip as the trainer sees it, with what the mode gives of it. context: (S, D), of its caption."""
    mode = MODES[options.mode]
    mask = None
    if mode.given not in ("nothing", "reference"):
        mask = given_mask(mode, len(clip.latents), options.conditioning_seconds or 1.0, clip.spans, audio)
    padding = None
    if options.short == "pad":  # of every clip, so that all have one shape
        padding = positions(len(clip.latents), audio)[0, 0, :, 0] >= clip.used_seconds
    return Example(clip.name, clip.latents, context, mask, clip.reference, padding, strength=clip.strength)


def given_mask(mode: Mode, tokens: int, seconds: float, spans: Spans, audio: AudioConfig) -> Tensor:
    """Return which latents of a sound are given, (tokens,) bool. seconds, spans: of the modes that take them."""
    if mode.given == "spans":
        return outside(tokens, spans, audio)
    if not mode.takes_seconds:
        return at_start(tokens, 0)
    count = min(max(1, round(seconds * audio.latent_rate)), tokens - 1)
    return at_start(tokens, count) if mode.given == "start" else at_end(tokens, count)


def previews_given(
    options: TrainingOptions, base: Base, clips: Sequence[EncodedClip], device: torch.device, seconds: float
) -> tuple[Given, ...]:
    """Return what is given of each preview: of the audio that the options name for it, else of the first clips.

    seconds: the length of a preview. Raises InputError when the audio can't be used.
    """
    mode, config = MODES[options.mode], base.config.audio
    if mode.given == "nothing":
        return ()
    prompts = len(options.validation_prompts or ())
    of_seconds = options.conditioning_seconds or 1.0
    if options.validation_audio is None:
        chosen = [clips[number % len(clips)] for number in range(prompts)]
        masks = [given_mask(mode, len(clip.latents), of_seconds, clip.spans, config) for clip in chosen]
        return tuple(Given(clip.latents, mask, clip.reference) for clip, mask in zip(chosen, masks, strict=True))
    codec = base.codec(device, encoder=True) if prompts else None
    found = []
    for number, source in enumerate(options.validation_audio):
        assert codec is not None
        spans = parse_spans(options.validation_spans[number]) if options.validation_spans else ()
        with about(f"validation.{number}"):
            latents = _latents(source, codec.encode, seconds)
        if mode.given == "reference":
            found.append(Given(torch.zeros_like(latents), at_start(len(latents), 0), latents))
            continue
        mask = given_mask(mode, len(latents), of_seconds, spans, config)
        if mask.all():
            raise InputError(
                f"{setting('validation_spans')} names no span within the {seconds:g} s of a preview.",
                field="validation_spans",
            )
        found.append(Given(latents, mask))
    return tuple(found)


def _latents(source: str, encode: Encode, seconds: float) -> Tensor:
    """Return the latents (T, C) of the first seconds of a file or URL; shorter ones are followed by silence."""
    with local_source(source) as path:
        sound = read_sound(path, seconds)
    samples = sound.samples[:, : int(seconds * sound.sample_rate)]
    missing = int(seconds * sound.sample_rate) - samples.shape[1]
    return encode(torch.from_numpy(np.pad(samples, ((0, 0), (0, missing)))), sound.sample_rate)
