"""The tables of docs/benchmarks.md are those of the history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import memory_plan
import pytest
import report
from history import Entry, read

DAY, COMMIT, ONE, TWO = "2026-11-01", "abc1234", "one core", "two cores"
END = "<!-- end of figures -->"


def entries(*figures: tuple[str, str, float], benchmark: str = "speed", date: str = DAY) -> list[Entry]:
    return [Entry(date, COMMIT, machine, benchmark, figure, value, "ms") for machine, figure, value in figures]


PLAIN = entries((ONE, "a step", 20), (ONE, "a run", 300), (TWO, "a step", 10))
NAMED = entries((ONE, "flac | decode", 5), (ONE, "flac | fit", 6), (ONE, "wav | decode", 7))


def cells(page: str) -> list[list[str]]:
    """The rows of the page's table, without the line below its head."""
    rows = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (rows[0], *rows[2:])]


def written(mark: str, known: Sequence[Entry]) -> str:
    return report.rewritten(f"Before.\n\n<!-- figures: {mark}-->\nold\n{END}\n\nAfter.\n", known)


def test_the_page_has_the_tables_of_the_history() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- figures: ") >= 11
    assert report.rewritten(page, read()) == page


def test_the_plan_on_the_page_is_what_the_code_computes() -> None:
    latest = {entry.figure: entry.value for entry in read() if entry.benchmark == "memory_plan"}
    computed = {figure.name: figure.value for figure in memory_plan.figures()}
    assert latest == pytest.approx(computed, abs=0.0051)


def test_each_machine_has_a_column() -> None:
    page = written("speed ", PLAIN)
    assert cells(page) == [["what", ONE, TWO], ["a step", "20 ms", "10 ms"], ["a run", "300 ms", ""]]
    assert f"As of {DAY} ({COMMIT}).\n{END}" in page
    assert "old" not in page
    assert page.startswith("Before.")
    assert page.endswith("After.\n")


def test_a_mark_chooses_rows_and_machines_in_its_order() -> None:
    assert cells(written("speed\na run\na step\n@ one core\n", PLAIN)) == [
        ["what", ONE],
        ["a run", "300 ms"],
        ["a step", "20 ms"],
    ]
    assert cells(written("speed\n@ two cores\n@ one core\n", PLAIN))[0] == ["what", TWO, ONE]


def test_figures_with_columns_of_their_own_are_rows_by_columns() -> None:
    page = written("speed ", NAMED)
    assert cells(page) == [["what", "decode", "fit"], ["flac", "5 ms", "6 ms"], ["wav", "7 ms", ""]]
    assert f"As of {DAY} ({COMMIT}), on {ONE}." in page


def test_the_last_entry_is_shown() -> None:
    known = [*PLAIN, *entries((ONE, "a step", 18), date="2026-11-05")]
    page = written("speed ", known)
    assert cells(page)[1] == ["a step", "18 ms", "10 ms"]
    assert "As of 2026-11-01 (abc1234), 2026-11-05 (abc1234)." in page


def test_rewriting_twice_changes_nothing() -> None:
    once = written("speed\na step\n", PLAIN)
    assert report.rewritten(once, PLAIN) == once


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("heat ", "no figures of heat"),
        ("speed\na walk\n", "no a walk of speed"),
        ("speed\n@ three cores\n", "no three cores of speed"),
    ],
)
def test_a_mark_that_asks_for_what_there_is_not_is_refused(mark: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        written(mark, PLAIN)


def test_columns_of_two_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="choose one machine with @"):
        written("speed ", [*NAMED, *entries((TWO, "flac | decode", 1))])


def test_a_mark_without_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="has no end"):
        report.rewritten(f"<!-- figures: speed\n{END}\n", PLAIN)


def test_what_got_worse_is_on_the_page() -> None:
    page = f"<!-- figures that got worse -->\nold\n{END}\n"
    assert "- None so far.\n" in report.rewritten(page, PLAIN)
    slower = [*PLAIN, *entries((ONE, "a step", 30), date="2026-11-05")]
    assert "- speed, a step: 20 ms on 2026-11-01, 30 ms on 2026-11-05, on one core.\n" in report.rewritten(page, slower)


def test_check_writes_nothing_and_fails_where_the_page_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(report.PAGE.read_text(encoding="utf-8").replace("17.6 ms", "1.6 ms"), encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["report.py", "--check"])
    assert report.main() == 1
    assert "page.md differs" in capsys.readouterr().err
    assert "| 1.6 ms" in page.read_text(encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["report.py"])
    assert report.main() == 0
    assert "17.6 ms" in page.read_text(encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["report.py", "--check"])
    assert report.main() == 0
