"""The clips of a run as latents. They are decoded, fitted to the bucket and encoded, one clip in memory at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.dataset import TOLERANCE_SECONDS, Clip, DatasetReport, Spans
from soundlora.dataset.review import unused
from soundlora.net.addresses import shown
from soundlora.pipeline.cache import Cache, latents_key
from soundlora.pipeline.fitting import Fitting
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
    strength: float = 1.0  # at which it is learnt


def encode_clips(
    base: Base,
    store: Cache,
    fitting: Fitting,
    device: torch.device,
    tell: OnProgress,
    side: Callable[[str], float] = lambda name: 1.0,
) -> tuple[list[EncodedClip], DatasetReport]:
    """Return every clip that is kept, and the report on all. Latents that the store lacks are computed and kept.

    side: says at which strength a clip is learnt, by its name. Raises as that and `Fitting.prepare` do.
    """
    clips: list[EncodedClip] = []
    codec = None

    def latents_of(clip: Clip) -> Tensor:
        nonlocal codec
        key = latents_key(base.hash, clip.sha256, clip.bucket, fitting.normalize, fitting.preserve_pitch, clip.offset)
        latents = store.get(key)
        if latents is None:
            codec = codec or base.codec(device, encoder=True)
            latents = codec.encode(torch.from_numpy(clip.samples), clip.sample_rate)
            store.put(key, latents)
        return latents

    def encode(clip: Clip) -> None:
        strength = side(clip.name)
        latents = latents_of(clip)
        reference, partner = None, None
        if clip.reference is not None:
            reference, partner = latents_of(clip.reference), (clip.reference.name, clip.reference.sha256)
        elif clip.report.partner is not None:
            partner = clip.report.partner, json.dumps(clip.spans)
        used = clip.used_seconds if clip.bucket - clip.used_seconds > TOLERANCE_SECONDS else math.inf
        found = clip.name, clip.caption, clip.sha256, latents, clip.spans, reference, partner, used, strength
        clips.append(EncodedClip(*found))
        tell(Progress("clips", len(clips), message=clip.name))

    tell(Progress("clips", message=f"reading {shown(os.fspath(fitting.data))}"))
    report = fitting.prepare(encode)
    kept, skipped = len(report.kept), len(report.skipped)
    tell(Progress("clips", kept, kept, message=f"{kept} clips kept, {skipped} skipped"))
    for sentence in unused(report):
        tell(Progress("clips", kept, kept, message=sentence, note=True))
    return clips, report
