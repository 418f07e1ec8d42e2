"""What a run is trained on: its clips, or sounds that the base makes, and what the trainer sees of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from soundlora.dataset import DatasetReport
from soundlora.errors import about
from soundlora.pipeline.cache import Cache, cached_contexts
from soundlora.pipeline.conditions import example_of
from soundlora.pipeline.encode import EncodedClip, encode_clips
from soundlora.pipeline.fitting import Fitting
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.placement import placed, planned
from soundlora.pipeline.slider import (
    both_sides,
    check_sides,
    ends_of,
    is_made,
    made_clips,
    prompt_of,
    side_of,
    slides,
)
from soundlora.training.evaluation import split
from soundlora.training.recorder import RunRecorder
from soundlora.training.trainer import Example
from soundlora.weights.base import Base

if TYPE_CHECKING:
    from soundlora.pipeline.run import Run


def clips_of(
    options: TrainingOptions,
    base: Base,
    store: Cache,
    fitting: Fitting,
    device: torch.device,
    recorder: RunRecorder,
    processes: int,
) -> tuple[list[EncodedClip], DatasetReport]:
    """Return what is trained on, and the report on it: the clips of the data, or sounds that the base makes."""
    if is_made(options):
        prompt, negative = prompt_of(options), base.config.sampling.negative_prompt or ""
        contexts = cached_contexts(base, store, [prompt, negative], device)
        plan, _ = planned(options, base, device, processes)
        return made_clips(options, base, store, contexts, lambda: placed(base, plan, device), recorder.tell)
    with about("data"):
        clips, report = encode_clips(base, store, fitting, device, recorder.tell, side_of(options))
    check_sides(options, clips)
    if slides(options):
        recorder.note(f"captions of the clips are left aside: all of a slider take {clips[0].caption!r}")
    return clips, report


def examples_of(run: Run) -> tuple[list[Example], list[Example]]:
    """Return what is trained on, and what is kept out."""
    options, contexts = run.options, run.contexts
    ends = [contexts[prompt] for prompt in ends_of(options)]
    examples = [
        replace(
            example_of(clip, contexts[clip.caption], options, run.base.config.audio),
            preserved=tuple(contexts[prompt] for prompt in run.preserved.get(clip.caption, ())),
            ends=torch.stack(ends) if ends else None,
        )
        for clip in run.clips
    ]
    assert options.hold_out is not None
    trained_on, kept_out = split(examples, options.hold_out, options.seed)
    return (both_sides(trained_on), both_sides(kept_out)) if ends else (trained_on, kept_out)
