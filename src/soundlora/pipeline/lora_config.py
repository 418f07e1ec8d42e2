"""The figures by which a LoRA can be used and compared: the config beside it, and the strings in its header."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from soundlora.contract.modes import MODES
from soundlora.dataset import DatasetReport
from soundlora.lora.file import Lora
from soundlora.lora.targets import PRESETS
from soundlora.pipeline.noise_levels import REFERENCE
from soundlora.system.file_names import lora_file_name
from soundlora.version import __version__
from soundlora.weights.base import Base
from soundlora.weights.fetched import is_hub_name

NANO = "nano"


def identity(lora: Lora) -> dict[str, str]:
    """Return what tells the LoRA that a run begins with from others, wherever it lies."""
    return {"name": lora.path.name, "sha256": hashlib.sha256(lora.path.read_bytes()).hexdigest()}


def run_config(request: Mapping[str, Any], base: Base, report: DatasetReport) -> dict[str, Any]:
    """Return the config.json of a run. request: it is as the folder keeps it, with every default filled in."""
    sampling = base.config.sampling
    return {
        "name": request["name"],
        "lora_file": lora_file_name(request["name"], request["number_of_steps"]),
        **(_own_form(request, form) if (form := request.get("adapter", "lora")) != "lora" else {}),
        "training_type": MODES[request["mode"]].endpoints[0],
        "trigger_phrase": request["trigger_phrase"],
        "base": request["base"],
        "base_hash": request["base_hash"],
        "generation": base.generation.name,
        **({"slider": {end: request[f"slide_{end}"] for end in ("from", "to")}} if request.get("slide_from") else {}),
        "rank": request["rank"],
        "alpha": request.get("alpha") or request["rank"],
        **({"rslora": True} if request.get("rslora") else {}),
        "target_modules": list(PRESETS[request["targets"]]),
        "init_lora": request["init_lora"],
        "number_of_steps": request["number_of_steps"],
        **({"asked_steps": asked} if (asked := request.get("asked_steps")) else {}),
        **({"lengthened": stretches} if (stretches := request.get("lengthened")) else {}),
        "learning_rate": request["learning_rate"],
        "schedule": request["schedule"],
        **({"b_rate": times} if (times := request.get("b_rate", 1)) != 1 else {}),
        "batch_size": request["batch_size"],
        "average": request["average"],
        **({"noise_levels": levels} if (levels := request.get("noise_levels", REFERENCE)) != REFERENCE else {}),
        **({"preserve": share} if (share := request.get("preserve")) else {}),
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


def _own_form(request: Mapping[str, Any], form: str) -> dict[str, str]:
    return {"adapter": form, "own_file": lora_file_name(request["name"], request["number_of_steps"], form)}


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
        **({"adapter": config["adapter"]} if "adapter" in config else {}),
        "target_modules": json.dumps(config["target_modules"]),
        "soundlora_version": config["soundlora_version"],
        **({"slider": json.dumps(config["slider"])} if "slider" in config else {}),
        **_model_spec(config),
    }


def _model_spec(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of the ModelSpec standard, which other programs show beside a LoRA.

    Its date is left out, as two runs of the same settings make the same file to the bit. An author is not known.
    """
    base = public_base(config)
    seconds, trigger = config["audio_duration_seconds"], config["trigger_phrase"]
    fields = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{'nano' if base == NANO else 'ltx-' + config['generation']}-audio/lora",
        "implementation": "soundlora",
        "title": config["name"],
        "description": f"A LoRA for sound on {base}, trained on {config['clips']} clips of {seconds:g} s for "
        f"{config['number_of_steps']} steps.",
        "trigger_phrase": trigger,
        "usage_hint": _usage(config),
        "license": licence_of(config),
        "tags": "audio, text-to-audio, lora",
    }
    return {f"modelspec.{name}": value for name, value in fields.items() if value}


def _usage(config: Mapping[str, Any]) -> str:
    trigger, slider = config["trigger_phrase"], config.get("slider")
    hints = [f"Write {trigger} into the prompt."] if trigger else []
    hints += [f"A strength of -1 leads to {slider['from']}, 1 to {slider['to']}."] if slider else []
    return " ".join(hints)


def public_base(config: Mapping[str, Any]) -> str:
    """Return the base's name without the folders of a path, which are nobody's business."""
    name = str(config["base"])
    return name if is_hub_name(name) else re.split(r"[/\\]", name)[-1]


def licence_of(config: Mapping[str, Any]) -> str:
    """Return what a LoRA on this base is under: it is a derivative of the base's weights."""
    return "Apache-2.0" if config["base"] == NANO else "LTX-2 Community License Agreement"
