"""The figures by which a LoRA can be used and compared: the config beside it, and the strings in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from soundlora.contract.modes import MODES
from soundlora.dataset import DatasetReport
from soundlora.lora.file import Lora
from soundlora.lora.targets import PRESETS
from soundlora.version import __version__
from soundlora.weights.base import Base


def identity(lora: Lora) -> dict[str, str]:
    """Return what tells the LoRA that a run begins with from others, wherever it lies."""
    return {"name": lora.path.name, "sha256": hashlib.sha256(lora.path.read_bytes()).hexdigest()}


def run_config(request: Mapping[str, Any], base: Base, report: DatasetReport) -> dict[str, Any]:
    """Return the config.json of a run. request: it is as the folder keeps it, with every default filled in."""
    sampling = base.config.sampling
    return {
        "training_type": MODES[request["mode"]].endpoints[0],
        "trigger_phrase": request["trigger_phrase"],
        "base": request["base"],
        "base_hash": request["base_hash"],
        "generation": base.generation.name,
        "rank": request["rank"],
        "alpha": request["rank"],
        "target_modules": list(PRESETS[request["targets"]]),
        "init_lora": request["init_lora"],
        "number_of_steps": request["number_of_steps"],
        "learning_rate": request["learning_rate"],
        "batch_size": request["batch_size"],
        "average": request["average"],
        "audio_duration_seconds": request["audio_duration_seconds"],
        **({"conditioning_seconds": seconds} if (seconds := request["conditioning_seconds"]) else {}),
        "clips": len(report.kept),
        "seed": request["seed"],
        "sampling": {
            "steps": sampling.steps,
            "cfg": sampling.cfg,
            "stg": request["stg_scale"],
            "stg_blocks": None if sampling.stg_blocks is None else list(sampling.stg_blocks),
            "rescale": sampling.rescale,
            "negative_prompt": request["validation_negative_prompt"],
        },
        "soundlora_version": __version__,
    }


def lora_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """Return strings for the LoRA file's header, which are enough to use it when the config is lost."""
    names = (
        "training_type",
        "trigger_phrase",
        "base",
        "base_hash",
        "generation",
        "rank",
        "number_of_steps",
        "learning_rate",
    )
    return {
        **{name: str(config[name]) for name in names},
        "target_modules": json.dumps(config["target_modules"]),
        "soundlora_version": config["soundlora_version"],
    }
