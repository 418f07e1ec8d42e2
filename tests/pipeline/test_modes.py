"""Whole runs of the modes in which a part of every clip is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import BaseNames, tone, write_clip

from soundlora.audio.wav import read_wav
from soundlora.errors import InputError, Interrupted
from soundlora.lora.file import read_lora
from soundlora.pipeline.train import TrainingResult, train
from soundlora.progress import Progress

Train = Callable[..., TrainingResult]
MODES = ("extend-prefix", "extend-suffix", "inpaint", "a2a")


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data set of three clips of 0.6 s for each mode."""
    plain, masked, pairs = (tmp_path_factory.mktemp("data") / name for name in ("plain", "masked", "pairs"))
    for folder in (plain, masked, pairs):
        folder.mkdir()
    for name, frequency in {"low": 220.0, "middle": 440.0, "high": 880.0}.items():
        for folder in (plain, masked):
            write_clip(folder / f"{name}.wav", tone(0.6, frequency), f"a {name} tone")
        (masked / f"{name}_mask.json").write_text("[[0.2, 0.3]]")
        write_clip(pairs / f"{name}_start.wav", tone(0.6, frequency), f"a {name} tone")
        (pairs / f"{name}_start.txt").rename(pairs / f"{name}.txt")
        write_clip(pairs / f"{name}_end.wav", tone(0.6, 2 * frequency))
    return {"t2a": plain, "extend-prefix": plain, "extend-suffix": plain, "inpaint": masked, "a2a": pairs}


@pytest.fixture
def run(quick_base: BaseNames, shared_cache: Path, sets: dict[str, Path], tmp_path: Path) -> Train:
    def run(mode: str, out: str = "run", **options: Any) -> TrainingResult:
        settings: dict[str, Any] = {
            "data": sets.get(mode, sets["t2a"]),
            **quick_base.arguments,
            "rank": 4,
            "steps": 6,
            "duration": 0.5,
            "learning_rate": 1e-2,
            "cache": shared_cache,
            "hold_out": 1,
        }
        if mode.startswith("extend"):
            settings["conditioning_seconds"] = 0.2
        return train(**(settings | {"mode": mode, "out": tmp_path / out} | options))

    return run


def stop(news: Progress) -> None:
    if news.stage == "training" and news.step == 4:
        raise KeyboardInterrupt


def losses(result: TrainingResult) -> list[float]:
    return [json.loads(line)["loss"] for line in (result.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_run_names_its_mode_and_is_resumed_to_the_bit(run: Train, mode: str) -> None:
    whole = run(mode, "whole", checkpoint_every=3)
    with pytest.raises(Interrupted):
        run(mode, checkpoint_every=3, on_progress=stop)
    resumed = run(mode, checkpoint_every=3, resume=True)
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()
    assert losses(resumed) == losses(whole)
    assert resumed.preview is not None
    assert whole.preview is not None
    assert resumed.preview.read_bytes() == whole.preview.read_bytes()
    endpoint = {"a2a": "a2a"}.get(mode, f"audio-{mode}")
    config = json.loads(whole.config.read_text())
    assert config["training_type"] == read_lora(whole.lora).metadata["training_type"] == endpoint
    assert config.get("conditioning_seconds") == (0.2 if mode.startswith("extend") else None)
    assert whole.fit.base_loss is not None  # of the clip that was kept out, under the same condition
    assert whole.fit.distance is not None


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_trains_something_else_than_text_to_audio(run: Train, mode: str, sets: dict[str, Path]) -> None:
    data = sets[mode] if mode != "a2a" else sets["t2a"]
    conditioned = losses(run(mode, "conditioned", hold_out=0, validation_prompts=[]))
    plain = losses(run("t2a", "plain", data=data, hold_out=0, validation_prompts=[]))
    assert all(abs(a - b) > 1e-4 for a, b in zip(conditioned, plain, strict=True))


def test_with_a_share_of_none_clips_are_trained_on_as_in_text_to_audio(run: Train) -> None:
    none = losses(run("inpaint", "none", condition_probability=0, validation_prompts=[]))
    assert none == pytest.approx(losses(run("t2a", "plain", validation_prompts=[])), rel=1e-4)


def test_a_run_of_another_mode_is_not_gone_on_with(run: Train) -> None:
    with pytest.raises(Interrupted):
        run("t2a", validation_prompts=[], on_progress=stop)
    with pytest.raises(InputError, match=r"conditioning_seconds = None, not 0\.2"):
        run("extend-prefix", validation_prompts=[], resume=True)


def test_another_mask_or_reference_is_another_run(run: Train, sets: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in sets["inpaint"].iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    with pytest.raises(Interrupted):
        run("inpaint", data=data, validation_prompts=[], on_progress=stop)
    (data / "low_mask.json").write_text("[[0.1, 0.3]]")
    with pytest.raises(InputError, match="clips"):
        run("inpaint", data=data, validation_prompts=[], resume=True)


def heard(path: Path) -> torch.Tensor:
    waveform, _ = read_wav(path)
    return waveform


def test_previews_take_the_audio_that_is_named_for_them(run: Train, sets: dict[str, Path], tmp_path: Path) -> None:
    high, low = (sets["t2a"] / f"{name}.wav" for name in ("high", "low"))
    prompts = {"validation_prompts": ["a tone", "a tone"], "steps": 1}
    one = run("a2a", "one", validation_audio=[str(high), str(low)], **prompts)
    first, second = (heard(one.folder / "previews" / f"step_000001_prompt_{n}.wav") for n in range(2))
    assert first.shape == second.shape
    assert not torch.allclose(first, second, atol=1e-3)
    spans = run(
        "inpaint",
        "spans",
        validation_audio=[str(high), str(high)],
        validation_spans=["0.1-0.2", "0.3-0.4"],
        **prompts,
    )
    first, second = (heard(spans.folder / "previews" / f"step_000001_prompt_{n}.wav") for n in range(2))
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize(
    ("mode", "options", "sentence"),
    [
        (
            "t2a",
            {"conditioning_seconds": 0.2},
            "conditioning_seconds says how much of a clip is given, for which mode='t2a'",
        ),
        ("inpaint", {"conditioning_seconds": 0.2}, "for which mode='inpaint' has no use"),
        (
            "extend-prefix",
            {"conditioning_seconds": 0.5},
            "conditioning_seconds is 0.5, but it must be less than the bucket",
        ),
        (
            "extend-suffix",
            {"conditioning_seconds": None},
            "conditioning_seconds is 1, but it must be less than the bucket",
        ),
        ("t2a", {"validation_audio": ["a.wav"]}, "validation_audio has no use with mode='t2a'"),
        ("a2a", {"validation_spans": ["0-1"]}, "validation_spans has no use with mode='a2a'"),
        ("a2a", {"validation_audio": ["a.wav"]}, "validation_audio is there 1 times, but 0 validation prompts"),
        ("inpaint", {"validation_prompts": ["x"], "validation_audio": ["a.wav"]}, "validation_spans is missing"),
        (
            "inpaint",
            {"validation_prompts": ["x"], "validation_audio": ["a.wav"], "validation_spans": ["2-1"]},
            "validation_spans is '2-1', but it must be seconds such as 1.0-2.0,3.5-4",
        ),
        ("a2a", {"validation_prompts": ["x"], "validation_audio": ["gone.wav"]}, "gone.wav"),
        ("remix", {}, "mode is 'remix', but it must be one of t2a, extend-prefix"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused_before_a_base_is_opened(
    run: Train, mode: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError) as refused:
        run(mode, **({"base": "no-such-base.safetensors"} | options))
    assert sentence in str(refused.value)


def test_a_preview_of_which_nothing_would_be_made_anew_is_refused(run: Train, sets: dict[str, Path]) -> None:
    options = {"validation_prompts": ["x"], "validation_audio": [str(sets["t2a"] / "low.wav")]}
    with pytest.raises(InputError, match="names no span within"):
        run("inpaint", validation_spans=["7-8"], **options)
