"""The prompts whose sound a training keeps as the base makes it."""

from __future__ import annotations

from collections.abc import Iterable

from soundlora.dataset.captions import without_trigger
from soundlora.errors import InputError
from soundlora.pipeline.options import TrainingOptions
from soundlora.wording import setting, using


def preserved_prompts(options: TrainingOptions, captions: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the prompts that are preserved beside each caption: its words without the trigger phrase, and no words.

    What is trained on is not preserved. A caption that leaves nothing else takes the prompts of all others. Without
    `preserve` there are none. Raises InputError where there is no prompt at all.
    """
    if not options.preserve:
        return {}
    captions = list(captions)
    trained = {*captions, ""} if options.caption_dropout else set(captions)
    found = {
        caption: tuple(
            prompt
            for prompt in dict.fromkeys((without_trigger(options.trigger_phrase, caption), ""))
            if prompt not in trained
        )
        for caption in captions
    }
    everything = tuple(dict.fromkeys(prompt for prompts in found.values() for prompt in prompts))
    if not everything:
        dropout = options.caption_dropout
        mend = f"leave out {using('caption_dropout', dropout)}" if dropout else "give every clip a caption"
        raise InputError(
            f"{setting('preserve')} has no prompt to preserve: no caption is another one without its trigger phrase, "
            f"and the empty prompt is trained; name the phrase of your captions with {setting('trigger_phrase')}, or "
            f"{mend}.",
            field="preserve",
        )
    return {caption: prompts or everything for caption, prompts in found.items()}
