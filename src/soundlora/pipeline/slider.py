"""Sliders: a LoRA whose strength from -1 to 1 moves a sound from one end to the other.

The ends are two prompts, between which the base itself says the way, or two folders of a data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import PurePosixPath

import torch
from torch import Tensor

from soundlora.dataset import ClipReport, DatasetReport
from soundlora.dataset.captions import with_trigger
from soundlora.errors import InputError
from soundlora.model.transformer import AudioTransformer
from soundlora.pipeline.cache import Cache, made_key
from soundlora.pipeline.encode import EncodedClip
from soundlora.pipeline.options import TrainingOptions
from soundlora.progress import OnProgress, Progress
from soundlora.sampling.generate import SamplingSettings, sample_takes
from soundlora.system.devices import empty_cache
from soundlora.training.trainer import Example
from soundlora.weights.base import Base
from soundlora.wording import setting, using

FROM, TO = -1.0, 1.0
"""The strengths of the ends."""

SOUNDS = 16
"""Sounds that the base makes of the prompt in between. Each is trained on at both ends."""
_AT_ONCE = 4


def check_slider(options: TrainingOptions) -> None:
    """Raise InputError where data or the ends of a slider are missing, or don't go with other settings."""
    if not slides(options):
        if not options.data:
            raise InputError(
                f"{setting('data')} is missing: give a zip or a folder of clips, or two prompts to slide between, with "
                f"{setting('slide_from')} and {setting('slide_to')}.",
                field="data",
            )
        if options.slide_prompt:
            raise InputError(
                f"{setting('slide_prompt')} is what a slider slides on; name its ends with {setting('slide_from')} and "
                f"{setting('slide_to')}, or leave it out.",
                field="slide_prompt",
            )
        return
    for one, other in (("slide_from", "slide_to"), ("slide_to", "slide_from")):
        if not getattr(options, one):
            raise InputError(f"{setting(other)} needs {setting(one)}, the other end of the slider.", field=one)
    if options.slide_from == options.slide_to:
        raise InputError(
            f"{setting('slide_from')} and {setting('slide_to')} are both {options.slide_to!r}, but a slider has two "
            "ends.",
            field="slide_to",
        )
    if options.mode != "t2a":
        raise InputError(f"A slider is trained in the mode t2a; leave out {using('mode', options.mode)}.", field="mode")
    if options.data:
        if not _neutral(options):
            raise InputError(
                f"Both folders of a slider take the same caption; say with {setting('slide_prompt')} what their clips "
                "have in common.",
                field="slide_prompt",
            )
        return
    for name in ("trigger_phrase", "caption_dropout", "preserve", "debug_dataset"):
        if value := getattr(options, name):
            raise InputError(
                f"{using(name, value)} has no use for a slider between two prompts; leave it out.", field=name
            )


def slides(options: TrainingOptions) -> bool:
    """Say whether a slider is trained."""
    return bool(options.slide_from or options.slide_to)


def is_made(options: TrainingOptions) -> bool:
    """Say whether a slider goes between two prompts, so that the base makes the sounds itself."""
    return slides(options) and not options.data


def ends_of(options: TrainingOptions) -> tuple[str, ...]:
    """Return the prompts at the ends of a slider, none where there are no such."""
    return (options.slide_from, options.slide_to) if is_made(options) else ()


def prompt_of(options: TrainingOptions) -> str:
    """Return the prompt that a slider slides on: what was said, else the words that both prompts share, in order."""
    return _neutral(options) if options.data else options.slide_prompt or _shared(options.slide_from, options.slide_to)


def _neutral(options: TrainingOptions) -> str:
    return with_trigger(options.trigger_phrase, options.slide_prompt)


def _shared(one: str, other: str) -> str:
    """Return the words that two texts have in the same order."""
    words, others = one.split(), other.split()
    matcher = SequenceMatcher(None, [word.casefold() for word in words], [word.casefold() for word in others], False)
    return " ".join(word for block in matcher.get_matching_blocks() for word in words[block.a : block.a + block.size])


def side_of(options: TrainingOptions) -> Callable[[str], float]:
    """Return a function that says at which strength a clip of a data set is learnt, by its name with its folders.

    That raises InputError for a clip of a slider that lies in neither folder.
    """
    if not slides(options):
        return lambda name: 1.0

    def side(name: str) -> float:
        for folder in reversed(PurePosixPath(name).parts[:-1]):
            if folder in (options.slide_from, options.slide_to):
                return FROM if folder == options.slide_from else TO
        raise InputError(
            f"{name} lies in neither folder of the slider, {options.slide_from} and {options.slide_to}; put it into "
            "one, or take it out.",
            field="data",
        )

    return side


def check_sides(options: TrainingOptions, clips: Sequence[EncodedClip]) -> None:
    """Raise InputError where a folder of a slider has no clip."""
    for strength, name in ((FROM, "slide_from"), (TO, "slide_to")):
        if slides(options) and not any(clip.strength == strength for clip in clips):
            raise InputError(
                f"No clip lies in a folder {getattr(options, name)!r} of the data, but {setting(name)} names it.",
                field=name,
            )


def both_sides(examples: Sequence[Example]) -> list[Example]:
    """Return each example once at each end."""
    return [replace(example, strength=strength) for example in examples for strength in (FROM, TO)]


def made_clips(
    options: TrainingOptions,
    base: Base,
    store: Cache,
    contexts: Mapping[str, Tensor],
    load: Callable[[], AudioTransformer],
    tell: OnProgress,
) -> tuple[list[EncodedClip], DatasetReport]:
    """Return sounds that the base makes of the prompt in between, and the report on them.

    Those that the store lacks are made and kept. contexts: of that prompt and of the base's negative one. load: brings
    the transformer.
    """
    prompt, seconds = prompt_of(options), options.duration
    steps, guidance = SamplingSettings().resolve(base.config.sampling)
    seeds = [options.seed + number for number in range(SOUNDS)]
    negative = base.config.sampling.negative_prompt or ""
    keys = {seed: made_key(base.hash, prompt, negative, seconds, seed) for seed in seeds}
    found = {seed: latents for seed, key in keys.items() if (latents := store.get(key)) is not None}
    missing = [seed for seed in seeds if seed not in found]
    model = load() if missing else None
    for start in range(0, len(missing), _AT_ONCE):
        tell(Progress("clips", len(found), SOUNDS, message="the base makes sounds to slide on"))
        assert model is not None
        some = missing[start : start + _AT_ONCE]
        with torch.no_grad():
            takes = sample_takes(
                model,
                base.config.audio,
                contexts[prompt],
                contexts[negative],
                seconds=seconds,
                seeds=some,
                steps=steps,
                guidance=guidance,
            )
        for seed, latents in zip(some, takes.float().cpu(), strict=True):
            found[seed] = latents.clone()
            store.put(keys[seed], found[seed])
    if model is not None:
        device = model.audio_patchify_proj.weight.device
        del model
        empty_cache(device)
    clips, reports = [], []
    for number, seed in enumerate(seeds):
        name = f"made_{number + 1:02d}"
        told = hashlib.sha256(json.dumps([base.hash, prompt, seconds, seed]).encode()).hexdigest()
        clips.append(EncodedClip(name, prompt, told, found[seed]))
        of_file = {"caption_source": "the base's own sound", "seconds": seconds, "used_seconds": seconds}
        reports.append(ClipReport(name, "kept", prompt, bucket=seconds, **of_file))  # type: ignore[arg-type]
    tell(Progress("clips", SOUNDS, SOUNDS, message=f"{SOUNDS} sounds of the base's own, of {prompt!r}"))
    return clips, DatasetReport("", options.duration, reports)
