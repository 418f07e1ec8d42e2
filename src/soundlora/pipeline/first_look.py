"""What can be known to be wrong is found here, before a base is fetched or loaded."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import torch

from soundlora.contract.modes import MODES
from soundlora.dataset import check_template, check_windows
from soundlora.dataset.prepare import check_buckets
from soundlora.errors import InputError, MachineError, about
from soundlora.lora.file import Lora, read_lora
from soundlora.pipeline.conditions import check_mode
from soundlora.pipeline.data_check import look_at_data
from soundlora.pipeline.naming import check_name
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.slider import check_slider
from soundlora.system.cache_root import expanded
from soundlora.system.whole_files import machine_error
from soundlora.training.logs import check_logs
from soundlora.training.memory_plan import Plan
from soundlora.training.optimizers import check_use
from soundlora.weights.base import check_holds
from soundlora.wording import setting, using

_GB = 1e9


def look_at_settings(options: TrainingOptions, processes: int, device: torch.device) -> None:
    """Raise InputError for anything that can be known to be wrong before a file is opened."""
    check_logs(options.log)
    check_slider(options)
    check_mode(options)
    check_name(options.name)
    check_buckets(options.duration, options.shorter_durations)
    check_template(options.caption_template, known=False)
    check_windows(options.windows, MODES[options.mode].partner)
    if options.batch_size % processes:
        raise InputError(
            f"{setting('batch_size')} is {options.batch_size}, but {processes} processes need a multiple of their "
            "number.",
            field="batch_size",
        )
    check_use(options.optimizer, options.learning_rate, options.b_rate, options.average)
    _check_adapter(options)
    if options.offload and options.checkpoint_activations is False:
        raise InputError(
            f"{using('offload', options.offload)} and {using('checkpoint_activations', False)} contradict each other: "
            "weights that were away come back for activations that are computed again.",
            field="offload",
        )
    if options.quantize is not None:
        check_holds(device, options.quantize)


def _check_adapter(options: TrainingOptions) -> None:
    """Raise InputError for settings that a LoKr has no use for."""
    if options.adapter != "lokr":
        return
    if options.rslora:
        raise InputError(
            f"{using('rslora', True)} is for updates whose rank is {setting('rank')}, which a LoKr's is not; leave it "
            f"out, or take another {setting('adapter')}.",
            field="rslora",
        )
    if options.b_rate != 1:
        raise InputError(
            f"{setting('b_rate')} is {options.b_rate:g}, but a LoKr has no B; leave it out, or take another "
            f"{setting('adapter')}.",
            field="b_rate",
        )


def look_at_request(options: TrainingOptions) -> Lora | None:
    """Look at the data set's table of contents, the LoRA to begin with, and the folder. Return the LoRA.

    Raises InputError or MachineError for what is wrong with them.
    """
    first_lora = None
    if options.init_lora is not None:
        with about("init_lora"):
            first_lora = read_lora(expanded(options.init_lora), as_they_are=(options.adapter,))
            if options.adapter == "lokr" and not first_lora.matrices:
                raise InputError(
                    f"{first_lora.path} is no LoKr, and nothing else can become one; leave out {setting('init_lora')}, "
                    f"or take another {setting('adapter')}."
                )
    look_at_data(options)
    look_at_place(Path(options.out))
    return first_lora


def look_at_place(path: Path) -> None:
    """Raise MachineError when neither `path` nor a folder on the way to it can be written."""
    place = _nearest(path)
    if place != path and not place.is_dir():
        raise machine_error(NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), path)
    if not os.access(place, os.W_OK):
        raise machine_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), path)


def look_at_room(folder: Path, plan: Plan) -> None:
    """Raise MachineError when the disk of the run folder has no room for a training's state and its LoRA.

    They take about as much as the adapter does in memory: without its gradients, but with the LoRA's file.
    """
    free, needed = shutil.disk_usage(_nearest(folder)).free, plan.adapter
    if free < needed:
        raise MachineError(
            f"The training's state takes {needed / _GB:.1f} GB, but the disk of {folder} has {free / _GB:.1f} GB free; "
            f"make room, name another folder with {setting('out')}, or lower {setting('rank')}.",
            "disk",
        )


def _nearest(path: Path) -> Path:
    """Return `path`, or what is there on the way to it."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
