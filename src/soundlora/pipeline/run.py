"""What the stages of a training hand on: the run with its clips and texts, and the parts that compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from soundlora.dataset import DatasetReport
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import Lora
from soundlora.model.condition import Given
from soundlora.pipeline.encode import EncodedClip
from soundlora.pipeline.fitting import Fitting
from soundlora.pipeline.options import TrainingOptions
from soundlora.training.evaluation import HeldOut
from soundlora.training.memory_plan import Plan
from soundlora.training.preview import PreviewSettings
from soundlora.training.recorder import RunRecorder
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import Example, Trainer
from soundlora.training.workers import Workers
from soundlora.weights.base import Base


@dataclass(frozen=True)
class Run:
    """A run whose clips and captions are encoded. `options` has a value for every setting; nothing is written yet."""

    options: TrainingOptions
    workers: Workers
    device: torch.device
    recorder: RunRecorder
    base: Base
    first_lora: Lora | None
    fitting: Fitting
    clips: list[EncodedClip]
    report: DatasetReport
    request: Mapping[str, Any]  # as the folder keeps it
    contexts: Mapping[str, Tensor]  # (S, D) of every caption and prompt
    preserved: Mapping[str, tuple[str, ...]]  # prompts by caption, whose sound is kept as the base makes it
    given: tuple[Given, ...]  # of each preview, empty where nothing is

    @property
    def folder(self) -> RunFolder:
        return self.recorder.folder


@dataclass(frozen=True)
class Training:
    """The parts of a run that compute. `done` steps are done already."""

    plan: Plan
    adapter: Adapter
    trainer: Trainer
    held_out: HeldOut
    previews: PreviewSettings
    examples: list[Example]  # those that are trained on
    config: Mapping[str, Any]
    warnings: tuple[str, ...]
    done: int
