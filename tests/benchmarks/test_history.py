"""The figures of benchmarks: what is entered, and which got worse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from history import HISTORY, Entry, Figure, append, read, rounded, shown, worse

ENTRY = Entry("2026-11-01", "abc1234", "two cores", "training_step", "a step, median", 20.0, "ms")
LATER = replace(ENTRY, date="2026-11-02", commit="def5678")


def test_each_line_of_the_history_is_a_figure_with_its_day_and_machine() -> None:
    lines = HISTORY.read_text(encoding="utf-8").splitlines()
    names = ["date", "commit", "machine", "benchmark", "figure", "value", "unit"]
    assert len(lines) > 200
    assert all(list(json.loads(line)) == names for line in lines)
    entries = read()
    assert len(entries) == len(lines)
    assert all(entry.machine and entry.commit for entry in entries)


def test_what_is_appended_is_read_again_after_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append([LATER], path)
    append([ENTRY, replace(ENTRY, figure="µ", unit="× real time")], path)
    assert read(path) == [ENTRY, replace(ENTRY, figure="µ", unit="× real time"), LATER]
    assert "µ" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"unit": "furlongs"}, "furlongs"), ({"date": "yesterday"}, "yesterday"), ({"surplus": 1}, "surplus")],
)
def test_a_line_that_is_no_figure_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "history.jsonl"
    append([ENTRY], path)
    with path.open("a") as file:
        file.write(json.dumps(vars(ENTRY) | change) + "\n")
    with pytest.raises(ValueError, match=rf"history\.jsonl, line 2: .*{said}"):
        read(path)


@pytest.mark.parametrize(
    ("unit", "before", "now", "named"),
    [
        ("ms", 20.0, 22.1, True),
        ("ms", 20.0, 21.9, False),
        ("ms", 20.0, 5.0, False),
        ("steps/s", 50.0, 45.0, True),
        ("steps/s", 50.0, 46.0, False),
        ("steps/s", 50.0, 90.0, False),
        ("wrong answers", 0, 1, True),
        ("pairs", 480, 100, False),
    ],
)
def test_what_got_worse_by_more_than_a_tenth_is_named(unit: str, before: float, now: float, named: bool) -> None:
    found = worse([replace(ENTRY, unit=unit, value=before), replace(LATER, unit=unit, value=now)])
    assert bool(found) is named
    if named:
        days = f"{before:,} {unit} on 2026-11-01, {now:,} {unit} on 2026-11-02"
        assert found == [f"training_step, a step, median: {days}, on two cores."]


def test_only_the_last_two_entries_of_one_kind_of_machine_are_compared() -> None:
    slow = replace(LATER, value=40.0)
    assert worse([ENTRY, slow]) != []
    assert worse([ENTRY, replace(slow, machine="two others")]) == []
    assert worse([ENTRY, replace(slow, figure="another")]) == []
    assert worse([ENTRY, slow, replace(slow, date="2026-11-03")]) == []


@pytest.mark.parametrize(
    ("unit", "value", "goal", "verdict"),
    [
        ("ms", 50, 50, "reached"),
        ("ms", 51, 50, "missed"),
        ("times", 6, 6, "reached"),
        ("times", 5.9, 6, "missed"),
        ("pairs", 480, 480, "reached"),
        ("pairs", 481, 480, "missed"),
        ("ms", 1, None, ""),
    ],
)
def test_a_goal_is_reached_from_the_side_that_the_unit_says(
    unit: str, value: float, goal: float | None, verdict: str
) -> None:
    assert Figure("it", value, unit, goal).verdict == verdict


def test_figures_keep_three_digits() -> None:
    assert [rounded(value) for value in (0.035312, 17.639, 99.96, 100.4, 10571.2)] == [0.0353, 17.6, 100.0, 100, 10571]
    assert repr(rounded(20)) == "20"
    assert shown(10571, "ms") == "10,571 ms"
    assert shown(0.6, "% of a core") == "0.6 % of a core"
