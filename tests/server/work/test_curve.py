"""Curves are thinned out, and read on where the last look ended."""

import json
from pathlib import Path
from typing import Any

from soundlora.server.work.curve import Curve


def write(path: Path, lines: list[dict[str, Any]], mode: str = "a") -> None:
    with path.open(mode) as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def losses(first: int, last: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": float(step)} for step in range(first, last + 1)]


def test_a_long_run_is_thinned_out_to_means(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    write(metrics, losses(1, 2000))
    points = Curve(metrics, tmp_path / "held_out.jsonl", 2000).new()
    assert len(points) == 400
    assert points[0] == (5, "loss", 3.0)
    assert points[-1] == (2000, "loss", 1998.0)


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    metrics, held_out = tmp_path / "metrics.jsonl", tmp_path / "held_out.jsonl"
    curve = Curve(metrics, held_out, 100)
    assert curve.new() == []
    write(metrics, losses(1, 2))
    write(held_out, [{"step": 0, "loss": 0.5}])
    assert curve.new() == [(1, "loss", 1.0), (2, "loss", 2.0), (0, "held_out", 0.5)]
    with metrics.open("a") as file:
        file.write('{"step": 3, "lo')
    assert curve.new() == []
    with metrics.open("a") as file:
        file.write('ss": 3.0}\n')
    assert curve.new() == [(3, "loss", 3.0)]


def test_a_resumed_run_that_cut_its_metrics_is_read_anew(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    curve = Curve(metrics, tmp_path / "held_out.jsonl", 100)
    write(metrics, losses(1, 50))
    curve.new()
    write(metrics, losses(1, 20), "w")
    assert curve.new()[-1] == (20, "loss", 20.0)


def test_steps_that_preserve_the_base_are_left_out(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    write(metrics, [{**line, "preserving": line["step"] % 5 != 2} for line in losses(1, 800)])
    points = Curve(metrics, tmp_path / "held_out.jsonl", 800).new()
    assert points[:3] == [(2, "loss", 2.0), (8, "loss", 7.0), (12, "loss", 12.0)]
    assert {loss % 5 for _, _, loss in points} == {2.0}
