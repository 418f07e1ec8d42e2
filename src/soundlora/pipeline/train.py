"""One training run, from a zip of clips to a LoRA, its config and previews. Read it from top to bottom."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames
from typing import Any

import torch

from soundlora.contract.training import DEFAULT_NEGATIVE_PROMPT, TrainingRequest, preview_seconds
from soundlora.dataset import DatasetReport
from soundlora.dataset.source import shown
from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import Lora, read_lora
from soundlora.lora.rank import load_into_adapter
from soundlora.lora.targets import PRESETS
from soundlora.model.quantize import check_quantization
from soundlora.net.addresses import public_name
from soundlora.pipeline.cache import Cache, cached_contexts
from soundlora.pipeline.encode import Fitting, encode_clips
from soundlora.pipeline.lora_config import lora_metadata, run_config
from soundlora.progress import OnProgress, Pace, Progress, StoppedError, fetch_news
from soundlora.sampling.generate import SamplingSettings
from soundlora.system.cache_root import default_root
from soundlora.system.gpu_memory import shortage_told
from soundlora.system.interrupts import termination_interrupts, unbroken
from soundlora.training.evaluation import Fit, HeldOut, default_hold_out, fit_report, split
from soundlora.training.logs import check_logs, open_logs
from soundlora.training.memory_choice import choose, out_of_memory
from soundlora.training.memory_plan import Settings
from soundlora.training.optimizer import check_optimizer
from soundlora.training.preview import PreviewSettings, combine, write_previews
from soundlora.training.run_folder import RunFolder, write_json
from soundlora.training.trainer import DivergedError, Example, Trainer
from soundlora.training.workers import LostError, Workers
from soundlora.weights.base import compute_dtype, open_base, pick_device

_EVALUATIONS = 20  # of the held-out loss, a run


@dataclass(frozen=True)
class TrainingResult:
    """Files of a finished run; None where there is none."""

    folder: Path
    lora: Path
    config: Path
    preview: Path | None
    debug_dataset: Path | None
    report: DatasetReport
    final_loss: float  # mean over the last tenth of the steps
    fit: Fit
    warnings: tuple[str, ...] = ()  # about the LoRA that the run began with


@termination_interrupts()
@shortage_told("A run that had a checkpoint goes on with --resume.")
def train(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    base: str = "nano",
    text_encoder: str | os.PathLike[str] | None = None,
    rank: int = 32,
    targets: str = "all",
    init_lora: str | os.PathLike[str] | None = None,
    steps: int = 2000,
    learning_rate: float = 2e-4,
    batch_size: int = 1,
    duration: float = 5.0,
    trigger_phrase: str = "",
    normalize: bool = True,
    preserve_pitch: bool = True,
    validation_prompts: Sequence[str] | None = None,
    negative_prompt: str | None = None,
    frame_rate: int = 24,
    stg_scale: float | None = None,
    seed: int = 42,
    debug_dataset: bool = False,
    preview_every: int | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int | None = None,
    hold_out: int | None = None,
    resume: bool = False,
    quantize: str | None = None,
    optimizer: str = "adamw",
    average: bool = True,
    checkpoint_activations: bool | None = None,
    device: torch.device | str | None = None,
    cache: str | os.PathLike[str] | None = None,
    log: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> TrainingResult:
    """Train a LoRA on the clips in `data`, a zip, a folder or the URL of a zip, and write the run to `out`.

    targets: which layers are trained: all, attention or self-ff.
    init_lora: a LoRA file of any program to begin with, instead of one that changes nothing.
    batch_size: clips a step. Under torchrun they are shared out to the processes, of whose number it is a multiple.
    duration: seconds of every clip; shorter clips are skipped, longer ones trimmed.
    validation_prompts: texts for previews; None takes the first clip's caption, an empty list makes none.
    negative_prompt, stg_scale: None takes the base's own.
    preview_every, checkpoint_every: in steps; None means four times a run.
    keep_checkpoints: how many of the best stay when the run has ended; None is all.
    hold_out: clips that are not trained on, but tell what was learnt; None is one in ten, of ten and more.
    resume: go on from the last checkpoint in `out`; the result is that of an uninterrupted run, to the bit.
    quantize: int8 or fp8, for a base of a byte a weight; bf16, for one of two on a CPU; None keeps it as it is.
    optimizer: adamw, or adamw8bit, whose moments take a quarter of the memory.
    average: the LoRA is the mean of its weights over about the last tenth of the steps, and not that of the last step.
    checkpoint_activations: compute them again instead of keeping them; None does so where memory asks for it.
    cache: folder for latents and contexts; None is the user's cache folder.
    log: where figures also go, any of csv, tensorboard and wandb.
    on_progress: called with news of the run, many times a second; under torchrun in the first process alone.

    Raises InputError for anything the caller can mend, StoppedError when interrupted or diverged.
    """
    positive = {"rank": rank, "steps": steps, "learning_rate": learning_rate, "duration": duration}
    keep = 1 if keep_checkpoints is None else keep_checkpoints
    for name, value in (positive | {"batch_size": batch_size, "keep_checkpoints": keep}).items():
        if not value > 0:
            raise InputError(f"{name} is {value}, but it must be positive.")
    if targets not in PRESETS:
        raise InputError(f"targets is {targets!r}, but it must be one of {', '.join(PRESETS)}.")
    check_optimizer(optimizer)
    check_logs(log)
    workers = Workers.from_environment()
    if batch_size % workers.count:
        raise InputError(f"batch_size is {batch_size}, but {workers.count} processes need a multiple of their number.")
    if quantize is not None:
        check_quantization(quantize)
    tell = on_progress if on_progress and workers.first else lambda progress: None
    folder = RunFolder(Path(out))
    if not workers.first:
        workers.wait()  # for the first one to fill the cache and to make the run folder
    elif not resume:
        folder.check_free()
    elif folder.lora.exists() and folder.config.exists():
        raise InputError(f"The run in {folder.path} is finished; its LoRA is {folder.lora}.")
    target = torch.device(device) if device is not None else workers.device() or pick_device()

    # 1. The base, opened and checked; nothing of it is loaded yet. And the LoRA to begin with.
    tell(Progress("base", message=f"opening {public_name(base)}"))
    model_base = open_base(base, Path(text_encoder) if text_encoder else None, fetch_news(tell))
    first_lora = None if init_lora is None else read_lora(Path(init_lora).expanduser())

    # 2. Clips, as latents.
    store = Cache(Path(cache) if cache else default_root())
    fitting = Fitting(data, duration, trigger_phrase, normalize, preserve_pitch, tuple(validation_prompts or ()))
    clips, report = encode_clips(model_base, store, fitting, target, tell)

    # 3. The request as it is kept, with every default filled in.
    if validation_prompts is None:
        validation_prompts = [clips[0].caption]
    if negative_prompt is None:
        from_base = model_base.config.sampling.negative_prompt
        negative_prompt = DEFAULT_NEGATIVE_PROMPT if from_base is None else from_base
    if stg_scale is None:
        stg_scale = model_base.config.sampling.stg
    if hold_out is None:
        hold_out = default_hold_out(len(clips))
    if not 0 <= hold_out < len(clips):
        raise InputError(f"hold_out is {hold_out}, but of {len(clips)} clips at least one has to be trained on.")
    quarter = max(1, steps // 4)
    preview_every, checkpoint_every = preview_every or quarter, checkpoint_every or quarter
    request: dict[str, Any] = {
        "training_data_url": shown(os.fspath(data)),
        "rank": rank,
        "number_of_steps": steps,
        "learning_rate": learning_rate,
        "trigger_phrase": trigger_phrase,
        "audio_duration_seconds": duration,
        "audio_normalize": normalize,
        "audio_preserve_pitch": preserve_pitch,
        "validation": [{"prompt": prompt} for prompt in validation_prompts],
        "validation_negative_prompt": negative_prompt,
        "validation_frame_rate": frame_rate,
        "stg_scale": stg_scale,
        "debug_dataset": debug_dataset,
        # What the endpoint has no field for.
        "seed": seed,
        "base": model_base.name,
        "base_hash": model_base.hash,
        "targets": targets,
        "init_lora": None if first_lora is None else _identity(first_lora),
        "preview_every": preview_every,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
        "batch_size": batch_size,
        "hold_out": hold_out,
        "quantize": quantize,
        # Runs from before there was a choice go on.
        "optimizer": None if optimizer == "adamw" else optimizer,
        "average": None if average else False,
        "clips": {clip.name: clip.sha256 for clip in clips},
    }
    if resume:
        folder.check_resumable(request)

    # 4. Contexts of captions and prompts, computed once; then the text encoder is gone.
    captions = [clip.caption for clip in clips]
    texts = [*captions, *validation_prompts, negative_prompt]
    contexts = cached_contexts(
        model_base,
        store,
        texts,
        target,
        lambda done, count: tell(Progress("contexts", done, count, message="encoding captions")),
    )
    examples = [Example(clip.name, clip.latents, contexts[clip.caption]) for clip in clips]
    preview_settings = PreviewSettings(
        prompts=tuple(validation_prompts),
        contexts=tuple(contexts[prompt] for prompt in validation_prompts),
        negative_context=contexts[negative_prompt],
        seconds=preview_seconds(duration, frame_rate),
        seed=seed,
        sampling=SamplingSettings(stg=stg_scale),
    )

    # 5. Transformer and adapter.
    share = batch_size // workers.count
    settings = Settings(rank, targets, duration, share, compute_dtype(target), quantize, optimizer, average)
    encoder = model_base.encoder_config
    memory, why = choose(model_base.config, settings, target, checkpoint_activations, encoder, workers.count)
    tell(Progress("base", message=f"memory: {why}", note=True))
    model = model_base.transformer(target, quantize)
    model.checkpointing = memory.settings.checkpointing
    adapter = Adapter.create(model, rank, targets=targets, seed=seed)
    warnings: list[str] = []
    if first_lora is not None:
        warnings = first_lora.doubts(model_base.hash) + load_into_adapter(adapter, first_lora)
    for warning in warnings:
        tell(Progress("base", message=warning, note=True))

    # 6. The run folder. Until here nothing was written to it.
    if workers.first:
        folder.create(request, report.to_json())
    if workers.first and debug_dataset and not folder.debug_dataset.exists():
        from soundlora.pipeline.debug_dataset import write_debug_dataset

        # Before the training, so that one can listen and stop it.
        write_debug_dataset(
            folder.debug_dataset,
            model_base.codec(target, decoder=True),
            report,
            {clip.name: clip.latents for clip in clips},
            fitting.prepare,
        )

    if workers.first:
        workers.wait()

    # 7. The trainer, and the state of an interrupted run.
    training, kept_out = split(examples, hold_out, seed)
    trainer = Trainer(
        adapter,
        training,
        model_base.config.audio,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        batch_size=batch_size,
        at_once=memory.settings.clips,
        optimizer=optimizer,
        average=average,
        workers=workers,
    )
    held_out = HeldOut(adapter, kept_out, model_base.config.audio)
    done = 0
    latest = folder.latest_checkpoint() if resume else None
    if latest is not None:
        done = folder.load_checkpoint(latest, adapter, trainer.optimizer)
    if resume and workers.first:
        folder.truncate_metrics(done)
    config = run_config(request, model_base, report)
    metadata = lora_metadata(config)
    logs = open_logs(log, folder, request, done) if workers.first else []

    def evaluate(step: int) -> None:
        losses = [held_out.base_loss()] if kept_out and step == 0 else []
        if kept_out and (step > 0 or first_lora is not None):
            with trainer.optimizer.averaged():
                losses.append(held_out.loss())
        for loss in losses:
            folder.log_held_out(step, loss)
            for one in logs:
                one.held_out(step, loss)

    def preview(step: int) -> list[Path]:
        paths = [folder.preview_path(step, number) for number in range(len(preview_settings.prompts))]
        if paths and not all(path.exists() for path in paths):
            tell(Progress("previews", step, steps, message=f"previews at step {step}"))
            trainer.make_room()
            with trainer.optimizer.averaged():
                write_previews(folder, step, model_base, model, preview_settings)
        return paths

    # 8. Train.
    pace = Pace(steps, done)
    evaluate_every = max(1, steps // _EVALUATIONS)
    try:
        for step in range(done, steps):
            if workers.first and (step % evaluate_every == 0 or step % checkpoint_every == 0):
                evaluate(step)
            if workers.first and step % preview_every == 0:
                preview(step)
                pace.resume()
            with unbroken():
                figures = trainer.step(step)
                if workers.first:
                    folder.log(vars(figures))
                for one in logs:
                    one.step(figures)
            tell(pace.tick(figures.loss))
            if workers.first and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
                folder.save_checkpoint(step + 1, adapter, trainer.optimizer, metadata)
        if workers.first:
            evaluate(steps)
    except DivergedError as error:
        raise StoppedError(_diverged(error, folder)) from None
    except (KeyboardInterrupt, LostError, torch.OutOfMemoryError) as error:
        said = f"{error} " if isinstance(error, LostError) else ""
        if isinstance(error, torch.OutOfMemoryError):
            clear_frames(error.__traceback__)  # what the step held: saving the state takes memory, too
            torch.cuda.empty_cache()
            said = f"{out_of_memory(model_base.config, memory, encoder, target, workers.count)} "
        said += f"Stopped at step {trainer.optimizer.step_number}; "
        if not workers.first:
            raise StoppedError(f"{said}the first process keeps the state.") from None
        path = folder.save_checkpoint(trainer.optimizer.step_number, adapter, trainer.optimizer, metadata)
        raise StoppedError(f"{said}{path} holds the state. Go on with the same command and --resume.") from None
    finally:
        for one in logs:
            one.close()

    # 9. What was learnt, and the results: the first process writes them, the others wait.
    if not workers.first:
        return workers.share(None)
    final_previews = preview(steps)
    tell(Progress("saving", steps, steps, message="comparing with the clips"))
    with trainer.optimizer.averaged():
        fit = fit_report(folder, adapter, training, model_base, preview_settings, final_previews)
        tell(Progress("saving", steps, steps, message="writing the LoRA"))
        folder.save_lora(adapter, metadata)
    write_json(folder.report, report.to_json() | {"fit": fit.to_json()})
    if final_previews:
        combine(final_previews, folder.preview)
    if keep_checkpoints is not None:
        folder.keep_checkpoints(keep_checkpoints)
    write_json(folder.config, config)
    losses = [line["loss"] for line in folder.read_metrics()][-max(1, steps // 10) :]
    tell(Progress("done", steps, steps, message=f"the LoRA is {folder.lora}"))
    result = TrainingResult(
        folder=folder.path,
        lora=folder.lora,
        config=folder.config,
        preview=folder.preview if final_previews else None,
        debug_dataset=folder.debug_dataset if debug_dataset else None,
        report=report,
        final_loss=sum(losses) / len(losses),
        fit=fit,
        warnings=tuple(warnings),
    )
    return workers.share(result)


def train_request(request: TrainingRequest, out: str | os.PathLike[str], **options: Any) -> TrainingResult:
    """`train` for an endpoint's request whose training data lies on this machine.

    Fields that the request does not name take the base's own values. options: what the endpoint has no field for.
    """
    named = request.model_fields_set
    return train(
        request.training_data_url,
        out,
        rank=request.rank,
        steps=request.number_of_steps,
        learning_rate=request.learning_rate,
        duration=request.audio_duration_seconds,
        trigger_phrase=request.trigger_phrase,
        normalize=request.audio_normalize,
        preserve_pitch=request.audio_preserve_pitch,
        negative_prompt=request.validation_negative_prompt if "validation_negative_prompt" in named else None,
        frame_rate=request.validation_frame_rate,
        stg_scale=request.stg_scale if "stg_scale" in named else None,
        debug_dataset=request.debug_dataset,
        **({"validation_prompts": [entry.prompt for entry in request.validation]} | options),
    )


def _identity(lora: Lora) -> dict[str, str]:
    """What tells one LoRA file from another, wherever it lies."""
    return {"name": lora.path.name, "sha256": hashlib.sha256(lora.path.read_bytes()).hexdigest()}


def _diverged(error: DivergedError, folder: RunFolder) -> str:
    latest = folder.latest_checkpoint()
    kept = f"the last good state is {latest}" if latest else "no checkpoint had been written yet"
    return f"The training diverged: {error}; {kept}. Try a lower learning rate."
