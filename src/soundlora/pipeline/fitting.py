"""A data set and how its clips are fitted to a training. No tensor is made here."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from soundlora.contract.modes import MODES
from soundlora.dataset import CaptionsFrom, Clip, DatasetReport, Partner, Short, Windows, prepare
from soundlora.dataset.captions import with_trigger
from soundlora.pipeline.options import TrainingOptions


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
        """Return how a training with these options fits its clips. Those of a slider all have the same caption."""
        slides = bool(options.slide_from)
        return cls(
            options.data,
            options.duration,
            with_trigger(options.trigger_phrase, options.slide_prompt) if slides else options.trigger_phrase,
            options.normalize,
            options.preserve_pitch,
            tuple(options.validation_prompts or ()),
            MODES[options.mode].partner,
            tuple(options.shorter_durations),
            options.short,
            options.captions_from,
            "{trigger}" if slides else options.caption_template,
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
