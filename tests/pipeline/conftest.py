"""Short runs of the tiny base, whose settings a test adds to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import BaseNames

from soundlora.pipeline.train import TrainingResult, train

Train = Callable[..., TrainingResult]


@pytest.fixture(scope="session")
def settings(quick_base: BaseNames, shared_cache: Path, clips_zip: Path) -> dict[str, Any]:
    return {
        "data": clips_zip,
        **quick_base.arguments,
        "rank": 8,
        "steps": 6,
        "duration": 0.5,
        "learning_rate": 1e-2,
        "cache": shared_cache,
        "validation_prompts": [],
    }


@pytest.fixture
def quick_train(settings: dict[str, Any], tmp_path: Path) -> Train:
    def run(out: str = "run", **options: Any) -> TrainingResult:
        return train(**(settings | {"out": tmp_path / out} | options))

    return run
