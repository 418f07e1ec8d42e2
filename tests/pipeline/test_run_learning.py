"""Runs whose settings say how they learn: each is another run than the plain one, and is resumed to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from soundlora.errors import InputError, Interrupted
from soundlora.lora.file import read_lora
from soundlora.pipeline.train import TrainingResult
from soundlora.progress import Progress
from soundlora.training.verdict import Fit

Train = Callable[..., TrainingResult]


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_progress(news: Progress) -> None:
        if news.stage == "training" and news.step == step:
            raise KeyboardInterrupt

    return on_progress


def lines(result: TrainingResult, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.folder / name).read_text().splitlines()]


def test_a_run_that_preserves_the_base_is_another_one_and_is_resumed_to_the_bit(quick_train: Train) -> None:
    options: dict[str, Any] = {"trigger_phrase": "TRG", "steps": 12}
    plain = quick_train("plain", **options)
    options["preserve"] = 0.5
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 7"):
        quick_train("stopped", on_progress=stop_at(7), **options)
    resumed = quick_train("stopped", resume=True, **options)
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()
    assert whole.lora.read_bytes() != plain.lora.read_bytes()
    assert {line["preserving"] for line in lines(whole)} == {True, False}
    assert resumed.final_loss == [line["loss"] for line in lines(whole) if not line["preserving"]][-1]
    assert json.loads(whole.config.read_text())["preserve"] == 0.5
    with pytest.raises(InputError, match="preserve has no prompt to preserve"):
        quick_train("none", preserve=0.5, caption_dropout=0.5)


@pytest.mark.parametrize("hold_out", [0, 1])
def test_the_report_has_the_loss_at_each_noise_level(quick_train: Train, hold_out: int) -> None:
    result = quick_train(hold_out=hold_out, noise_levels="0.5:1")
    fit = json.loads((result.folder / "report.json").read_text())["fit"]
    assert (len(fit["levels"]), fit["levels_kept_out"]) == (5, hold_out == 1)
    assert Fit.from_json(fit) == result.fit
    if hold_out:
        losses = [line["loss"] for line in lines(result, "held_out.jsonl")]
        assert sum(level.lora for level in result.fit.levels) / 5 == pytest.approx(losses[-1])
        assert sum(level.base for level in result.fit.levels) / 5 == pytest.approx(losses[0])
    assert all(level.base != level.lora for level in result.fit.levels)
    assert all(0.5 <= line["sigma"] <= 1 for line in lines(result))
    assert json.loads(result.config.read_text())["noise_levels"] == "0.5:1"


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 2.0, "rslora": True},
        {"schedule": "constant"},
        {"b_rate": 16.0},
        {"b_rate": 16.0, "optimizer": "adamw8bit"},
        {"b_rate": 4.0, "optimizer": "adafactor"},
    ],
)
def test_rates_and_scales_make_another_run_which_is_resumed_to_the_bit(
    quick_train: Train, options: dict[str, Any]
) -> None:
    plain, whole = quick_train("plain"), quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        quick_train("stopped", on_progress=stop_at(3), **options)
    resumed = quick_train("stopped", resume=True, **options)
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()
    assert whole.lora.read_bytes() != plain.lora.read_bytes()
    told = json.loads(whole.config.read_text())
    assert {name: told[name] for name in options if name != "optimizer"} == {
        name: value for name, value in options.items() if name != "optimizer"
    }


def test_the_scale_is_folded_into_the_file(quick_train: Train) -> None:
    result = quick_train(alpha=2.0, average=False)  # of rank 8, so a quarter
    state = torch.load(result.folder / "checkpoints" / "step_000006.pt", weights_only=True)["adapter"]
    for name, (_, b) in read_lora(result.lora).pairs.items():
        assert torch.equal(b, (state[f"diffusion_model.{name}.lora_B.weight"] / 4).bfloat16())


@pytest.mark.parametrize(("optimizer", "package"), [("prodigy", "prodigyopt"), ("schedulefree", "schedulefree")])
def test_a_run_with_an_optimizer_of_another_library_is_resumed_to_the_bit(
    quick_train: Train, optimizer: str, package: str
) -> None:
    pytest.importorskip(package)
    options: dict[str, Any] = {
        "optimizer": optimizer, "learning_rate": 0.5, "validation_prompts": ["rain"], "preview_every": 2, "hold_out": 1,
    }  # fmt: skip
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        quick_train("stopped", on_progress=stop_at(3), **options)
    resumed = quick_train("stopped", resume=True, **options)
    for name in ("lora.safetensors", "metrics.jsonl", "held_out.jsonl", "preview.wav"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
