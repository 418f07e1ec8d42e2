"""What benchmarks have measured: history.jsonl has a line a figure, and docs/benchmarks.md its tables from there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).parent / "history.jsonl"
LESS, MORE, NEITHER = "less", "more", "neither"
BETTER = {
    "ms": LESS,
    "s": LESS,
    "MB": LESS,
    "GB": LESS,
    "GiB": LESS,
    "%": LESS,
    "% of a core": LESS,
    "nats": LESS,
    "calls": LESS,
    "wrong answers": LESS,
    "times the first fifth": LESS,
    "of the base's": LESS,
    "times as long": LESS,
    "dB": LESS,
    "cents": LESS,
    "of correlation": LESS,
    "times": MORE,
    "a second": MORE,
    "steps/s": MORE,
    "refusals/s": MORE,
    "claims/s": MORE,
    "TFLOP/s": MORE,
    "× real time": MORE,
    "% of the matrix rate": MORE,
    "% right": MORE,
    "% lower": MORE,
    "dB below them": MORE,
    "of the clips'": NEITHER,
    "TFLOP": NEITHER,
    "pairs": NEITHER,
    "clips": NEITHER,
    "answers": NEITHER,
}
"""Of every unit, what is better; so a unit tells it, and what is better with less never shares one with what is not."""
NOTICED = 0.1
"""The share by which a figure must be worse than the last one to be named."""


@dataclass(frozen=True)
class Figure:
    """One number that a benchmark measured, in a unit of `BETTER`.

    The name is a row of a table, or "row | column" where a table has columns of its own. Names stay, or histories end.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None

    def __post_init__(self) -> None:
        if self.unit not in BETTER:
            raise ValueError(f"The unit {self.unit!r} of {self.name!r} is none that benchmarks/history.py knows.")

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        better = BETTER[self.unit]
        value, goal = (self.value, self.goal) if better == LESS else (self.goal, self.value)
        reached = value == goal if better == NEITHER else value <= goal
        return "reached" if reached else "missed"


@dataclass(frozen=True)
class Entry:
    """A line of the history."""

    date: str
    """YYYY-MM-DD."""
    commit: str
    """A + behind it: with changes that were not committed."""
    machine: str
    """Its kind, since figures of one kind are compared."""
    benchmark: str
    figure: str
    value: float
    unit: str


def rounded(value: float) -> float:
    """Three digits, which is more than two runs ever agree on; from 100 on a whole number, as counts are always."""
    if isinstance(value, int):
        return value
    return round(value) if abs(value) >= 100 else float(f"{value:.3g}")


def shown(value: float, unit: str) -> str:
    """12,345 ms, 0.6 % of a core."""
    return f"{value:,} {unit}"


def read(path: Path = HISTORY) -> list[Entry]:
    """All lines, the oldest first. Raises ValueError that names the line which is none."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values: dict[str, Any] = json.loads(line)
            entry = Entry(**values)
            Figure(entry.figure, entry.value, entry.unit)
            if not re.fullmatch(r"\d{4}-\d\d-\d\d", entry.date):
                raise ValueError(f"{entry.date!r} is no date")
        except (TypeError, ValueError) as error:
            wanted = ", ".join(field.name for field in fields(Entry))
            raise ValueError(f"{path.name}, line {number}: {error}. A line has {wanted}.") from None
        entries.append(entry)
    return sorted(entries, key=lambda entry: entry.date)


def append(entries: Iterable[Entry], path: Path = HISTORY) -> None:
    with path.open("a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")


def worse(entries: Iterable[Entry]) -> list[str]:
    """What the last two entries of a figure on one kind of machine say got worse by more than `NOTICED`, in words."""
    series: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        series.setdefault((entry.benchmark, entry.figure, entry.machine, entry.unit), []).append(entry)
    found = []
    for (benchmark, figure, machine, unit), entered in series.items():
        if len(entered) < 2 or BETTER[unit] == NEITHER:
            continue
        before, now = entered[-2:]
        lower, higher = (before, now) if BETTER[unit] == LESS else (now, before)
        if higher.value > lower.value * (1 + NOTICED):
            found.append(
                f"{benchmark}, {figure}: {shown(before.value, unit)} on {before.date}, {shown(now.value, unit)} on "
                f"{now.date}, on {machine}."
            )
    return found
