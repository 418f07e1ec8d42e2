from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundlora.errors import InputError
from soundlora.progress import Progress
from soundlora.training.recorder import RunRecorder
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import StepFigures

FIGURES = StepFigures(1, 0.5, 0.25, 2.0, 1e-4, "a.wav")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.create({"rank": 8}, {"clips": []})
    return made


def test_it_keeps_and_tells_what_a_run_does(folder: RunFolder) -> None:
    told: list[Progress] = []
    recorder = RunRecorder(folder, told.append)
    recorder.begin({"rank": 8}, {}, ["csv"], 0, resume=False)
    recorder.step(FIGURES)
    recorder.held_out(1, 0.75)
    recorder.note("a note")
    recorder.close()
    assert [line["loss"] for line in folder.read_metrics()] == [0.5]
    assert folder.read_held_out() == [(1, 0.75)]
    assert (folder.path / "metrics.csv").read_text().splitlines()[1:] == ["1,0.5,0.25,2.0,0.0001,a.wav,False"]
    assert [(news.message, news.note) for news in told] == [("a note", True)]


def test_that_of_another_process_is_silent(folder: RunFolder) -> None:
    told: list[Progress] = []
    recorder = RunRecorder(folder, told.append, awake=False)
    recorder.check(resume=False)  # although the folder holds a run already
    recorder.begin({"rank": 8}, {}, ["csv"], 0, resume=True)
    recorder.step(FIGURES)
    recorder.held_out(1, 0.75)
    recorder.tell(Progress("done"))
    recorder.close()
    assert (told, folder.read_metrics(), folder.read_held_out()) == ([], [], [])
    assert not (folder.path / "metrics.csv").exists()


def test_a_resumed_run_drops_what_it_will_write_again(folder: RunFolder) -> None:
    for step in (1, 2, 3):
        folder.log({"step": step, "loss": 1.0})
        folder.log_held_out(step, 1.0)
    RunRecorder(folder).begin({"rank": 8}, {}, [], 2, resume=True)
    assert [line["step"] for line in folder.read_metrics()] == [1, 2]
    assert folder.read_held_out() == [(1, 1.0)]


def test_a_finished_run_is_pointed_to_a_way_on(folder: RunFolder) -> None:
    folder.lora.write_bytes(b"")
    folder.config.write_text("{}")
    with pytest.raises(InputError, match=r"is finished; its LoRA is .*init_lora='.*lora\.safetensors'"):
        RunRecorder(folder).check(resume=True)


def test_the_request_is_written_once(folder: RunFolder) -> None:
    folder.create({"rank": 16}, {"clips": ["a"]})
    assert json.loads(folder.request.read_text()) == {"rank": 8}
    assert json.loads(folder.report.read_text()) == {"clips": ["a"]}
