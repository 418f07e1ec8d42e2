"""This tries on a GPU, in eight minutes at most, what machines without one can't: tests, kernels, steps, whole runs.

    scripts/gpu [--folder FOLDER] [--dry]

Nothing is fetched. Each part is a process with a time limit of its own, and what fails takes nothing from the others.
After each part `gpu.json` and `gpu.md` are written anew to the folder: `$OUT` if there is one, else
`benchmarks/results`. --dry does all of it on the CPU in small sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import aligned

ROOT = Path(__file__).resolve().parents[1]
WHOLE = 470  # seconds for all parts
LEAST = 10  # seconds that a part is begun with
TAIL = 40  # lines of what a part has said
GPU_TESTS = ("tests/training", "tests/lora", "tests/system")
MIB = 1 << 20
_DRY = 6  # times as long as a GPU may take, as CPUs take


@dataclass(frozen=True)
class Part:
    name: str
    seconds: int
    command: tuple[str, ...]


def parts(dry: bool, scratch: Path) -> Iterator[Part]:
    """What is tried, the most wanted first."""
    size, steps, few, many = ("nano", 1, 2, 3) if dry else ("full", 10, 4, 8)

    def script(name: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, f"benchmarks/{name}.py", *arguments)

    def step(batch: int, *more: str) -> tuple[str, ...]:
        return script("gpu_step", "--size", size, "--batch-size", str(batch), "--steps", str(steps), *more)

    yield Part("step, batch 1", 100, step(1, "--profile"))
    pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-W", "default", "-m", "gpu")
    yield Part("tests", 80, (*pytest, *(["--collect-only"] if dry else []), *GPU_TESTS))
    if (ROOT / "benchmarks" / "kernels.py").exists() and not dry:
        yield Part("kernels", 60, script("kernels"))
    yield Part(f"step, batch {many}", 80, step(many))
    yield Part(f"step, batch {few}", 70, step(few))
    sizes = ("--rank", "8", "--duration", "1") if dry else ("--rank", "32")
    run = (
        sys.executable,
        "-m",
        "soundlora",
        "train",
        "examples/clips",
        "--out",
        str(scratch / "run"),
        "--hold-out",
        "1",
    )
    run += ("--steps", "100" if dry else "200", "--preview-every", "100", "--validation-prompt", "a laser zaps", *sizes)
    yield Part("nano, a whole run", 70, run)
    yield Part(
        "full size, rehearsed", 130, script("full_size", "--folder", str(scratch), "--layers", "1" if dry else "48")
    )


def tried(part: Part, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """How a part has ended, what it has said last, and the JSON of its last line, if that is one."""
    began = time.monotonic()
    process = subprocess.Popen(
        part.command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=seconds)
        ended = "done" if process.returncode == 0 else f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the processes that it has started, too
        said, _ = process.communicate()
        ended = f"not done after {seconds:.0f} s"
    lines = said.splitlines()
    result = None
    if lines and lines[-1].startswith("{"):
        result = json.loads(lines.pop())
    taken = round(time.monotonic() - began, 1)
    return {"ended": ended, "seconds": taken, "result": result, "said": lines[-TAIL:]}


def page(outcomes: dict[str, dict[str, Any]]) -> str:
    """All of it as Markdown tables."""
    cells = [["part", "ended", "s"]]
    cells += [[name, found["ended"], str(found["seconds"])] for name, found in outcomes.items()]
    texts = ["# On a GPU", aligned(cells)]
    steps = [found["result"] for name, found in outcomes.items() if name.startswith("step") and found["result"]]
    if steps:
        texts += [f"Steps on {steps[0]['device']}, torch {steps[0]['torch']}:", aligned(_rows(steps))]
    for result in steps:
        if result.get("calls"):
            counted = result["calls"]
            texts.append(f"{counted['count']:,} calls in a step of batch {result['batch']}, the longest of them:")
            calls = [["call", "how often", "ms"]]
            calls += [
                [each["name"].replace("|", "/")[:80], f"{each['count']:,}", f"{each['milliseconds']:.3f}"]
                for each in counted["longest"]
            ]
            texts.append(aligned(calls))
    for name, found in outcomes.items():
        if not found["result"] and found["said"]:
            texts.append(f"## {name}\n\n```\n" + "\n".join(found["said"]) + "\n```")
    return "\n\n".join(texts) + "\n"


def _rows(steps: Sequence[dict[str, Any]]) -> list[list[str]]:
    cells = [["step", "median", "best", "at best by arithmetic", "share of the matrix rate", "memory", "planned", ""]]
    for result in steps:
        for way, row in result["ways"].items():
            cells.append(
                [
                    f"{way}, batch {result['batch']}",
                    *(_shown(row.get(key), 1e-3, "ms") for key in ("median", "best", "least")),
                    _shown(row.get("share"), 1e-2, "%"),
                    *(_shown(row.get(key), MIB, "MiB") for key in ("bytes", "planned")),
                    row.get("error", "").replace("|", "/")[:100],
                ]
            )
        cells.append([f"matrix rate, batch {result['batch']}", _shown(result["rate"], 1e12, "TFLOP/s"), *[""] * 6])
    return cells


def _shown(value: float | None, unit: float, name: str) -> str:
    return "" if value is None else f"{value / unit:,.1f} {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results"))
    parser.add_argument("--dry", action="store_true", help="on the CPU, in small sizes")
    parser.add_argument("--seconds", type=float, default=WHOLE, help=f"for all parts; {WHOLE} if not given")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    slowly = _DRY if arguments.dry else 1
    ends = time.monotonic() + slowly * arguments.seconds
    outcomes: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "SOUNDLORA_CACHE": scratch}
        environment["CUDA_VISIBLE_DEVICES"] = "" if arguments.dry else os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        for part in parts(arguments.dry, Path(scratch)):
            left = ends - time.monotonic()
            if left < LEAST:
                outcomes[part.name] = {
                    "ended": "left out, as the time was up",
                    "seconds": 0,
                    "result": None,
                    "said": [],
                }
            else:
                outcomes[part.name] = tried(part, min(slowly * part.seconds, left), environment)
            print(f"{part.name}: {outcomes[part.name]['ended']}", flush=True)
            (arguments.folder / "gpu.json").write_text(json.dumps(outcomes, indent=1) + "\n", encoding="utf-8")
            (arguments.folder / "gpu.md").write_text(page(outcomes), encoding="utf-8")
    print(arguments.folder / "gpu.md")


if __name__ == "__main__":
    main()
