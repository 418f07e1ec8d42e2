"""The clips of a run as latents. They are decoded, fitted to the bucket and encoded, one clip in memory at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.contract.modes import MODES
from soundlora.dataset import (
    TOLERANCE_SECONDS,
    CaptionsFrom,
    Clip,
    DatasetReport,
    Partner,
    Short,
    Spans,
    Windows,
    prepare,
)
from soundlora.dataset.review import unused
from soundlora.net.addresses import shown
from soundlora.pipeline.cache import Cache, latents_key
from soundlora.pipeline.options import TrainingOptions
from soundlora.progress import OnProgress, Progress
from soundlora.weights.base import Base


@dataclass(frozen=True)
class EncodedClip:
    """A clip that is kept, with the hash of its file."""

    name: str
    caption: str
    sha256: str
    latents: Tensor  # (T, C), normalised, fp32, on the CPU
    spans: Spans = ()  # that are made anew
    reference: Tensor | None = None  # (R, C), latents of the clip that it is made of
    partner: tuple[str, str] | None = None  # name of the reference or the mask, and what tells it apart
    used_seconds: float = math.inf  # of its sound, behind which silence counts nothing


@dataclass(frozen=True)
class Fitting:
    """A data set and how its clips are fitted; the fields are the arguments of `dataset.prepare`."""

    data: str | os.PathLike[str]
    duration: float  # seconds, the bucket
    trigger_phrase: str
    normalize: bool
    preserve_pitch: bool
    validation_prompts: tuple[str, ...]
    partner: Partner = ""
    shorter_durations: tuple[float, ...] = ()
    short: Short = "skip"
    captions_from: CaptionsFrom = "files"
    caption_template: str = ""
    windows: Windows = "first"

    @classmethod
    def of(cls, options: TrainingOptions) -> Fitting:
        """Return how a training with these options fits its clips."""
        return cls(
            options.data,
            options.duration,
            options.trigger_phrase,
            options.normalize,
            options.preserve_pitch,
            tuple(options.validation_prompts or ()),
            MODES[options.mode].partner,
            tuple(options.shorter_durations),
            options.short,
            options.captions_from,
            options.caption_template,
            options.windows,
        )

    def prepare(self, on_clip: Callable[[Clip], None], only: Collection[str] | None = None) -> DatasetReport:
        """Hand every fitted clip, or those `only`, to `on_clip` and return the report. Raises as `dataset.prepare`."""
        return prepare(
            self.data,
            duration=self.duration,
            on_clip=on_clip,
            trigger_phrase=self.trigger_phrase,
            normalize=self.normalize,
            preserve_pitch=self.preserve_pitch,
            validation_prompts=self.validation_prompts,
            partner=self.partner,
            shorter_durations=self.shorter_durations,
            short=self.short,
            captions_from=self.captions_from,
            caption_template=self.caption_template,
            windows=self.windows,
            only=only,
        )

    def key(self, base: Base, clip: Clip) -> str:
        """Return the key of the clip's latents in the cache."""
        return latents_key(base.hash, clip.sha256, clip.bucket, self.normalize, self.preserve_pitch, clip.offset)


def encode_clips(
    base: Base, store: Cache, fitting: Fitting, device: torch.device, tell: OnProgress
) -> tuple[list[EncodedClip], DatasetReport]:
    """Return every clip that is kept, and the report on all. Latents that the store lacks are computed and kept.

    Raises as `prepare` does.
    """
    clips: list[EncodedClip] = []
    codec = None

    def latents_of(clip: Clip) -> Tensor:
        nonlocal codec
        key = fitting.key(base, clip)
        latents = store.get(key)
        if latents is None:
            codec = codec or base.codec(device, encoder=True)
            latents = codec.encode(torch.from_numpy(clip.samples), clip.sample_rate)
            store.put(key, latents)
        return latents

    def encode(clip: Clip) -> None:
        latents = latents_of(clip)
        reference, partner = None, None
        if clip.reference is not None:
            reference, partner = latents_of(clip.reference), (clip.reference.name, clip.reference.sha256)
        elif clip.report.partner is not None:
            partner = clip.report.partner, json.dumps(clip.spans)
        used = clip.used_seconds if clip.bucket - clip.used_seconds > TOLERANCE_SECONDS else math.inf
        clips.append(EncodedClip(clip.name, clip.caption, clip.sha256, latents, clip.spans, reference, partner, used))
        tell(Progress("clips", len(clips), message=clip.name))

    tell(Progress("clips", message=f"reading {shown(os.fspath(fitting.data))}"))
    report = fitting.prepare(encode)
    kept, skipped = len(report.kept), len(report.skipped)
    tell(Progress("clips", kept, kept, message=f"{kept} clips kept, {skipped} skipped"))
    for sentence in unused(report):
        tell(Progress("clips", kept, kept, message=sentence, note=True))
    return clips, report
