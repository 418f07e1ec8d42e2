"""A run's figures for other programs: CSV, TensorBoard, W&B. Their packages are imported only for a run that uses them.

`metrics.jsonl` and `held_out.jsonl` are the run's own record; these follow it.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

from soundlora.errors import InputError
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import StepFigures

KINDS = ("csv", "tensorboard", "wandb")
_NUMBERS = ("loss", "sigma", "gradient_norm", "learning_rate")
_FLUSH_SECONDS = 10


class Log(Protocol):
    """Another program's record of a run: figures of steps, and losses on clips kept out after `step` steps."""

    def step(self, figures: StepFigures) -> None: ...

    def held_out(self, step: int, loss: float) -> None: ...

    def close(self) -> None: ...


def check_logs(kinds: Sequence[str]) -> None:
    """Raise InputError when there is no such log, or its package is missing."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"log is {kind!r}, but it must be one of {', '.join(KINDS)}.", field="log")
        if kind != "csv" and importlib.util.find_spec(kind) is None:
            raise InputError(
                f"The log {kind} needs the package {kind}; install it with: pip install {kind}.", field="log"
            )


def open_logs(kinds: Sequence[str], folder: RunFolder, request: Mapping[str, Any], done: int) -> list[Log]:
    """Open the logs of a run. done: the steps that are done and stand in its record."""
    logs: list[Log] = []
    for kind in dict.fromkeys(kinds):
        if kind == "csv":
            logs.append(CsvLog(folder))
        elif kind == "tensorboard":
            logs.append(TensorBoardLog(folder, done))
        else:
            logs.append(WandbLog(folder, request))
    return logs


def _numbers(figures: StepFigures) -> dict[str, float]:
    """Return a step's numbers. The loss of a step that preserves the base is another one, and has a name of its own."""
    numbers = {name: getattr(figures, name) for name in _NUMBERS}
    return {"preserving_loss": numbers.pop("loss")} | numbers if figures.preserving else numbers


class CsvLog:
    """`metrics.csv` and `held_out.csv`. They are begun anew from the run's record, so that each line is there once."""

    def __init__(self, folder: RunFolder) -> None:
        columns = [field.name for field in fields(StepFigures)]
        self._metrics = folder.path.joinpath("metrics.csv").open("w", newline="", encoding="utf-8", buffering=1)
        self._held_out = folder.path.joinpath("held_out.csv").open("w", newline="", encoding="utf-8", buffering=1)
        self._steps = csv.DictWriter(self._metrics, columns)
        self._steps.writeheader()
        self._steps.writerows(folder.read_metrics())
        self._losses = csv.writer(self._held_out)
        self._losses.writerow(("step", "loss"))
        self._losses.writerows(folder.read_held_out())

    def step(self, figures: StepFigures) -> None:
        self._steps.writerow(vars(figures))

    def held_out(self, step: int, loss: float) -> None:
        self._losses.writerow((step, loss))

    def close(self) -> None:
        self._metrics.close()
        self._held_out.close()


class TensorBoardLog:
    """Event files in `tensorboard`, which hide the steps of a resumed run that came after its checkpoint."""

    def __init__(self, folder: RunFolder, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        target = str(folder.path / "tensorboard")
        self._writer = SummaryWriter(target, purge_step=done + 1, flush_secs=_FLUSH_SECONDS)

    def step(self, figures: StepFigures) -> None:
        for name, value in _numbers(figures).items():
            self._writer.add_scalar(name, value, figures.step)

    def held_out(self, step: int, loss: float) -> None:
        self._writer.add_scalar("held_out_loss", loss, step)

    def close(self) -> None:
        self._writer.close()


class WandbLog:
    """A run of the W&B project `soundlora`, whose id is kept so that a resumed run goes on with it."""

    def __init__(self, folder: RunFolder, request: Mapping[str, Any]) -> None:
        import wandb

        kept = folder.path / "wandb_id.txt"
        known = kept.read_text(encoding="utf-8").strip() if kept.exists() else None
        self._run = wandb.init(
            project="soundlora",
            name=folder.path.resolve().name,
            dir=str(folder.path),
            config=dict(request),
            id=known,
            resume="allow",
        )
        kept.write_text(f"{self._run.id}\n", encoding="utf-8")

    def step(self, figures: StepFigures) -> None:
        self._run.log(_numbers(figures), step=figures.step)

    def held_out(self, step: int, loss: float) -> None:
        self._run.log({"held_out_loss": loss}, step=step)

    def close(self) -> None:
        self._run.finish()
