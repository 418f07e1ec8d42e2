"""Brings the history to the page: rewrites the marked tables of docs/benchmarks.md, and says what got worse.

    .venv/bin/python benchmarks/report.py [--check]

A table lies between two marks. The first names the benchmark; the lines after it, if any, choose rows and, behind an @,
machines, in this order. Each machine has a column, unless figures have columns of their own ("flac | decode").

    <!-- figures: training_step
    a step, median
    @ 2 cores of AMD EPYC with AVX-512
    -->
    <!-- end of figures -->

What got worse lies between `<!-- figures that got worse -->` and the same end. With --check nothing is written, and a
page that differs from the history ends with 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from history import HISTORY, Entry, read, shown, worse

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
_END = "<!-- end of figures -->"
_TABLE = re.compile(r"<!-- figures: (\w+)((?:\n[^\n]+)*?)\s*-->\n.*?" + re.escape(_END), re.DOTALL)
_WORSE = re.compile(r"<!-- figures that got worse -->\n.*?" + re.escape(_END), re.DOTALL)
COLUMN = " | "


def rewritten(page: str, entries: Sequence[Entry]) -> str:
    """The page with all its marked parts made anew. Raises ValueError for a mark that asks for what there isn't."""

    def table(match: re.Match[str]) -> str:
        mark = match[0].partition("-->")[0]
        lines = [line.strip() for line in match[2].splitlines() if line.strip()]
        machines = [line.removeprefix("@").strip() for line in lines if line.startswith("@")]
        rows = [line for line in lines if not line.startswith("@")]
        return f"{mark}-->\n{table_of(match[1], entries, rows, machines)}\n{_END}"

    if page.count(_END) != len(_TABLE.findall(page)) + len(_WORSE.findall(page)):
        raise ValueError(f"A mark of the page has no end, or an end ({_END}) no mark.")
    found = worse(entries)
    said = "\n".join(f"- {line}" for line in found or ["None so far."])
    page = _WORSE.sub(lambda _: f"<!-- figures that got worse -->\n{said}\n{_END}", page)
    return _TABLE.sub(table, page)


def table_of(benchmark: str, entries: Sequence[Entry], rows: Sequence[str], machines: Sequence[str]) -> str:
    """The latest figures of a benchmark as a Markdown table, and a line that says when they were measured.

    rows: their names without columns, in order; none are all of them. machines: kinds; none are all of them.
    """
    known = [entry for entry in entries if entry.benchmark == benchmark]
    latest = {
        (row_of(each), each.machine, column_of(each)): each
        for each in known
        if not machines or each.machine in machines
    }
    rows = rows or list(dict.fromkeys(row for row, _, _ in latest))
    missing = [row for row in rows if row not in {row for row, _, _ in latest}]
    missing += [machine for machine in machines if machine not in {each.machine for each in known}]
    if missing or not latest:
        raise ValueError(f"The history has no {', '.join(missing) or 'figures'} of {benchmark}.")
    taken = {key: entry for key, entry in latest.items() if key[0] in rows}
    machines = machines or list(dict.fromkeys(machine for _, machine, _ in taken))
    columns = list(dict.fromkeys(column for _, _, column in taken))
    if columns == [""]:
        places, heads = [(machine, "") for machine in machines], list(machines)
    elif len(machines) == 1:
        places, heads = [(machines[0], column) for column in columns], [column or "measured" for column in columns]
    else:
        raise ValueError(f"The figures of {benchmark} have columns of their own; choose one machine with @.")
    cells = [["what", *heads]]
    for row in rows:
        found = [taken.get((row, *place)) for place in places]
        cells.append([row, *(shown(entry.value, entry.unit) if entry else "" for entry in found)])
    runs = list(dict.fromkeys((entry.date, entry.commit) for entry in sorted(taken.values(), key=lambda e: e.date)))
    when = ", ".join(f"{date} ({commit})" for date, commit in runs)
    where = "" if columns == [""] else f", on {machines[0]}"
    return f"{aligned(cells)}\n\nAs of {when}{where}."


def row_of(entry: Entry) -> str:
    return entry.figure.partition(COLUMN)[0]


def column_of(entry: Entry) -> str:
    return entry.figure.partition(COLUMN)[2]


def aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(cells[0]))]
    lines = [cells[0], ["-" * width for width in widths], *cells[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in lines
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when the page differs")
    arguments = parser.parse_args()
    entries = read(HISTORY)
    for line in worse(entries):
        print(f"worse: {line}")
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before, entries)
    if before == after:
        return 0
    if arguments.check:
        print(f"{PAGE.name} differs from {HISTORY.name}; run benchmarks/report.py.", file=sys.stderr)
        return 1
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE.name} written")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"benchmarks/report.py: {error}")
