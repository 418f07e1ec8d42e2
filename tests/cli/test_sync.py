"""soundlora train --sync: the same command goes on anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Cli, assert_refused


@pytest.fixture
def kept(soundlora: Cli, train_flags: list[str], clips: Path, tmp_path: Path) -> Path:
    """A place that a finished run has come to."""
    place = tmp_path / "kept"
    outcome = soundlora("train", clips, "--out", tmp_path / "run", *train_flags, "--sync", place)
    assert outcome.code == 0, outcome.err
    return place


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_fetched_and_said_to_be_finished(
    soundlora: Cli, train_flags: list[str], clips: Path, kept: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    outcome = soundlora("train", clips, "--out", again, *train_flags, "--sync", kept)
    assert outcome.code == 0, outcome.err
    assert f"The run in {kept} is finished; its files are in {again}." in outcome.out.replace("\n", " ")
    assert "Listen to it" in outcome.out
    assert "training" not in outcome.out.lower().split("listen to it")[0].replace("before the training", "")
    states = {f"checkpoints/step_{step:06d}.pt" for step in (25, 50, 75)}
    run = {name: content for name, content in files(tmp_path / "run").items() if name not in states}
    assert files(again) == run
    assert (again / "lora.safetensors").samefile(again / "clips-100.safetensors")
    # And once more in the same folder, which has everything.
    assert soundlora("train", clips, "--out", again, *train_flags, "--sync", kept).code == 0
    assert files(again) == run


def test_another_request_is_refused_and_leaves_nothing(
    soundlora: Cli, train_flags: list[str], clips: Path, kept: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    outcome = soundlora("train", clips, "--out", other, *train_flags, "--seed", "7", "--sync", kept)
    assert_refused(outcome, str(kept), "--seed = 42, not 7")
    assert not other.exists() or files(other) == {}
    (key,) = [path for path in (kept / "states").iterdir() if json.loads(path.read_text())["finished"]]
    assert key.exists()


def test_places_that_cannot_be_used_are_refused(
    soundlora: Cli, train_flags: list[str], clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ("train", clips, "--out", out, *train_flags, "--sync")
    assert_refused(soundlora(*command, "gs://bucket/run"), "gs://bucket/run", "s3://bucket/prefix")
    assert_refused(soundlora(*command, ""), "--sync is empty; name a folder, or write s3://bucket/prefix.")
    assert_refused(soundlora(*command, out / "kept"), "--sync", "neither may lie in the other")
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert_refused(soundlora(*command, tmp_path / "kept"), "not an empty folder")
    assert files(out) == {"notes.txt": b"mine"}
