"""A base is checked before the first training with it, once, and no check ends a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import CPU, BaseNames

from soundlora import train
from soundlora.errors import MachineError
from soundlora.pipeline import first_use
from soundlora.pipeline.base_check import Report
from soundlora.pipeline.base_measures import Line
from soundlora.pipeline.first_use import check_first_use
from soundlora.progress import Progress
from soundlora.training.recorder import RunRecorder
from soundlora.training.run_folder import RunFolder
from soundlora.weights.base import Base, open_base

GPU = torch.device("xpu")


class Checks:
    """Stands for the check of a base, and counts how often it was asked."""

    def __init__(self, wrong: str | None = None, error: Exception | None = None) -> None:
        self.wrong, self.error, self.count = wrong, error, 0

    def __call__(self, base: Base, device: torch.device, **_: Any) -> Report:
        self.count += 1
        if self.error is not None:
            raise self.error
        lines = (Line("codec level", 0.1, "-6 to 6", True, "Fine."), Line("loss", 9.0, "1", self.wrong is None, "So."))
        return Report({}, "1", "2", device.type, lines)


@pytest.fixture
def base(tiny_base: BaseNames) -> Base:
    return tiny_base.open()


@pytest.fixture
def notes() -> list[Progress]:
    return []


@pytest.fixture
def recorder(tmp_path: Path, notes: list[Progress]) -> RunRecorder:
    return RunRecorder(RunFolder(tmp_path / "run"), notes.append)


def said(notes: list[Progress]) -> list[str]:
    return [news.message for news in notes if news.note]


def test_a_base_is_checked_once(
    monkeypatch: pytest.MonkeyPatch, base: Base, recorder: RunRecorder, notes: list[Progress], tmp_path: Path
) -> None:
    checks = Checks()
    monkeypatch.setattr(first_use, "check_base", checks)
    for _ in range(2):
        check_first_use(base, tmp_path, GPU, None, recorder)
    assert checks.count == 1
    assert said(notes) == []
    (kept,) = (tmp_path / "checked").iterdir()
    assert kept.name == f"{base.hash}.json"
    assert json.loads(kept.read_text())["fine"] is True


def test_what_looks_wrong_is_noted_every_time(
    monkeypatch: pytest.MonkeyPatch, base: Base, recorder: RunRecorder, notes: list[Progress], tmp_path: Path
) -> None:
    checks = Checks(wrong="loss")
    monkeypatch.setattr(first_use, "check_base", checks)
    for _ in range(2):
        check_first_use(base, tmp_path, GPU, None, recorder)
    assert checks.count == 1
    assert len(said(notes)) == 2
    assert "should: loss. `soundlora base check`" in said(notes)[0]


@pytest.mark.parametrize(
    "error", [RuntimeError("a kernel is missing"), MachineError("no room", "memory"), torch.OutOfMemoryError("full")]
)
def test_a_check_that_fails_is_a_note(
    monkeypatch: pytest.MonkeyPatch,
    base: Base,
    recorder: RunRecorder,
    notes: list[Progress],
    tmp_path: Path,
    error: Exception,
) -> None:
    checks = Checks(error=error)
    monkeypatch.setattr(first_use, "check_base", checks)
    for _ in range(2):
        check_first_use(base, tmp_path, GPU, None, recorder)
    assert checks.count == 2
    assert [note.split(" checked")[0] for note in said(notes)] in (
        [["The base was not"] * 2, ["The base could not be"] * 2]
    )


def test_nano_and_processors_are_not_checked(
    monkeypatch: pytest.MonkeyPatch, base: Base, recorder: RunRecorder, tmp_path: Path
) -> None:
    checks = Checks()
    monkeypatch.setattr(first_use, "check_base", checks)
    check_first_use(open_base("nano"), tmp_path, GPU, None, recorder)
    check_first_use(base, tmp_path, CPU, None, recorder)
    check_first_use(base, tmp_path, GPU, None, RunRecorder(recorder.folder, awake=False))
    assert checks.count == 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_asks_for_it_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, quick_base: BaseNames, clips: Path, tmp_path: Path, asked: bool
) -> None:
    checks = Checks(wrong="loss")
    monkeypatch.setattr(first_use, "check_base", checks)
    monkeypatch.setattr(first_use, "_GPUS", ("cpu",))
    notes: list[Progress] = []
    result = train(
        clips,
        tmp_path / "run",
        steps=1,
        duration=0.6,
        rank=2,
        check=asked,
        validation_prompts=[],
        on_progress=notes.append,
        **quick_base.arguments,
    )
    assert result.lora.exists()
    assert checks.count == asked
    assert any("may not sound" in note for note in said(notes)) == asked
