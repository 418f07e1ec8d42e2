"""Generation of sound from a prompt, with or without LoRAs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from soundlora.contract.training import DEFAULT_NEGATIVE_PROMPT
from soundlora.errors import InputError, about
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import Lora, read_lora
from soundlora.lora.forms import FILE_FORMS
from soundlora.lora.merge import check_fits, check_generation
from soundlora.model.condition import Given
from soundlora.pipeline.arguments import checked_arguments
from soundlora.pipeline.cache import Cache, cached_contexts
from soundlora.pipeline.generation import USUAL_SECONDS, Generation
from soundlora.pipeline.given_sound import MAX_SECONDS, Source, check_source, generated
from soundlora.pipeline.lora_use import ALL_STEPS, AttachedLora, LoraFile, LoraUse, chosen_loras
from soundlora.progress import OnProgress, Progress, fetch_news
from soundlora.sampling.generate import SamplingSettings, sample_takes
from soundlora.system.cache_root import default_root, expanded
from soundlora.system.devices import device_of
from soundlora.system.gpu_memory import available, is_measured, shortage_told
from soundlora.training.memory_plan import SHARE, of_generation
from soundlora.weights.base import open_base
from soundlora.wording import setting

_LEAST_SECONDS = 0.1
_TRAINED_SECONDS = 20.0  # the base has heard nothing longer
_MOST_CONTEXTS = 64  # that a generator remembers; one of LTX takes 8 MB


"""A LoRA's file, the file with its strength, or with all that may be said of its use."""


class Generator:
    """A base with its LoRAs, loaded once for many prompts.

    lora, strength: one LoRA file, and how strongly it works.
    loras: several, instead of `lora`; they stay unmerged and add up. Each is a file, or a file with a strength of its
        own, as in `[("gate.safetensors", 0.7), "rain.safetensors"]`, or a `LoraUse`.
    force: take LoRAs of another generation of LTX, too.
    warnings: sentences about LoRAs that may not fit, or of which something had to be left out.
    device: "cuda", "cuda:1", "xpu", "mps" or "cpu"; None takes the first that is there.
    on_progress: called while a base is fetched.
    Raises InputError when the base, a LoRA or the device can't be used, MachineError or Interrupted when a fetch ended
    early.
    """

    @checked_arguments
    @shortage_told("The base's weights alone need more.")
    def __init__(
        self,
        base: str = "nano",
        loras: Sequence[LoraFile] = (),
        *,
        lora: str | os.PathLike[str] | None = None,
        strength: float = 1.0,
        text_encoder: str | os.PathLike[str] | None = None,
        device: torch.device | str | None = None,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.device = device_of(device)
        # The small files first: what is wrong with them is found before a base is fetched or loaded.
        read = _read_loras(chosen_loras(lora, strength, loras))
        on_bytes = None if on_progress is None else fetch_news(on_progress)
        with about("base"):
            self.base = open_base(base, Path(text_encoder) if text_encoder else None, on_bytes)
        self._check_loras(read, force)
        with about("base"):
            self.model = self.base.transformer(self.device)
        self._attach(read)
        with about("base"):
            self._codec = self.base.codec(self.device, decoder=True)
        self._contexts: dict[str, Tensor] = {}
        self._store = Cache(default_root())

    @shortage_told("Fewer LoRAs, or smaller ones, take less.")
    def exchange(self, loras: Sequence[LoraFile], *, force: bool = False) -> None:
        """Take these LoRAs in the place of those that it has; the base stays loaded.

        Raises InputError as the constructor does, and then keeps those that it has.
        """
        read = _read_loras(chosen_loras(None, 1.0, loras))
        self._check_loras(read, force)
        for adapter in reversed(self._adapters):
            adapter.adapter.detach()
        self._attach(read)

    def _check_loras(self, read: Sequence[tuple[Lora, LoraUse]], force: bool) -> None:
        for number, (lora, _) in enumerate(read):
            with about(f"loras.{number}.path"):
                if not force:
                    check_generation(self.base.checkpoint, lora, "force")
                check_fits(self.base.checkpoint, lora)

    def _attach(self, read: Sequence[tuple[Lora, LoraUse]]) -> None:
        self.warnings: list[str] = []
        self.trigger_phrases: list[str] = []
        self._adapters: list[AttachedLora] = []
        for lora, use in read:
            adapter = Adapter.attach(self.model, lora.updates)
            self._adapters.append(AttachedLora(adapter, use))
            adapter.set_strength(1.0 if use.strength is None else use.strength, use.shares)
            self.warnings += lora.doubts(self.base.hash) + adapter.doubts()
            if lora.metadata.get("trigger_phrase"):
                self.trigger_phrases.append(lora.metadata["trigger_phrase"])

    @checked_arguments
    def __call__(
        self,
        prompt: str,
        *,
        duration: float | None = None,
        seed: int = 42,
        steps: int | None = None,
        cfg: float | None = None,
        stg: float | None = None,
        negative_prompt: str | None = None,
        source: Source | None = None,
        on_progress: OnProgress | None = None,
    ) -> Generation:
        """Generate `duration` seconds. The sound is 30 ms shorter, as the first latent stands for one mel frame.

        duration: None takes what the base's duration head predicts, or 5 s where it has none.
        steps, cfg, stg, negative_prompt: None takes the base's own.
        source: a sound that is gone on from, led into, mended or made into another; see `given_sound`. The duration is
            then that of a window, and the result has the file's rate and channels.
        Raises InputError for values out of range, and for a source that can't be used.
        """
        (sound,) = self.takes(
            prompt,
            (seed,),
            duration=duration,
            steps=steps,
            cfg=cfg,
            stg=stg,
            negative_prompt=negative_prompt,
            source=source,
            on_progress=on_progress,
        )
        return sound

    @checked_arguments
    def takes(
        self,
        prompt: str,
        seeds: Sequence[int],
        *,
        duration: float | None = None,
        steps: int | None = None,
        cfg: float | None = None,
        stg: float | None = None,
        negative_prompt: str | None = None,
        source: Source | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Generation]:
        """Return an iterator over the takes of a prompt, one a seed. Arguments and errors are those of a call.

        On a GPU as many go through the model together as memory allows, up to eight. Such a take differs from the same
        one made alone by rounding. With a `source`, and on a CPU, they are made one by one.
        """
        if isinstance(seeds, str) or not all(isinstance(seed, int) for seed in seeds):
            raise InputError(f"{setting('seeds')} is {seeds!r}, but it must be a list of whole numbers.", field="seeds")
        for seed in seeds:
            check_sampling(duration=duration, steps=steps, cfg=cfg, stg=stg, seed=seed)
        if source is not None:
            check_source(source, duration)
        settings = SamplingSettings(steps, cfg, stg)
        tell = on_progress or (lambda progress: None)
        return self._takes(prompt, seeds, duration, settings, negative_prompt, source, tell)

    def _takes(
        self,
        prompt: str,
        seeds: Sequence[int],
        duration: float | None,
        settings: SamplingSettings,
        negative_prompt: str | None,
        source: Source | None,
        tell: OnProgress,
    ) -> Iterator[Generation]:
        with shortage_told("A shorter sound takes less."):
            sample = self._sampler(prompt, negative_prompt, settings, tell)
            predicted = None if duration is not None or source is not None else self.predicted_seconds(prompt)
        seconds = duration or predicted or USUAL_SECONDS
        together = 1 if source is not None else self._takes_at_once(seconds)
        for first in range(0, len(seeds), together):
            some = seeds[first : first + together]
            with shortage_told("A shorter sound takes less."):
                if source is not None:
                    sounds = [self._from_source(source, duration, some[0], prompt, sample)]
                else:
                    latents = sample(seconds, some, None)  # (B, T, C)
                    sounds = [
                        Generation(
                            self._codec.decode(each), self._codec.sample_rate, prompt, seed, seconds, bool(predicted)
                        )
                        for each, seed in zip(latents, some, strict=True)
                    ]
            yield from sounds

    def _sampler(
        self, prompt: str, negative_prompt: str | None, settings: SamplingSettings, tell: OnProgress
    ) -> Callable[[float, Sequence[int], Given | None], Tensor]:
        """Return what makes latents (B, T, C) of so many seconds, of seeds, and of what is given."""
        defaults = self.base.config.sampling
        if negative_prompt is None:
            negative_prompt = DEFAULT_NEGATIVE_PROMPT if defaults.negative_prompt is None else defaults.negative_prompt
        count, guidance = settings.resolve(defaults)
        tell(Progress("contexts", message="encoding the prompt"))
        self._learn_contexts(prompt, negative_prompt)
        context, negative_context = self._contexts[prompt], self._contexts[negative_prompt]
        ranged = any(each.use.steps != ALL_STEPS for each in self._adapters)
        before_step: Callable[[int], bool] = lambda step: any([each.at(step, count) for each in self._adapters])  # noqa: E731

        def sample(seconds: float, seeds: Sequence[int], given: Given | None) -> Tensor:
            return sample_takes(
                self.model,
                self.base.config.audio,
                context,
                negative_context,
                seconds=seconds,
                seeds=seeds,
                steps=count,
                guidance=guidance,
                on_step=lambda step: tell(Progress("sampling", step + 1, count)),
                given=given,
                before_step=before_step if ranged else None,
            )

        return sample

    def _from_source(
        self,
        source: Source,
        duration: float | None,
        seed: int,
        prompt: str,
        sample: Callable[[float, Sequence[int], Given | None], Tensor],
    ) -> Generation:
        with about("base"):
            codec = self._codec = self._codec.with_encoder(self.base)
        # Each window of a long sound begins with noise of its own.
        waveform, rate = generated(
            source, codec, duration, lambda given, n: codec.decode(sample(0, ((seed + n) % 2**63,), given)[0])
        )
        return Generation(waveform, rate, prompt, seed, waveform.shape[1] / rate)

    def _takes_at_once(self, seconds: float) -> int:
        """Return how many takes go through the model together: as many as a GPU has the memory for."""
        if not is_measured(self.device):
            return 1  # A CPU gains little by more, and a seed alone gives the same there to the bit.
        room, cuda = SHARE * available(self.device)[0], self.device.type == "cuda"
        config, encoder = self.base.config, self.base.encoder_config
        counts = (
            count for count in (8, 4, 2) if of_generation(config, seconds, encoder, cuda=cuda, takes=count) <= room
        )
        return next(counts, 1)

    def predicted_seconds(self, prompt: str) -> float | None:
        """Return the seconds that the base's duration head predicts, from 0.1 to 60; None where it has no such head.

        Raises InputError when the head can't be read.
        """
        self._learn_contexts(prompt)
        with about("base"):
            seconds = self.base.predicted_seconds(self._contexts[prompt], self.device)
        return None if seconds is None else round(min(max(seconds, _LEAST_SECONDS), MAX_SECONDS), 2)

    def _learn_contexts(self, *texts: str) -> None:
        if len(self._contexts) >= _MOST_CONTEXTS:
            self._contexts = {}
        missing = [text for text in texts if text not in self._contexts]
        with about("text_encoder"):
            self._contexts |= cached_contexts(self.base, self._store, missing, self.device)

    def advice(self, prompt: str, duration: float | None, steps: int | None = None) -> list[str]:
        """Return sentences for a user whose prompt, duration or sampling steps will disappoint."""
        notes = [
            f"The LoRA's trigger phrase {phrase!r} is not in the prompt."
            for phrase in self.trigger_phrases
            if phrase.lower() not in prompt.lower()
        ]
        if duration is not None and duration > _TRAINED_SECONDS:
            notes.append(f"{duration:g} s is longer than the {_TRAINED_SECONDS:g} s the base was trained on.")
        count = self.base.config.sampling.steps if steps is None else steps
        for each in self._adapters:
            if not any(each.use.works_in(step, count) for step in range(count)):
                first, last = each.use.steps
                notes.append(
                    f"{Path(each.use.path).name} works in none of the {count} steps, since none begins between "
                    f"{first:g} and {last:g} of them."
                )
        return notes


@checked_arguments
def generate(
    prompt: str,
    *,
    lora: str | os.PathLike[str] | None = None,
    strength: float = 1.0,
    loras: Sequence[LoraFile] = (),
    base: str = "nano",
    text_encoder: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    duration: float | None = None,
    seed: int = 42,
    steps: int | None = None,
    cfg: float | None = None,
    stg: float | None = None,
    negative_prompt: str | None = None,
    source: Source | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Generation:
    """Generate one sound from a prompt. For several, keep a `Generator`, which loads the base once.

    Raises as `Generator` and its call do.
    """
    check_sampling(duration=duration, steps=steps, cfg=cfg, stg=stg, seed=seed)
    if source is not None:
        check_source(source, duration)
    chosen = chosen_loras(lora, strength, loras)
    generator = Generator(base, chosen, text_encoder=text_encoder, force=force, device=device, on_progress=on_progress)
    return generator(
        prompt,
        duration=duration,
        seed=seed,
        steps=steps,
        cfg=cfg,
        stg=stg,
        negative_prompt=negative_prompt,
        source=source,
        on_progress=on_progress,
    )


def check_room(base: str, text_encoder: str | None, device: str | None, seconds: float) -> bool:
    """Say whether the device has the memory for a sound, beside what other programs hold of it.

    The memory of a CPU is not asked about. Raises as `open_base` does.
    """
    used = device_of(device)
    if not is_measured(used):
        return True
    opened = open_base(base, Path(text_encoder) if text_encoder else None)
    needed = of_generation(opened.config, seconds, opened.encoder_config, cuda=used.type == "cuda")
    return needed <= SHARE * available(used)[0]


def _read_loras(loras: Sequence[LoraUse]) -> list[tuple[Lora, LoraUse]]:
    read = []
    for number, use in enumerate(loras):
        with about(f"loras.{number}.path"):
            read.append((read_lora(expanded(use.path), as_they_are=FILE_FORMS), use))
    return read


def check_sampling(
    *, duration: float | None, steps: int | None, cfg: float | None, stg: float | None, seed: int = 0
) -> None:
    """Raises InputError for values out of range; nothing has to be loaded for that."""
    _check_range("duration", duration, _LEAST_SECONDS, MAX_SECONDS)
    _check_range("steps", steps, 1, 1000)
    _check_range("cfg", cfg, 0, 100)
    _check_range("stg", stg, 0, 100)
    _check_range("seed", seed, 0, 2**63 - 1)


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"{setting(name)} is {value}, but it must be from {low} to {high}.", field=name)
