"""What a benchmark prints, and what it enters into the history."""

from __future__ import annotations

import argparse
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import table
from history import Figure, read

MACHINE: dict[str, Any] = {"cpu": "AMD EPYC", "cpu_features": [], "cores": 2, "threads": 2, "gpu": None, "torch": "2"}
FIGURES = [Figure("a step, median", 17.64, "ms", 50), Figure("speed", 56.31, "steps/s")]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and history in a folder of the test's own, on a machine that is always the same."""
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(table, "machine", lambda: MACHINE)
    return tmp_path / "history.jsonl"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "2 cores of AMD EPYC"),
        ({"cpu": "AMD EPYC 7763 64-Core Processor", "cpu_features": ["AVX-512"]}, "2 cores of AMD EPYC with AVX-512"),
        (
            {"cpu": "Intel(R) Xeon(R) Processor @ 2.70GHz", "cpu_features": ["AVX-512", "AMX"], "threads": 1},
            "2 cores of Intel Xeon with AVX-512 and AMX, 1 thread",
        ),
        ({"cpu": "Some Chip", "cores": 8, "threads": 4}, "8 cores of Some Chip, 4 threads"),
        ({"gpu": "NVIDIA H200"}, "one NVIDIA H200"),
    ],
)
def test_machines_that_can_be_compared_are_of_one_kind(change: dict[str, Any], kind: str) -> None:
    assert table.kind(MACHINE | change) == kind


def test_this_machine_has_a_kind() -> None:
    assert re.match(r"\d+ cores of \w|one \w", table.kind(table.machine()))


def test_a_table_is_printed_and_nothing_entered(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [*FIGURES, Figure("flac | decode", 5, "× real time")]
    table.report("speed", "A title", figures, {"extra": 1}, None, history=places)
    said = capsys.readouterr().out
    assert re.search(r"\| a step, median +\| 17\.6 ms +\| 50 ms +\| reached +\|", said)
    assert re.search(r"\| flac, decode +\| 5 × real time +\|", said)
    assert not places.exists()
    assert '"extra": 1' in (table.RESULTS / "speed.json").read_text()


@pytest.mark.parametrize(
    ("state", "on", "machine"),
    [
        ("", "", "2 cores of AMD EPYC"),
        ("busy", "", "2 cores of AMD EPYC, busy"),
        ("", "no machine", "no machine"),
    ],
)
def test_figures_are_entered_with_day_commit_and_machine(places: Path, state: str, on: str, machine: str) -> None:
    table.report("speed", "A title", FIGURES, {}, state, on=on, history=places)
    found = read(places)
    assert [(each.figure, each.value, each.unit) for each in found] == [
        ("a step, median", 17.6, "ms"),
        ("speed", 56.3, "steps/s"),
    ]
    assert {each.machine for each in found} == {machine}
    assert {each.benchmark for each in found} == {"speed"}
    assert {each.date for each in found} == {date.today().isoformat()}
    assert all(re.fullmatch(r"[0-9a-f]{7,}\+?", each.commit) for each in found)


@pytest.mark.parametrize(("typed", "record"), [([], None), (["--record"], ""), (["--record", "busy"], "busy")])
def test_the_flag_says_whether_and_in_which_state(typed: list[str], record: str | None) -> None:
    parser = argparse.ArgumentParser()
    table.add_record(parser)
    assert parser.parse_args(typed).record == record


def test_every_benchmark_can_enter_its_figures() -> None:
    scripts = [path.read_text() for path in Path(table.__file__).parent.glob("*.py")]
    reporting = [text for text in scripts if "from table import" in text]
    assert len(reporting) >= 9
    assert all("add_record(parser)" in text and "[--record]" in text for text in reporting)
