"""What the benchmarks share: the machine in words, memory, a table, the JSON beside it, and a place in the history."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from history import HISTORY, Entry, Figure, append, rounded, shown

MB = 1_000_000
RESULTS = Path(__file__).parent / "results"
_FEATURES = {"avx512f": "AVX-512", "amx_bf16": "AMX"}
_FAMILIES = re.compile(r"Intel Xeon|Intel Core|AMD EPYC|AMD Ryzen|Apple M\d+")


def machine() -> dict[str, Any]:
    """Return what figures depend on. The host name is left out, because results are meant to be shown."""
    import torch

    return {
        "cpu": _cpu_model(),
        "cpu_features": [name for flag, name in _FEATURES.items() if flag in _cpu_line("flags").split()],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    return _status("VmRSS") or peak_resident()


def peak_resident() -> int:
    """Return the most bytes of memory that this process ever held."""
    peak = _status("VmHWM")
    if peak is None:
        # Systems without /proc have this figure. It is in bytes on macOS and in KiB elsewhere.
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak


def kind(where: dict[str, Any]) -> str:
    """The machine of `machine()` as a kind whose figures can be compared: "2 cores of AMD EPYC with AVX-512"."""
    if where["gpu"]:
        return f"one {where['gpu']}"
    model = re.sub(r"\((?:R|TM)\)", "", where["cpu"])
    family = _FAMILIES.search(model)
    features = " and ".join(where["cpu_features"])
    threads = where["threads"]
    return (
        f"{where['cores']} cores of {family[0] if family else model.strip()}"
        + (f" with {features}" if features else "")
        + ("" if threads == where["cores"] else f", {threads} thread{'s' if threads > 1 else ''}")
    )


def add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record",
        nargs="?",
        const="",
        metavar="STATE",
        help="append the figures to history.jsonl; STATE says what is unusual about the machine, such as: busy",
    )


def report(
    name: str,
    title: str,
    figures: Sequence[Figure],
    details: dict[str, Any],
    record: str | None,
    *,
    on: str = "",
    history: Path = HISTORY,
) -> None:
    """Print the figures as a Markdown table, and write all there is to results/<name>.json.

    record: None, or the state of the machine with which they are also appended to the history ("" for none).
    on: in the history instead of this machine, for what does not depend on one.
    """
    where = machine()
    gpu = f", {where['gpu']}" if where["gpu"] else ""
    print(f"{title}\n{where['cpu']}{gpu}, {where['cores']} cores, {where['threads']} threads, torch {where['torch']}\n")
    rows = [
        (
            each.name.replace(" | ", ", "),
            shown(rounded(each.value), each.unit),
            "" if each.goal is None else shown(each.goal, each.unit),
            each.verdict,
        )
        for each in figures
    ]
    header = ("what", "measured", "goal", "")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": where, **details}, indent=2) + "\n", encoding="utf-8")
    print(f"\n{path}")
    if record is not None:
        on = ", ".join(part for part in (on or kind(where), record) if part)
        today, commit = date.today().isoformat(), _commit()
        append((Entry(today, commit, on, name, f.name, rounded(f.value), f.unit) for f in figures), history)
        print(f"{len(figures)} figures of {on} appended to {history}; benchmarks/report.py brings them to the page.")


def _commit() -> str:
    """The commit that is measured, with a + where something in it was changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src", "*.py")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)


def _cpu_model() -> str:
    return _cpu_line("model name") or platform.processor() or platform.machine()


def _cpu_line(field: str) -> str:
    """What /proc/cpuinfo says of the first processor, where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
