"""Step after step, with previews, checkpoints and evaluations in between, until the end or until it is asked to stop.

Whoever wants to stop a run and keep what it has learnt leaves a file in its folder, or answers `stop` with true. The
run then ends as if it had been asked for so many steps, but for the learning rate, which has not fallen as far.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from soundlora.pipeline.intervals import Due
from soundlora.pipeline.lora_config import lora_metadata, run_config
from soundlora.pipeline.run import Run, Training
from soundlora.progress import Pace, Progress
from soundlora.system.interrupts import unbroken
from soundlora.training.preview import write_previews

_EVALUATIONS = 20  # times a run that the held-out loss is computed


def all_steps(run: Run, training: Training) -> int:
    """Take the steps that are left, and return the number that is done in the end."""
    options, recorder, trainer = run.options, run.recorder, training.trainer
    assert options.preview_every is not None
    due = Due(options.checkpoint_every)
    pace = Pace(options.steps, training.done)
    evaluate_every = max(1, options.steps // _EVALUATIONS)
    ends = {stretch["step"] for stretch in run.request.get("lengthened", ())}  # of the shorter runs before
    done = options.steps
    for step in range(training.done, options.steps):
        if step and _is_to_stop(run):
            done = step
            break
        if step % evaluate_every == 0 or step % options.checkpoint_steps == 0 or step in ends:
            evaluate(run, training, step)
        if recorder.awake and step % options.preview_every == 0:
            preview(run, training, step)
            pace.resume()
        with unbroken():
            figures = trainer.step(step)
            recorder.step(figures)
        recorder.tell(pace.tick(None if figures.preserving else figures.loss))
        if (step + 1) % options.checkpoint_steps == 0 or step + 1 == options.steps:
            recorder.checkpoint(step + 1, training.adapter, trainer.optimizer)
            due.done()
        elif due():
            recorder.state(step + 1, training.adapter, trainer.optimizer)
            due.done()
    if done < options.steps:
        recorder.note(f"stopped after {done} of {options.steps} steps, to keep what it has learnt")
        if recorder.awake and not recorder.folder.has_checkpoint(done):
            recorder.checkpoint(done, training.adapter, trainer.optimizer)
    evaluate(run, training, done)
    return done


def shortened(run: Run, training: Training, steps: int) -> tuple[Run, Training]:
    """Return the run and its parts as those of `steps` steps, after which it was stopped."""
    if steps == run.options.steps:
        return run, training
    request = {**run.request, "number_of_steps": steps, "asked_steps": run.options.steps}
    config = run_config(request, run.base, run.report)
    run.recorder.rename(lora_metadata(config))
    return replace(run, options=replace(run.options, steps=steps)), replace(training, config=config)


def _is_to_stop(run: Run) -> bool:
    """Say in every process of the run whether it is to stop here. The first one looks."""
    asked = run.workers.first and (
        run.folder.stop_file.exists() or (run.options.stop is not None and run.options.stop())
    )
    return run.workers.agree(asked)


def evaluate(run: Run, training: Training, step: int) -> None:
    """Record the held-out loss after `step` steps: at 0 the base's, then that of the LoRA the run begins with."""
    if not run.recorder.awake or not training.held_out.examples:
        return
    if step == 0:
        run.recorder.held_out(step, training.held_out.base_loss())
    if step > 0 or run.first_lora is not None:
        with training.trainer.optimizer.averaged():
            run.recorder.held_out(step, training.held_out.loss())


def preview(run: Run, training: Training, step: int) -> list[Path]:
    """Return the previews after `step` steps, which are made if they are not there yet."""
    settings = training.previews
    paths = [run.folder.preview_path(step, number) for number in range(len(settings.prompts))]
    if paths and not all(path.exists() for path in paths):
        run.recorder.tell(Progress("previews", step, run.options.steps, message=f"previews at step {step}"))
        training.trainer.make_room()
        with training.trainer.optimizer.averaged():
            write_previews(run.folder, step, run.base, training.adapter, settings)
    return paths
