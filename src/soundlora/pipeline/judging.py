"""The judgement of a finished run, with what its advice goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from soundlora.pipeline.hearing import heard
from soundlora.pipeline.slider import slides
from soundlora.training.evaluation import Comparison, HeldOut, fit_report
from soundlora.training.verdict import Facts, Fit, Heard

if TYPE_CHECKING:
    from soundlora.pipeline.run import Run, Training

_MEASURED = 8  # clips, whose losses at each noise level take no longer than a preview
_NOT_HEARD = "Nothing was generated for captions of clips, so there are no figures of it."


def judged(run: Run, training: Training, previews: Sequence[Path]) -> Fit:
    """Judge a run by its losses and its sound. previews: those of its end."""
    kept_out = training.held_out.examples
    said = _NOT_HEARD

    def hear(found: Comparison) -> Sequence[Heard]:
        nonlocal said
        if slides(run.options):  # its two ends are no set of a kind
            return ()
        rows, said = heard(run.base, run.device, kept_out or training.examples, found, bool(kept_out))
        return rows

    fit = fit_report(
        run.folder,
        training.adapter,
        training.examples,
        run.base,
        training.previews,
        previews,
        _facts(run),
        run.first_lora,
        hear,
    )
    measured = HeldOut(training.adapter, (kept_out or training.examples)[:_MEASURED], run.base.config.audio)
    return replace(fit, levels=measured.by_level(), levels_kept_out=bool(kept_out), heard_of=said)


def _facts(run: Run) -> Facts:
    options, report = run.options, run.report
    trigger = options.trigger_phrase or ""
    of_sources = report.source_seconds
    captions = [clip.caption.removeprefix(trigger).lstrip(" ,") for clip in report.kept]
    return Facts(
        clips=len(report.kept),
        steps=options.steps,
        learning_rate=options.learning_rate,
        # Those of a slider say one and the same, as they should.
        captions=() if slides(options) else tuple(captions),
        trigger_phrase=trigger,
        prompts=tuple(options.validation_prompts or ()),
        used=report.total_seconds / of_sources if of_sources else 1.0,
    )
