"""The curve of a run is read from its growing metrics, and thinned out to the points that a picture needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_POINTS = 400


class Curve:
    """Yields points (step, name, value). "loss" is the mean over a stretch of steps; "held_out" has every value.

    Steps that preserve the base are left out, as their loss is another one.
    """

    def __init__(self, metrics: Path, held_out: Path, steps: int) -> None:
        self._metrics, self._held_out = _Tail(metrics), _Tail(held_out)
        self._stretch = max(1, steps // MOST_POINTS)
        self._losses: list[float] = []

    def new(self) -> list[tuple[int, str, float]]:
        """Return the points that have been written since the last call."""
        points = []
        for line in self._metrics.lines():
            if not line.get("preserving"):
                self._losses.append(line["loss"])
            if line["step"] % self._stretch == 0 and self._losses:
                points.append((line["step"], "loss", sum(self._losses) / len(self._losses)))
                self._losses = []
        points += [(line["step"], "held_out", line["loss"]) for line in self._held_out.lines()]
        return points


class _Tail:
    """Reads the lines of JSON that a file has gained since the last look.

    A resumed run may cut the file. It is then read from the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        if self._path.stat().st_size < self._offset:
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
