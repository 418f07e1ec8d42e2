"""Train text-to-audio LoRAs for LTX 2.3 and 2.5 on the audio stream alone, and generate with them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from soundlora.errors import DivergedError, InputError, Interrupted, MachineError
from soundlora.progress import Progress
from soundlora.version import __version__

if TYPE_CHECKING:
    from soundlora.pipeline.arguments import inspect_dataset, prepare_recordings
    from soundlora.pipeline.figures import figures
    from soundlora.pipeline.generate import Generator, generate
    from soundlora.pipeline.generation import Generation
    from soundlora.pipeline.given_sound import Source
    from soundlora.pipeline.grid import Grid, grid
    from soundlora.pipeline.lengthen import lengthen
    from soundlora.pipeline.lora_use import LoraUse
    from soundlora.pipeline.train import TrainingResult, train, train_request

# These are imported at first use, so that the command line answers --help before torch is loaded.
_HOMES = {
    "Generation": "soundlora.pipeline.generation",
    "Grid": "soundlora.pipeline.grid",
    "Generator": "soundlora.pipeline.generate",
    "LoraUse": "soundlora.pipeline.lora_use",
    "Source": "soundlora.pipeline.given_sound",
    "TrainingResult": "soundlora.pipeline.train",
    "figures": "soundlora.pipeline.figures",
    "grid": "soundlora.pipeline.grid",
    "generate": "soundlora.pipeline.generate",
    "inspect_dataset": "soundlora.pipeline.arguments",
    "lengthen": "soundlora.pipeline.lengthen",
    "prepare_recordings": "soundlora.pipeline.arguments",
    "train": "soundlora.pipeline.train",
    "train_request": "soundlora.pipeline.train",
}

__all__ = [
    "DivergedError",
    "Generation",
    "Generator",
    "Grid",
    "InputError",
    "Interrupted",
    "LoraUse",
    "MachineError",
    "Progress",
    "Source",
    "TrainingResult",
    "__version__",
    "figures",
    "generate",
    "grid",
    "inspect_dataset",
    "lengthen",
    "prepare_recordings",
    "train",
    "train_request",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names; shells and notebooks complete them."""
    return list(__all__)
