"""A whole run on a tiny LTX 2.5: training, checkpoint, resume, generation and conversion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support import BaseNames

from soundlora.errors import InputError, Interrupted
from soundlora.lora.file import read_lora, write_lora
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.train import TrainingResult, train
from soundlora.progress import Progress

STEPS = 12
Train = Callable[..., TrainingResult]


@pytest.fixture(scope="module")
def defaults(quick_base_25: BaseNames, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "data": clips,
        "base": quick_base_25.checkpoint,
        "rank": 8,
        "steps": STEPS,
        "duration": 0.5,
        "learning_rate": 1e-2,
        "checkpoint_every": 5,
        "validation_prompts": ["rain"],
        "cache": tmp_path_factory.mktemp("cache"),
    }


@pytest.fixture(scope="module")
def run(defaults: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(out=tmp_path_factory.mktemp("run-25") / "run", **defaults)


def test_the_lora_learns_and_names_its_generation(run: TrainingResult) -> None:
    losses = [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == STEPS
    assert all(loss < 1e3 for loss in losses)
    config = json.loads(run.config.read_text())
    with safe_open(run.lora, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["generation"] == config["generation"] == "2.5"
    lora = read_lora(run.lora)
    assert len(lora.pairs) == 2 * 10
    assert all(b.any() for _, b in lora.pairs.values())
    assert run.preview is not None


def test_a_resumed_run_is_the_same_to_the_bit(run: TrainingResult, defaults: dict[str, Any], tmp_path: Path) -> None:
    def stop(news: Progress) -> None:
        if news.stage == "training" and news.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"Stopped at step 7"):
        train(out=tmp_path / "run", on_progress=stop, **defaults)
    resumed = train(out=tmp_path / "run", resume=True, **defaults)
    for name in ("lora.safetensors", "metrics.jsonl", "preview.wav", "config.json"):
        assert (resumed.folder / name).read_bytes() == (run.folder / name).read_bytes(), name
    for path in (run.folder / "checkpoints").glob("*.safetensors"):
        assert path.read_bytes() == (resumed.folder / path.relative_to(run.folder)).read_bytes(), path.name


def test_its_lora_sounds_and_so_does_a_checkpoint_and_a_converted_copy(
    run: TrainingResult, quick_base_25: BaseNames, tmp_path: Path
) -> None:
    lora = read_lora(run.lora)
    write_lora(tmp_path / "comfyui.safetensors", lora.pairs, lora.metadata, naming="comfyui", dtype=lora.dtype)
    sounds = {}
    checkpoint = run.folder / "checkpoints" / "clips-5.safetensors"
    for name, path in {"lora": run.lora, "copy": tmp_path / "comfyui.safetensors", "early": checkpoint}.items():
        generator = Generator(quick_base_25.checkpoint, [(path, 1.0)])
        assert generator.warnings == []
        sounds[name] = generator("rain", duration=0.4, seed=1).waveform
    plain = Generator(quick_base_25.checkpoint)("rain", duration=0.4, seed=1).waveform
    assert torch.equal(sounds["lora"], sounds["copy"])
    assert not torch.equal(sounds["lora"], sounds["early"])
    assert not torch.equal(sounds["lora"], plain)


def test_a_run_goes_on_from_it_on_its_own_generation_alone(
    run: TrainingResult, defaults: dict[str, Any], quick_base: BaseNames, tmp_path: Path
) -> None:
    again = train(out=tmp_path / "again", init_lora=run.lora, **defaults)
    assert again.warnings == ()
    other = defaults | quick_base.arguments
    with pytest.raises(InputError, match=r"was trained on LTX 2\.5, but the base is LTX 2\.3") as error:
        train(out=tmp_path / "other", init_lora=run.lora, **other)
    assert error.value.field == "init_lora"
    assert not (tmp_path / "other").exists()
