"""A training is ended from another terminal, and a finished one is trained on."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from support import Cli

from soundlora import train
from soundlora.progress import Progress


def test_a_run_is_stopped_and_kept_and_then_trained_on(
    soundlora: Cli, train_flags: list[str], clips: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    encoder = train_flags[train_flags.index("--text-encoder") :][:2]
    base = train_flags[train_flags.index("--base") + 1]
    told: list[str] = []

    def ask(news: Progress) -> None:
        if news.stage == "training" and news.step == 101 and not told:
            asking = threading.Thread(target=lambda: told.append(soundlora("stop", run).out))
            asking.start()
            asking.join()

    train(
        clips, run, base=base, text_encoder=encoder[1], rank=8, steps=200, duration=0.5, validation_prompts=[],
        on_progress=ask,
    )  # fmt: skip
    assert told == [f"The training in {run} ends after its present step, and writes its LoRA, previews and verdict.\n"]
    assert (run / "clips-101.safetensors").exists()

    outcome = soundlora("stop", run)
    assert (outcome.code, "is finished; its LoRA is" in outcome.err) == (2, True)

    outcome = soundlora("train", "--continue", run, "--steps", "+4", *encoder)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run-105" / "clips-105.safetensors").exists()
    assert "Note: The learning rate fell over 200 steps up to step 101, and falls over 105 from there on" in outcome.out
    assert f"  soundlora train --continue {tmp_path / 'run-105'} --steps +1000" in outcome.out
    assert json.loads((run / "config.json").read_text())["number_of_steps"] == 101


def test_what_is_wrong_with_the_flags_is_said_in_a_sentence(soundlora: Cli, clips: Path, tmp_path: Path) -> None:
    for flags, sentence in (
        (["--steps", "+1000"], "--steps is +1000, which adds to a finished run; name that with --continue."),
        (["--steps", "many"], "--steps is 'many', but it must be a whole number from 100 to 20000."),
        (["--continue", tmp_path], "--steps is missing: say how many steps the run shall have in all, or +1000 to add"),
        (["--continue", tmp_path, "--request", "r.json"], "leave out --request"),
        (["--continue", tmp_path, "--steps", "+5"], "holds no run; name the folder of a finished one"),
    ):
        outcome = soundlora("train", clips, "--out", tmp_path / "out", *flags)
        assert outcome.code == 2
        assert sentence in outcome.err, outcome.err
    (tmp_path / "left").mkdir()
    assert "holds no run; name the folder that a training writes to" in soundlora("stop", tmp_path / "left").err
