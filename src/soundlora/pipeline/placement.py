"""The place of a run's transformer, and the way that its steps are computed, so that the memory is enough."""

from __future__ import annotations

import torch

from soundlora.contract.modes import MODES
from soundlora.errors import about
from soundlora.model.transformer import AudioTransformer
from soundlora.pipeline.options import TrainingOptions
from soundlora.system.devices import compute_dtype
from soundlora.training.memory_choice import choose
from soundlora.training.memory_plan import Plan, Settings
from soundlora.training.offload import offload
from soundlora.weights.base import Base


def planned(
    options: TrainingOptions, base: Base, device: torch.device, processes: int, captions: int = 0
) -> tuple[Plan, str]:
    """Return the plan of a run whose batch `processes` share, and a sentence that says why it was chosen.

    captions: those whose keys and values are the same in every step.
    """
    settings = Settings(
        options.rank,
        options.targets,
        options.duration,
        options.batch_size // processes,
        compute_dtype(device),
        options.quantize,
        options.optimizer,
        options.average,
        adapter=options.adapter,
        given=given if (given := MODES[options.mode].given) in ("nothing", "reference") else "latents",
        captions=captions,
    )
    return choose(
        base.config,
        settings,
        device,
        options.checkpoint_activations,
        base.encoder_config,
        processes,
        options.offload,
    )


def placed(base: Base, plan: Plan, device: torch.device) -> AudioTransformer:
    """Load the transformer as it was planned. Raises as `Base.transformer` does."""
    away = plan.settings.offload
    with about("base"):
        model = base.transformer(device, plan.settings.quantize, at=torch.device("cpu") if away else None)
    model.checkpointing = plan.settings.checkpointing
    if away:
        offload(model, away, device)
    return model
