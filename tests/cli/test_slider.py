from __future__ import annotations

from pathlib import Path

from support import Cli


def test_two_prompts_take_the_place_of_data(soundlora: Cli, train_flags: list[str], tmp_path: Path) -> None:
    flags = ["--slide-from", "low rain", "--slide-to", "high rain", "--out", tmp_path / "run"]
    outcome = soundlora("train", *train_flags, *flags)
    assert outcome.code == 0, outcome.err
    assert "A strength of -1 leads to low rain, 1 to high rain; a preview has both in this order." in outcome.out
    assert "lora.safetensors" in outcome.out
    assert ":-1" in outcome.out


def test_without_data_and_prompts_both_are_named(soundlora: Cli, tmp_path: Path) -> None:
    outcome = soundlora("train", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "two prompts with --slide-from and --slide-to" in outcome.err
