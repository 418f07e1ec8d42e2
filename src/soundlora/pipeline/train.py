"""One training run, from a zip of clips to a LoRA, its config and previews.

`train` has four stages, which stand here in their order: prepare → build → loop → finish.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from soundlora.contract.training import TrainingRequest, preview_seconds
from soundlora.errors import DivergedError, Interrupted, MachineError, about
from soundlora.lora.adapter import Adapter
from soundlora.lora.forms import TITLES
from soundlora.lora.merge import check_generation
from soundlora.lora.rank import load_into_adapter
from soundlora.net.addresses import public_name
from soundlora.pipeline.cache import Cache, cached_contexts, lasting_contexts
from soundlora.pipeline.conditions import previews_given
from soundlora.pipeline.ending import diverged, keep_quietly, stopped
from soundlora.pipeline.examples import clips_of, examples_of
from soundlora.pipeline.first_look import look_at_request, look_at_room, look_at_settings
from soundlora.pipeline.first_use import check_first_use
from soundlora.pipeline.fitting import Fitting
from soundlora.pipeline.judging import judged
from soundlora.pipeline.lora_config import identity, lora_metadata, run_config
from soundlora.pipeline.model_card import model_card
from soundlora.pipeline.naming import lora_title
from soundlora.pipeline.noise_levels import band_of
from soundlora.pipeline.notebook import notebook_progress
from soundlora.pipeline.options import SETTINGS, TrainingOptions
from soundlora.pipeline.placement import placed, planned
from soundlora.pipeline.preserving import preserved_prompts
from soundlora.pipeline.result import TrainingResult as TrainingResult
from soundlora.pipeline.result import kept_result, result_of
from soundlora.pipeline.resuming import check_same, other_rates
from soundlora.pipeline.run import Run, Training
from soundlora.pipeline.settings import check_names
from soundlora.pipeline.slider import FROM, TO, ends_of, slides
from soundlora.pipeline.steps import all_steps, preview, shortened
from soundlora.pipeline.sync import Synced
from soundlora.pipeline.taking import takes_options
from soundlora.progress import Progress, fetch_news
from soundlora.sampling.generate import SamplingSettings
from soundlora.system.cache_root import default_root
from soundlora.system.devices import described, device_of
from soundlora.system.gpu_memory import one_shortage, shortage_told
from soundlora.system.interrupts import termination_interrupts
from soundlora.system.meeting import MEETING_VARIABLE
from soundlora.system.whole_files import write_whole
from soundlora.training.evaluation import HeldOut, default_hold_out
from soundlora.training.memory_choice import out_of_memory
from soundlora.training.preview import PreviewSettings, combine
from soundlora.training.recorder import RunRecorder
from soundlora.training.run_folder import RunFolder, write_json
from soundlora.training.trainer import Trainer
from soundlora.training.workers import Workers, part
from soundlora.weights.base import open_base

if TYPE_CHECKING:
    from soundlora.pipeline.run_mirror import RunMirror

_STATE_EVERY = timedelta(minutes=5)
"""A run that goes on elsewhere has lost no more than this, unless `checkpoint_every` says otherwise."""


@takes_options(TrainingOptions)
def train(options: TrainingOptions) -> TrainingResult:
    """Train a LoRA on the clips in `data`, a zip, a folder or the URL of a zip, and write the run to `out`.

    Raises InputError for anything the caller can mend, MachineError where the machine falls short, DivergedError when
    the loss is no number any more, Interrupted after Ctrl-C or SIGTERM. Whatever ends a run, its state is kept.
    Without `on_progress`, a notebook shows how far it is.
    """
    if options.on_progress is None:
        options = replace(options, on_progress=notebook_progress())
    return run_training(options)


@termination_interrupts()
@shortage_told("A run that had a checkpoint can be resumed.")
def run_training(
    options: TrainingOptions, mirror: RunMirror | None = None, store: Cache | None = None
) -> TrainingResult:
    """Do what `train` does, for options that are made already.

    mirror: it keeps the states, and has begun. store: latents and contexts; None takes the folder that is theirs.
    """
    try:
        if options.sync is None:
            return _all_stages(options, mirror, store)
        synced = Synced.shared(options)
        if synced.finished:
            return kept_result(RunFolder(Path(options.out)))
        with synced:
            return _all_stages(replace(options, resume=options.resume or synced.goes_on), synced.mirror)
    finally:
        if MEETING_VARIABLE in os.environ:  # a server's worker may do another run, by itself
            part()


def _all_stages(options: TrainingOptions, mirror: RunMirror | None, store: Cache | None = None) -> TrainingResult:
    if mirror is not None and options.checkpoint_every is None:
        options = replace(options, checkpoint_every=_STATE_EVERY)
    run = prepare(options, mirror, store)
    try:
        training = build(run)
        run, training = shortened(run, training, loop(run, training))
        try:
            result = finish(run, training)
        except (KeyboardInterrupt, MachineError, OSError) as error:
            raise _stopped(error, run, training) from None
    finally:
        run.folder.release()
    if mirror is not None:
        mirror.offer(run.options.steps, finished=True)
    return result


def train_request(
    request: TrainingRequest,
    out: str | os.PathLike[str],
    mirror: RunMirror | None = None,
    store: Cache | None = None,
    **options: Any,
) -> TrainingResult:
    """Train by an endpoint's request whose training data lies on this machine. Raises as `train` does.

    Fields that the request does not name take the base's own values. mirror, store: as for `run_training`. options:
    those the endpoint has no field for.
    """
    check_names("train_request", options, SETTINGS)
    return run_training(TrainingOptions.from_endpoint(request, out, **options), mirror, store)


# ----------------------------------------------------------------------------------------------------------------------
# 1. Prepare: the base, the clips and the contexts of the run


def prepare(options: TrainingOptions, mirror: RunMirror | None = None, store: Cache | None = None) -> Run:
    """Open the base, encode the clips and every text. A wrong setting is found before anything costs time."""
    workers = Workers.from_environment(options.device)
    device = device_of(workers.device() or options.device)
    look_at_settings(options, workers.count, device)
    recorder = RunRecorder(RunFolder(Path(options.out)), options.on_progress, mirror, awake=workers.first)
    if not workers.first:
        workers.wait()  # the first process fills the cache and makes the run folder
    recorder.check(options.resume)
    first_lora = look_at_request(options)
    tell = recorder.tell
    if device.type != "cpu":
        recorder.note(f"device: {described(device)}")

    tell(Progress("base", message=f"opening {public_name(options.base)}"))
    with about("base"):
        encoder = Path(options.text_encoder) if options.text_encoder else None
        base = open_base(options.base, encoder, fetch_news(tell))
    if first_lora is not None:
        with about("init_lora"):
            check_generation(base.checkpoint, first_lora)

    store = store or Cache(Path(options.cache) if options.cache else default_root())
    fitting = Fitting.of(options)
    clips, report = clips_of(options, base, store, fitting, device, recorder, workers.count)
    captions = [clip.caption for clip in clips]
    options = options.filled(
        captions=captions,
        negative_prompt=base.config.sampling.negative_prompt,
        stg_scale=base.config.sampling.stg,
        hold_out=default_hold_out(len(clips)),
    )
    stored = recorder.folder.read_request() if options.resume else {}
    # A run goes on under its name, wherever its data lies now.
    name = options.name or stored.get("name") or ""
    lengthened = {"lengthened": stored["lengthened"]} if "lengthened" in stored else {}
    request = options.to_request(
        name=lora_title(name, options.trigger_phrase, options.data or " to ".join(ends_of(options))),
        base=base.name,
        base_hash=base.hash,
        init_lora=None if first_lora is None else identity(first_lora),
        clips={clip.name: clip.sha256 for clip in clips} | dict(clip.partner for clip in clips if clip.partner),
        **lengthened,
    )
    if options.resume:
        check_same(options.sync or recorder.folder.path, {"name": request["name"]} | stored, request)

    # The text encoder is read once, for every text of the run, and its memory is then free.
    preserved = preserved_prompts(options, captions)
    texts = [*captions, *(options.validation_prompts or ()), options.negative_prompt or "", *chain(*preserved.values())]
    texts += ends_of(options)
    if options.caption_dropout:
        texts.append("")
    with about("text_encoder"):
        contexts = cached_contexts(
            base,
            store,
            texts,
            device,
            lambda done, count: tell(Progress("contexts", done, count, message="encoding captions")),
        )
    if options.check:
        check_first_use(base, store.root, device, options.quantize, recorder)
    seconds = preview_seconds(options.duration, options.frame_rate)
    given = previews_given(options, base, clips, device, seconds)
    found = clips, report, request, contexts, preserved, given
    return Run(options, workers, device, recorder, base, first_lora, fitting, *found)


# ----------------------------------------------------------------------------------------------------------------------
# 2. Build: the transformer with its adapter, the trainer, and the state of an interrupted run


def build(run: Run) -> Training:
    """Load the transformer, make the adapter and the run folder, and take up the last checkpoint of a resumed run."""
    options, recorder, workers = run.options, run.recorder, run.workers
    texts = [clip.caption for clip in run.clips] + ([""] if options.caption_dropout else [])
    lasting = lasting_contexts(run.base, [*texts, *chain(*run.preserved.values())])
    plan, why = planned(options, run.base, run.device, workers.count, lasting)
    recorder.note(f"memory: {why}")
    look_at_room(run.folder.path, plan)
    model = placed(run.base, plan, run.device)
    adapter = Adapter.create(
        model,
        options.rank,
        targets=options.targets,
        alpha=options.alpha,
        rslora=options.rslora,
        seed=options.seed,
        form=options.adapter,
    )
    warnings: list[str] = []
    if run.first_lora is not None:
        with about("init_lora"):
            warnings = run.first_lora.doubts(run.base.hash) + load_into_adapter(adapter, run.first_lora)
            warnings += adapter.doubts()
    for warning in warnings:
        recorder.note(warning)

    # A wrong setting or LoRA has been found by now, so the run folder may be written.
    if workers.first:
        _make_folder(run)
        workers.wait()
    audio = run.base.config.audio
    trained_on, kept_out = examples_of(run)
    trainer = Trainer(
        adapter,
        trained_on,
        audio,
        steps=options.steps,
        learning_rate=options.learning_rate,
        seed=options.seed,
        batch_size=options.batch_size,
        at_once=plan.settings.clips,
        optimizer=options.optimizer,
        gathers=plan.settings.gathers,
        average=options.average,
        schedule=options.schedule,
        b_rate=options.b_rate,
        caption_dropout=options.caption_dropout,
        empty_context=run.contexts.get("") if options.caption_dropout else None,
        condition_probability=options.condition_probability,
        preserve=options.preserve,
        noise_levels=band_of(options.noise_levels),
        project_text=plan.settings.captions > 0,
        workers=workers,
    )
    latest = run.folder.latest_checkpoint() if options.resume else None
    done = 0 if latest is None else run.folder.load_checkpoint(latest, adapter, trainer.optimizer)
    if options.resume:
        recorder.note(f"going on from step {done} of {options.steps}")
        if rates := other_rates(run.request):
            recorder.note(rates)
    config = run_config(run.request, run.base, run.report)
    recorder.begin(run.request, lora_metadata(config), options.log, done, options.resume)
    held_out = HeldOut(adapter, kept_out, audio)
    return Training(plan, adapter, trainer, held_out, _previews(run), trained_on, config, tuple(warnings), done)


def _make_folder(run: Run) -> None:
    run.folder.create(run.request, run.report.to_json(), fresh=not run.options.resume)
    if run.options.debug_dataset and not run.folder.debug_dataset.exists():
        from soundlora.pipeline.debug_dataset import write_debug_dataset

        # It is written before the training, so that a user can listen and stop the run.
        write_debug_dataset(
            run.folder.debug_dataset,
            run.base.codec(run.device, decoder=True),
            run.report,
            {clip.name: clip.latents for clip in run.clips},
            run.fitting.prepare,
        )


def _previews(run: Run) -> PreviewSettings:
    options = run.options
    prompts = tuple(options.validation_prompts or ())
    return PreviewSettings(
        prompts=prompts,
        contexts=tuple(run.contexts[prompt] for prompt in prompts),
        negative_context=run.contexts[options.negative_prompt or ""],
        seconds=preview_seconds(options.duration, options.frame_rate),
        seed=options.seed,
        sampling=SamplingSettings(stg=options.stg_scale),
        given=run.given,
        strengths=(FROM, TO) if slides(options) else (1.0,),
    )


# ----------------------------------------------------------------------------------------------------------------------
# 3. Loop: step after step, with previews, checkpoints and evaluations in between


def loop(run: Run, training: Training) -> int:
    """Train, and return the number of steps that are done.

    Whatever else ends the loop early, the state is kept, and the error says how to go on.
    """
    try:
        with one_shortage():
            return all_steps(run, training)
    except DivergedError as error:
        raise diverged(error, run.folder) from None
    except (KeyboardInterrupt, MachineError, OSError, torch.OutOfMemoryError) as error:
        raise _stopped(error, run, training) from None
    except Exception:
        keep_quietly(run.recorder, training.adapter, training.trainer.optimizer)
        raise
    finally:
        with contextlib.suppress(OSError):  # other programs' logs on a full disk
            run.recorder.close()


def _stopped(error: BaseException, run: Run, training: Training) -> Interrupted | MachineError:
    config, encoder = run.base.config, run.base.encoder_config
    return stopped(
        error,
        run.recorder,
        training.adapter,
        training.trainer.optimizer,
        run.device,
        lambda: out_of_memory(config, training.plan, encoder, run.device, run.workers.count),
    )


# ----------------------------------------------------------------------------------------------------------------------
# 4. Finish: the verdict and the results


def finish(run: Run, training: Training) -> TrainingResult:
    """Write LoRA, config, previews and report, and return them. The first process does it; the others wait."""
    options, folder, tell = run.options, run.folder, run.recorder.tell
    if not run.workers.first:
        return run.workers.share(None)
    final_previews = preview(run, training, options.steps)
    tell(Progress("saving", options.steps, options.steps, message="comparing with the clips"))
    with training.trainer.optimizer.averaged():
        fit = judged(run, training, final_previews)
        tell(Progress("saving", options.steps, options.steps, message="writing the LoRA"))
        config = training.config
        lora, plain = run.recorder.lora(training.adapter, config["lora_file"], config.get("own_file", ""))
    rates = other_rates(run.request)
    said = [rates] if rates else []
    if plain is not None:
        words = plain.words(TITLES[options.adapter])
        said.append(words)
        run.recorder.note(words)
        config = {**config, "plain": plain.to_json() | {"words": words}}
    notes = {"notes": said} if said else {}
    write_json(folder.report, run.report.to_json() | {"fit": fit.to_json()} | notes)
    if final_previews:
        combine(final_previews, folder.preview)
    folder.drop_states(keep=0)
    if options.keep_checkpoints is not None:
        folder.keep_checkpoints(options.keep_checkpoints)
    card = lora.with_suffix(".md")
    write_whole(card, model_card(config, run.report, fit, run.options).encode())
    write_json(folder.config, config)
    folder.stop_file.unlink(missing_ok=True)
    tell(Progress("done", options.steps, options.steps, message=f"the LoRA is {lora}"))
    return run.workers.share(result_of(folder, run.report, fit, training.warnings))
