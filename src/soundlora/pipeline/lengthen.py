"""A finished run is lengthened: a longer one goes on from its last state, in a folder of its own.

The shorter run stays as it is, so that nothing of it is lost, whatever becomes of the longer one. That one is a run
like any other that was begun and not finished: it is resumed, stopped and lengthened in the same way.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundlora.errors import InputError
from soundlora.net.addresses import is_remote
from soundlora.pipeline.options import DATA_FIELD, SETTINGS, TrainingOptions
from soundlora.pipeline.settings import check_names
from soundlora.system.operating_system import replace as renamed
from soundlora.system.whole_files import second_name, writing
from soundlora.training.run_folder import RunFolder, write_json
from soundlora.wording import setting, using

if TYPE_CHECKING:
    from soundlora.pipeline.train import TrainingResult

_INTERVALS = ("preview_every", "checkpoint_every")  # a quarter of the run unless they were named


def lengthen(
    run: str | os.PathLike[str],
    steps: int | str,
    out: str | os.PathLike[str] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a finished run on, and write the longer run to a folder of its own. Raises as `train` does.

    run: the folder of the finished run, which stays as it is. steps: how many in all, or `"+1000"` for so many more.
    out: the folder of the longer run; None is the run's own with the steps behind its name, `my-run-3000` beside
    `my-run`. data: the clips, where they lie elsewhere than they did. options: settings that a run does not keep, such
    as `device`, `on_progress` or `resume`; of a run that began with a LoRA, `init_lora` once more.

    The longer run is the one that would have been asked for at first, to the bit, where its `schedule` is constant. The
    linear one depends on the number of steps, and the run says what is different.
    """
    made = longer_options(Path(run), steps, out, data, options)
    if made.on_progress is None:
        from soundlora.pipeline.notebook import notebook_progress

        made = replace(made, on_progress=notebook_progress())
    return train_on(Path(run), made)


def longer_options(
    shorter: Path,
    steps: int | str,
    out: str | os.PathLike[str] | None,
    data: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> TrainingOptions:
    """Return the options of the longer run, for arguments as `lengthen` takes them. Raises InputError."""
    check_names("lengthen", options, [name for name in SETTINGS if name != "steps"])
    if options.get("preset") is not None:
        raise InputError(
            f"{setting('preset')} is for new runs; one that is trained on keeps its settings.", field="preset"
        )
    total = total_steps(steps, steps_done(shorter))
    folder = RunFolder(shorter)
    stored = longer_request(folder.read_request(), max(folder.checkpoint_steps()), total)
    given = dict(options) | {"init_lora": _first_lora(shorter, stored, options.get("init_lora")), "steps": total}
    whole = shorter.absolute()
    given["out"] = whole.with_name(f"{whole.name}-{total}") if out is None else out
    return TrainingOptions.from_request(stored, data=_clips(shorter, stored, data), **given)


def train_on(shorter: Path, options: TrainingOptions) -> TrainingResult:
    """Do what `lengthen` does, for options that are made already."""
    from soundlora.pipeline.train import run_training
    from soundlora.training.workers import Workers

    longer = Path(options.out)
    begun = Workers.from_environment(options.device).first and not options.resume
    if begun:
        RunFolder(longer).check_free()
        make_longer(shorter, longer, options.steps)
    try:
        return run_training(replace(options, resume=True))
    except InputError:
        if begun:  # nothing was trained yet
            shutil.rmtree(longer, ignore_errors=True)
        raise


def steps_done(run: Path) -> int:
    """Return the steps of a finished run that can go on. Raises InputError for a folder that holds none."""
    folder = RunFolder(run)
    if not folder.request.exists():
        raise InputError(f"{run} holds no run; name the folder of a finished one.", field="run")
    if not folder.is_finished():
        raise InputError(
            f"The run in {run} has not finished; go on with it by {using('resume', True)}, and the same settings.",
            field="run",
        )
    if folder.latest_checkpoint() is None:
        raise InputError(
            f"{folder.checkpoints} holds no state any more that the run could go on from; another run can begin with "
            f"its LoRA: {using('init_lora', str(folder.lora))}.",
            field="run",
        )
    return int(json.loads(folder.config.read_text(encoding="utf-8"))["number_of_steps"])


def total_steps(asked: int | str, done: int) -> int:
    """Return the steps in all: those that are asked for, or so many more where that is `"+1000"`.

    Raises InputError unless they are more than those that are done.
    """
    text = str(asked).strip()
    if isinstance(asked, bool) or not re.fullmatch(r"\+?\d{1,9}", text, re.ASCII):
        raise InputError(
            f"{setting('steps')} is {asked!r}, but it must be a whole number, or one to add, such as +1000.",
            field="steps",
        )
    total = int(text) + (done if text.startswith("+") else 0)
    if total <= done:
        raise InputError(
            f"{setting('steps')} is {text}, but the run has {done} steps already; ask for more, or for some on top, "
            "such as +1000.",
            field="steps",
        )
    return total


def make_longer(shorter: Path, longer: Path, steps: int) -> None:
    """Make the folder of a run of `steps` steps that has done those of the finished run `shorter`.

    It appears whole or not at all. States, LoRAs and previews are further names of the same files, where the file
    system has such. Raises MachineError when it can't be written.
    """
    unfinished = longer.with_name(f"{longer.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    old, new = RunFolder(shorter), RunFolder(unfinished)
    with writing(longer):
        for before, now in ((old.checkpoints, new.checkpoints), (old.previews, new.previews)):
            now.mkdir(parents=True)
            for path in sorted(before.iterdir()) if before.is_dir() else ():
                if path.is_file():
                    second_name(path, now / path.name)
        for before in (old.metrics, old.held_out):  # they grow, so they are copies
            if before.exists():
                shutil.copyfile(before, unfinished / before.name)
        write_json(new.request, longer_request(old.read_request(), max(old.checkpoint_steps()), steps))
        if longer.is_dir():
            for left in longer.iterdir():  # a lock of a process that is gone
                left.unlink()
            longer.rmdir()
        renamed(unfinished, longer)


def longer_request(request: dict[str, Any], reached: int, steps: int) -> dict[str, Any]:
    """Return the request of a run of `steps` steps that goes on from a shorter one, whose last state is `reached`.

    request: the shorter run's. Intervals that followed from the steps follow from the new number.
    """
    asked = int(request["number_of_steps"])
    quarters = {name: -(-steps // 4) for name in _INTERVALS if request.get(name) == -(-asked // 4)}
    stretches = [*request.get("lengthened", ()), {"step": reached, "of": asked}]
    return request | quarters | {"number_of_steps": steps, "lengthened": stretches}


def _clips(shorter: Path, stored: dict[str, Any], data: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """Return the place of the clips. Raises InputError when they are no longer where they were."""
    if data is not None:
        return data
    place = str(stored[DATA_FIELD])
    if not is_remote(place) and not Path(place).expanduser().exists():
        raise InputError(
            f"The clips of the run in {shorter} lay in {place}, which is not there; say where they are with "
            f"{setting('data')}.",
            field="data",
        )
    return place


def _first_lora(shorter: Path, stored: dict[str, Any], given: Any) -> Any:
    """Return the LoRA that the run began with. The verdict compares with it, and the folder keeps its hash alone."""
    known = stored.get("init_lora")
    if given is None and known:
        raise InputError(
            f"The run in {shorter} began with the LoRA {known['name']}; name it once more with {using('init_lora')}.",
            field="init_lora",
        )
    return given
