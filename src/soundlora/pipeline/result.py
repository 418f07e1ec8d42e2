"""What a finished run has made, told by its folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from soundlora.dataset import DatasetReport
from soundlora.training.run_folder import RunFolder
from soundlora.training.verdict import Fit


@dataclass(frozen=True)
class TrainingResult:
    """The files and figures of a finished run. A file that it did not make is None."""

    folder: Path
    lora: Path  # under its own name; lora.safetensors beside it is the same file
    card: Path
    config: Path
    preview: Path | None
    debug_dataset: Path | None
    report: DatasetReport
    final_loss: float  # mean over the last tenth of the steps
    fit: Fit
    warnings: tuple[str, ...] = ()  # about the LoRA that the run began with
    own: Path | None = None  # the LoKr, of which `lora` is the plain LoRA that comes nearest


def result_of(folder: RunFolder, report: DatasetReport, fit: Fit, warnings: tuple[str, ...] = ()) -> TrainingResult:
    """Return the result of the finished run in a folder."""
    config = json.loads(folder.config.read_text(encoding="utf-8"))
    lora = folder.path / config.get("lora_file", folder.lora.name)
    # Steps that preserve the base have a loss of another kind.
    losses = [line["loss"] for line in folder.read_metrics() if not line.get("preserving")]
    losses = losses[-max(1, int(config["number_of_steps"]) // 10) :]
    return TrainingResult(
        folder=folder.path,
        lora=lora,
        card=lora.with_suffix(".md"),
        config=folder.config,
        preview=folder.preview if folder.preview.exists() else None,
        debug_dataset=folder.debug_dataset if folder.debug_dataset.exists() else None,
        report=report,
        final_loss=sum(losses) / len(losses) if losses else math.nan,
        fit=fit,
        warnings=warnings,
        own=folder.path / config["own_file"] if "own_file" in config else None,
    )


def kept_result(folder: RunFolder) -> TrainingResult:
    """Return the result of a run that another call, maybe on another machine, has finished."""
    told = json.loads(folder.report.read_text(encoding="utf-8"))
    return result_of(folder, DatasetReport.from_json(told), Fit.from_json(told["fit"]))
