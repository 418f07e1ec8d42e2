"""What the benchmarks share: the machine in words, memory, a table, and the JSON beside it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MB = 1_000_000
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What figures depend on. No host name: results are meant to be shown."""
    import torch

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return _status("VmRSS") or peak_resident()


def peak_resident() -> int:
    """The most bytes of memory that this process ever held."""
    peak = _status("VmHWM")
    if peak is None:
        # Systems without /proc. Counted in bytes on macOS and in KiB elsewhere.
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak


def verdict(value: float, goal: float) -> str:
    return "reached" if value <= goal else f"missed, {value / goal:.2f} times the goal"


def report(name: str, title: str, rows: Sequence[Sequence[str]], figures: dict[str, Any]) -> None:
    """Print rows of (what, figure, goal, verdict) as a Markdown table and write `figures` to results/<name>.json."""
    where = machine()
    gpu = f", {where['gpu']}" if where["gpu"] else ""
    print(f"{title}\n{where['cpu']}{gpu}, {where['cores']} cores, {where['threads']} threads, torch {where['torch']}\n")
    header = ("what", "measured", "goal", "")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": where, **figures}, indent=2) + "\n", encoding="utf-8")
    print(f"\n{path}")


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
