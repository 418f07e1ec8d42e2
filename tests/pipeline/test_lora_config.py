from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import BaseNames

from soundlora.dataset import inspect_dataset
from soundlora.lora.targets import PRESETS
from soundlora.pipeline.lora_config import lora_metadata, run_config


@pytest.mark.parametrize("targets", list(PRESETS))
def test_the_config_says_what_was_trained_and_the_metadata_are_strings(
    quick_base: BaseNames, clips: Path, targets: str
) -> None:
    request: dict[str, Any] = {
        "name": "Gate",
        "trigger_phrase": "TRG",
        "base": "far/away",
        "base_hash": "0123",
        "mode": "t2a",
        "conditioning_seconds": None,
        "rank": 16,
        "targets": targets,
        "init_lora": {"name": "first.safetensors", "sha256": "4567"},
        "number_of_steps": 500,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "batch_size": 4,
        "average": False,
        "audio_duration_seconds": 0.5,
        "seed": 7,
        "stg_scale": 0.5,
        "validation_negative_prompt": "noise",
    }
    report = inspect_dataset(clips, duration=0.5)
    config = run_config(request, quick_base.open(), report)
    same = request.keys() & config.keys()
    assert {key: config[key] for key in same} == {key: request[key] for key in same}
    assert len(same) == 13
    assert config["lora_file"] == "Gate-500.safetensors"
    assert config["target_modules"] == list(PRESETS[targets])
    assert (config["alpha"], config["clips"]) == (16, 3)
    assert config["sampling"]["stg"] == 0.5
    assert config["sampling"]["negative_prompt"] == "noise"
    metadata = lora_metadata(config)
    assert all(isinstance(value, str) for value in metadata.values())
    assert json.loads(metadata["target_modules"]) == config["target_modules"]
    assert metadata["modelspec.description"].startswith("A LoRA for sound on far/away, trained on 3 clips of 0.5 s")
    assert metadata["generation"] == config["generation"] == "2.3"
    assert (metadata["base_hash"], metadata["rank"], metadata["learning_rate"]) == ("0123", "16", "0.001")
