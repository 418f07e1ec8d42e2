"""A run that is stopped and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soundlora import InputError, Interrupted, train
from soundlora.lora.file import read_lora
from soundlora.pipeline.stopping import ask_to_stop, kept_of
from soundlora.progress import Progress


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"steps": 12, "hold_out": 1, "validation_prompts": None}


def test_a_stopped_run_ends_with_the_lora_previews_and_verdict_of_the_steps_done(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    news: list[Progress] = []

    def ask(progress: Progress) -> None:
        news.append(progress)
        if progress.stage == "training" and progress.step == 5:
            assert ask_to_stop(run)

    result = train(out=run, on_progress=ask, **settings)

    assert (result.lora.name, result.card.name) == ("clips-5.safetensors", "clips-5.md")
    config = json.loads(result.config.read_text())
    assert (config["number_of_steps"], config["asked_steps"]) == (5, 12)
    assert read_lora(result.lora).metadata["number_of_steps"] == "5"
    assert "5, of 12 that were asked for" in result.card.read_text()
    assert json.loads((run / "request.json").read_text())["number_of_steps"] == 12
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 5
    assert json.loads((run / "held_out.jsonl").read_text().splitlines()[-1])["step"] == 5
    assert (run / "previews" / "step_000005_prompt_0.wav").exists()
    assert json.loads((run / "report.json").read_text())["fit"]["verdict"] == result.fit.verdict
    assert "stopped after 5 of 12 steps, to keep what it has learnt" in [each.message for each in news if each.note]
    assert not (run / "stop").exists()
    # It is the mean of the weights, as every LoRA of a run.
    checkpoint = read_lora(run / "checkpoints" / "clips-5.safetensors")
    assert {name: [m.tolist() for m in pair] for name, pair in checkpoint.pairs.items()} == {
        name: [m.tolist() for m in pair] for name, pair in read_lora(result.lora).pairs.items()
    }


def test_a_function_that_says_so_from_the_first_stops_after_one_step(settings: dict[str, Any], tmp_path: Path) -> None:
    result = train(out=tmp_path / "run", stop=lambda: True, **settings | {"validation_prompts": []})
    assert result.lora.name == "clips-1.safetensors"


def test_a_run_that_was_left_gives_out_its_lora_and_goes_on(settings: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings |= {"validation_prompts": []}

    def leave(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(InputError, match=r"holds no run; name the folder that a training writes to"):
        ask_to_stop(run)
    with pytest.raises(Interrupted):
        train(out=run, on_progress=leave, **settings)
    assert not ask_to_stop(run)
    lora, step = kept_of(run)
    assert (lora, step) == (run / "clips-7.safetensors", 7)
    assert read_lora(lora).metadata["step"] == "7"
    (run / "stop").touch()  # of a process that was killed before it looked
    resumed = train(out=run, resume=True, **settings)
    assert resumed.lora.name == "clips-12.safetensors"
    with pytest.raises(InputError, match=r"is finished; its LoRA is .*lora\.safetensors"):
        ask_to_stop(run)


def test_a_run_without_a_checkpoint_has_no_lora_to_give_out(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("{}")
    with pytest.raises(InputError, match="was left before its first checkpoint"):
        kept_of(tmp_path)
