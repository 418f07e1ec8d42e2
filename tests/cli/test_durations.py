"""--duration: one bucket, or several with commas between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import BaseNames, Cli, tone, write_clip

from soundlora.cli.durations import durations_of
from soundlora.errors import InputError


@pytest.mark.parametrize(
    ("text", "found"), [("5", (5.0,)), ("1,2,5", (5.0, 2.0, 1.0)), (" 2 , 0.5,2", (2.0, 0.5)), ("60", (60.0,))]
)
def test_buckets_come_longest_first(text: str, found: tuple[float, ...]) -> None:
    assert durations_of(text) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("five", "--duration is 'five', but it must be seconds, such as 5 or 1,2,5."),
        ("1,,2", "--duration is '1,,2', but it must be seconds, such as 5 or 1,2,5."),
        ("1,0.4", "--duration is 0.4, but it must be a number from 0.5 to 60."),
        ("61", "--duration is 61, but it must be a number from 0.5 to 60."),
        ("nan", "--duration is nan, but it must be a number from 0.5 to 60."),
    ],
)
def test_what_is_no_length_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        durations_of(text)
    assert str(caught.value) == sentence


def test_inspect_takes_several_buckets_and_fills_short_clips(soundlora: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, seconds in {"a": 0.2, "b": 0.6, "c": 1.5}.items():
        write_clip(tmp_path / "data" / f"{name}.wav", tone(seconds))
    outcome = soundlora("inspect", tmp_path / "data", "--duration", "0.5,1", "--short", "pad", "--json")
    assert outcome.code == 0
    report = json.loads(outcome.out)
    assert report["duration"] == 1.0
    assert [clip["bucket"] for clip in report["clips"]] == [0.5, 0.5, 1.0]
    skipped = json.loads(soundlora("inspect", tmp_path / "data", "--duration", "0.5,1", "--json").out)
    assert [clip["bucket"] for clip in skipped["clips"]] == [None, 0.5, 1.0]


def test_a_wrong_word_for_short_clips_is_refused(soundlora: Cli, tmp_path: Path) -> None:
    outcome = soundlora("inspect", tmp_path, "--short", "stretch")
    assert outcome.code == 2
    assert "--short is 'stretch', but it must be skip or pad." in outcome.err


def test_train_takes_several_buckets(soundlora: Cli, quick_base: BaseNames, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, seconds in {"a": 0.6, "b": 0.7, "c": 1.5}.items():
        write_clip(tmp_path / "data" / f"{name}.wav", tone(seconds), f"tone {name}")
    out = tmp_path / "run"
    settings = ("--duration", "0.5,1", "--steps", "100", "--rank", "8", *quick_base.flags)
    outcome = soundlora("train", tmp_path / "data", "--out", out, *settings)
    assert outcome.code == 0, outcome.err
    request = json.loads((out / "request.json").read_text())
    assert (request["audio_duration_seconds"], request["shorter_durations"]) == (1.0, [0.5])
    assert [clip["bucket"] for clip in json.loads((out / "report.json").read_text())["clips"]] == [0.5, 0.5, 1.0]
