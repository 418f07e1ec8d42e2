"""Whole runs on clips of several lengths: in several buckets, and filled with silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import BaseNames, tone, write_clip

from soundlora.errors import InputError, Interrupted
from soundlora.pipeline.train import TrainingResult, train
from soundlora.progress import Progress

Train = Callable[..., TrainingResult]
LENGTHS = {"hit": 0.15, "low": 0.3, "middle": 0.6, "high": 0.9, "top": 1.2}


@pytest.fixture(scope="session")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lengths")
    for number, (name, seconds) in enumerate(LENGTHS.items()):
        write_clip(folder / f"{name}.wav", tone(seconds, 220.0 * (number + 1)), f"a {name} tone")
    return folder


@pytest.fixture
def run(quick_base: BaseNames, shared_cache: Path, lengths: Path, tmp_path: Path) -> Train:
    def run(out: str = "run", **options: Any) -> TrainingResult:
        settings: dict[str, Any] = {
            "data": lengths,
            **quick_base.arguments,
            "rank": 4,
            "steps": 6,
            "duration": 1.0,
            "learning_rate": 1e-2,
            "cache": shared_cache,
            "validation_prompts": [],
        }
        return train(**(settings | {"out": tmp_path / out} | options))

    return run


def stop(news: Progress) -> None:
    if news.stage == "training" and news.step == 4:
        raise KeyboardInterrupt


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("short", ["skip", "pad"])
def test_a_run_on_several_buckets_is_resumed_to_the_bit(run: Train, short: str, batch_size: int) -> None:
    options: dict[str, Any] = {"shorter_durations": (0.25, 0.5), "short": short, "batch_size": batch_size}
    whole = run("whole", **options)
    with pytest.raises(Interrupted):
        run(**options, on_progress=stop)
    resumed = run(**options, resume=True)
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()
    report = json.loads((whole.folder / "report.json").read_text())
    assert {clip["name"]: clip["bucket"] for clip in report["clips"]} == {
        "hit.wav": 0.25 if short == "pad" else None,
        "low.wav": 0.25,
        "middle.wav": 0.5,
        "high.wav": 0.5,
        "top.wav": 1.0,
    }
    steps = [json.loads(line)["clip"] for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    trained = {name for step in steps for name in step.split(", ")}
    assert ("hit.wav" in trained) == (short == "pad") or batch_size == 2
    if batch_size == 2:
        buckets = {clip["name"]: clip["bucket"] for clip in report["clips"]}
        assert all(len({buckets[name] for name in step.split(", ")}) == 1 for step in steps)


def test_clips_that_fill_the_bucket_are_trained_on_as_without_padding(run: Train) -> None:
    plain, padded = (run(short, duration=0.15, short=short) for short in ("skip", "pad"))
    assert padded.final_loss == pytest.approx(plain.final_loss, rel=1e-4)


def test_silence_behind_a_clip_is_not_judged_as_its_sound(run: Train) -> None:
    result = run(short="pad", duration=1.0, validation_prompts=["a hit tone"], steps=2)
    assert [clip.used_seconds for clip in result.report.clips] == pytest.approx([0.9, 0.15, 0.3, 0.6, 1.0], abs=1e-3)
    assert result.fit.distance is not None


@pytest.mark.parametrize(
    ("options", "field", "sentence"),
    [
        (
            {"shorter_durations": (0.5, 2.0)},
            "shorter_durations",
            "shorter_durations has 2 s, which is not less than duration, 1 s.",
        ),
        (
            {"shorter_durations": (0.05,)},
            "shorter_durations",
            "shorter_durations has 0.05, but each must be at least 0.1.",
        ),
        (
            {"shorter_durations": "1,2"},
            "shorter_durations",
            "shorter_durations is '1,2', but it must be a list of numbers.",
        ),
        (
            {"short": "pad", "mode": "extend-prefix", "conditioning_seconds": 0.2},
            "short",
            "short='pad' has no use with mode='extend-prefix', as silence would be given or learnt; leave it out.",
        ),
        (
            {"shorter_durations": (0.5,), "mode": "extend-prefix", "conditioning_seconds": 0.6},
            "conditioning_seconds",
            "conditioning_seconds is 0.6, but it must be less than the bucket of 0.5 s.",
        ),
    ],
)
def test_lengths_that_make_no_sense_are_refused(run: Train, options: dict[str, Any], field: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        run(**options)
    assert str(caught.value) == sentence
    assert caught.value.field == field
