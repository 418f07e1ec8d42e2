"""IPython is no dependency, and none is installed for the tests: a stand-in has the two functions that are called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support import BaseNames

from soundlora.pipeline.notebook import notebook_progress
from soundlora.pipeline.train import train
from soundlora.progress import OnProgress, Progress


class Notebook:
    """What a cell shows: a line for each call of `display`, changed by its handle."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changes = 0

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert (raw, display_id, list(content)) == (True, True, ["text/plain"])
        self.lines.append(content["text/plain"])
        place = len(self.lines) - 1

        def update(content: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.changes += 1
            self.lines[place] = content["text/plain"]

        return SimpleNamespace(update=update)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """A cell that runs in a kernel."""
    found = Notebook()
    module, display = ModuleType("IPython"), ModuleType("IPython.display")
    module.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = found.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return found


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr("soundlora.pipeline.notebook.time.monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def callback() -> OnProgress:
    found = notebook_progress()
    assert found is not None
    return found


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["a script", "IPython in a terminal"])
def test_there_is_none_outside_of_a_notebook(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, shell: object
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    assert notebook_progress() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook_progress() is None


def test_one_line_changes_twice_a_second_and_at_the_end(notebook: Notebook, pass_time: Callable[[float], None]) -> None:
    show = callback()
    show(Progress("clips", message="reading clips"))
    for step in range(1, 101):
        show(Progress("training", step, 100, 0.5, 20.0, (100 - step) / 20))
        pass_time(0.05)
    assert notebook.lines == ["Training 100/100  loss 0.500  20.0 steps/s  0:00 left"]
    assert 10 <= notebook.changes <= 12


def test_a_note_stays(notebook: Notebook, capsys: pytest.CaptureFixture[str]) -> None:
    callback()(Progress("base", message="it was cut to rank 4", note=True))
    assert (capsys.readouterr().out, notebook.lines) == ("Note: it was cut to rank 4\n", [])


def test_a_training_shows_how_far_it_is_unless_somebody_else_does(
    notebook: Notebook, quick_base: BaseNames, clips_zip: Path, shared_cache: Path, tmp_path: Path
) -> None:
    news: list[Progress] = []
    arguments: dict[str, Any] = {
        "rank": 8,
        "steps": 4,
        "duration": 0.5,
        "cache": shared_cache,
        "validation_prompts": [],
    }
    train(clips_zip, tmp_path / "one", on_progress=news.append, **arguments, **quick_base.arguments)
    assert (len(news) > 4, notebook.lines) == (True, [])
    result = train(clips_zip, tmp_path / "two", **arguments, **quick_base.arguments)
    assert notebook.lines == [f"Done 4/4  the LoRA is {result.lora}"]
