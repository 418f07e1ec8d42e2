"""The flags of modes: those of a training, and those of a sound that is gone on from, led into, mended or remade."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import BaseNames, Cli, assert_refused


@pytest.mark.parametrize(
    ("flag", "more", "seconds"),
    [
        ("--continue", ["--conditioning-seconds", "0.2", "--duration", "0.4"], "0.80"),
        ("--continue", ["--conditioning-seconds", "0.2", "--duration", "0.4", "--for", "0.5"], "1.10"),
        ("--lead-into", ["--conditioning-seconds", "0.2", "--duration", "0.4"], "0.77"),
        ("--mend", ["--spans", "0.1-0.2,0.4-.5"], "0.60"),
        ("--from", [], "0.60"),
    ],
)
def test_generate_takes_a_sound(
    soundlora: Cli, quick_base: BaseNames, clips: Path, tmp_path: Path, flag: str, more: list[str], seconds: str
) -> None:
    out = tmp_path / "made.wav"
    flags = ["--steps", "1", "--cfg", "1", "--stg", "0", flag, clips / "low.wav", *more]
    outcome = soundlora("generate", "--prompt", "rain", "--out", out, *flags, *quick_base.flags)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == f"{out}: {seconds} s, 16000 Hz mono, seed 42"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--mend", "{clip}"], "--spans is missing"),
        (["--mend", "{clip}", "--spans", "2-1"], "--spans is '2-1', but it must be seconds such as"),
        (
            ["--spans", "1-2"],
            "--spans goes with a sound that is named by one of --continue, --lead-into, --mend, --from",
        ),
        (["--for", "3"], "--for goes with a sound"),
        (["--mend", "{clip}", "--from", "{clip}"], "--mend and --from are named"),
        (["--continue", "gone.wav"], "gone.wav does not exist"),
        (["--from", "{clip}", "--for", "3"], "--for is for going on from a sound"),
    ],
)
def test_generate_refuses_flags_that_do_not_belong_together(
    soundlora: Cli, clips: Path, tmp_path: Path, flags: list[str], sentence: str
) -> None:
    filled = [flag.replace("{clip}", str(clips / "low.wav")) for flag in flags]
    outcome = soundlora("generate", "--prompt", "x", "--base", "no-such-base", "--out", tmp_path / "x.wav", *filled)
    assert_refused(outcome, sentence)


@pytest.mark.parametrize("mode", ["extend-prefix", "inpaint"])
def test_train_takes_a_mode(soundlora: Cli, train_flags: list[str], clips: Path, tmp_path: Path, mode: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in clips.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
        if mode == "inpaint" and path.suffix == ".wav":
            (data / f"{path.stem}_mask.json").write_text("[[0.1, 0.2]]")
    more = ["--conditioning-seconds", "0.2"] if mode == "extend-prefix" else ["--validation-spans", "0.3-0.4"]
    preview = ["--validation-prompt", "rain", "--validation-audio", clips / "low.wav"]
    outcome = soundlora(
        "train", data, "--out", tmp_path / "run", *train_flags, "--mode", mode, *more, *preview,
        "--condition-probability", "0.5",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    request = json.loads((tmp_path / "run" / "request.json").read_text())
    assert (request["mode"], request["condition_probability"]) == (mode, 0.5)
    assert request["conditioning_seconds"] == (0.2 if mode == "extend-prefix" else None)


def test_inspect_takes_a_mode(soundlora: Cli, clips: Path) -> None:
    assert_refused(
        soundlora("inspect", clips, "--duration", "0.5", "--mode", "inpaint"), "high.wav has no high_mask.json"
    )
    assert_refused(soundlora("inspect", clips, "--mode", "remix"), "--mode is 'remix'")


@pytest.mark.parametrize("mode", ["foo", ""])
def test_a_mode_that_there_is_not_is_refused(soundlora: Cli, clips: Path, tmp_path: Path, mode: str) -> None:
    outcome = soundlora("train", clips, "--out", tmp_path / "run", "--mode", mode)
    assert_refused(outcome, f"--mode is {mode!r}, but it must be one of t2a, extend-prefix, extend-suffix")
