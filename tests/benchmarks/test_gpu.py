"""What scripts/gpu does where parts fail, and all of it on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu
import pytest

ROOT = Path(__file__).resolve().parents[2]


def part(name: str, code: str, seconds: int = 60) -> gpu.Part:
    return gpu.Part(name, seconds, (sys.executable, "-c", code))


def test_what_fails_or_takes_too_long_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind = tmp_path / "left"
    child = f"import time; time.sleep(2); open({str(left_behind)!r}, 'w')"
    slow = (
        f"import subprocess, sys, time; print('begun', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    )
    tried = [
        part("fails", "print('so far'); raise SystemExit(3)"),
        part("slow", slow, seconds=1),
        part("good", """print('{"rate": 1}')"""),
    ]
    monkeypatch.setattr(gpu, "parts", lambda dry, scratch: iter(tried))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--folder", str(tmp_path / "out")])
    gpu.main()
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert {name: (each["ended"], each["result"]) for name, each in found.items()} == {
        "fails": ("ended with 3", None),
        "slow": ("not done after 1 s", None),
        "good": ("done", {"rate": 1}),
    }
    assert (found["fails"]["said"], found["slow"]["said"]) == (["so far"], ["begun"])
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "| fails | ended with 3 " in page
    assert "so far" in page
    assert not left_behind.exists()
    assert capsys.readouterr().out.splitlines()[2] == "good: done"


def test_when_the_time_is_up_the_rest_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "parts", lambda dry, scratch: iter([part("never", "raise SystemExit(1)")]))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--folder", str(tmp_path), "--seconds", "5"])
    gpu.main()
    assert json.loads((tmp_path / "gpu.json").read_text())["never"]["ended"] == "left out, as the time was up"


def test_the_parts_fit_into_eight_minutes_one_after_the_other(tmp_path: Path) -> None:
    assert gpu.WHOLE + gpu.LEAST <= 8 * 60
    names = [each.name for each in gpu.parts(False, tmp_path)]
    assert [name for name in names if name.startswith("step")] == ["step, batch 1", "step, batch 8", "step, batch 4"]
    assert {"tests", "nano, a whole run", "full size, rehearsed"} < set(names)


def test_rows_have_what_was_measured_and_what_was_not() -> None:
    ways = {
        "ours": {"median": 0.0241, "best": 0.024, "least": 0.0055, "share": 0.38, "bytes": 9 << 30, "planned": 9 << 30},
        "usual": {"error": "OutOfMemoryError: no | room"},
    }
    step = {"batch": 1, "device": "NVIDIA H200", "torch": "2.12.0", "rate": 700e12, "ways": ways}
    calls = {"count": 2831, "milliseconds": 20.0, "longest": [{"name": "gemm", "count": 96, "milliseconds": 8.0}]}
    outcome = {"ended": "done", "seconds": 60.0, "result": step | {"calls": calls}, "said": []}
    page = gpu.page({"step, batch 1": outcome})
    cells = [cell.strip() for cell in next(line for line in page.splitlines() if "ours" in line).strip("| ").split("|")]
    assert cells == ["ours, batch 1", "24.1 ms", "24.0 ms", "5.5 ms", "38.0 %", "9,216.0 MiB", "9,216.0 MiB"]
    assert "OutOfMemoryError: no / room" in page
    assert "2,831 calls in a step of batch 1" in page
    assert "700.0 TFLOP/s" in page


@pytest.mark.slow
def test_all_of_it_runs_dry(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "gpu", "--dry", "--folder", tmp_path], check=True)
    found = json.loads((tmp_path / "gpu.json").read_text())
    said = {name: (each["ended"], each["said"][-3:]) for name, each in found.items()}
    assert {ended for ended, _ in said.values()} == {"done"}, said
    for name in ("step, batch 1", "step, batch 2", "step, batch 3"):
        for way, row in found[name]["result"]["ways"].items():
            assert "error" not in row, row
            assert row["median"] >= row["best"] > 0
            assert ("planned" in row) == way.startswith("ours")
    assert found["step, batch 1"]["result"]["calls"]["count"] > 0
