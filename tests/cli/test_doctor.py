from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import BaseNames

from soundlora import __version__
from soundlora.cli import doctor
from soundlora.errors import InputError, MachineError
from soundlora.system import devices

GIB = 1 << 30


@pytest.fixture
def found(quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is found on a machine without a GPU that has a base."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(doctor, "open_base", lambda name: quick_base.open())
    monkeypatch.setattr(doctor, "NANO", Path(quick_base.checkpoint).parent)
    return doctor.examine()


def card(name: str, gib: float) -> dict[str, Any]:
    """What is found of a GPU."""
    return {"name": name, "memory": round(gib * GIB), "device": "cuda:0", "expect": "bf16"}


def test_the_findings_are_plain_values(found: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads(json.dumps(found)) == found
    assert found["soundlora"] == __version__
    assert found["torch"] == torch.__version__
    assert found["cpu"]["threads"] == 1
    assert found["cpu"]["cores"] >= 1
    assert found["memory"] is None or found["memory"] > GIB // 4
    assert found["disk_free"] > 0
    assert found["cache"] == str(tmp_path / "cache")
    assert (found["device"], found["dtype"], found["gpus"]) == ("cpu", "float32", [])


def test_a_base_is_measured_not_guessed(found: dict[str, Any], quick_base: BaseNames) -> None:
    (base,) = found["bases"]
    assert base["hash"] == quick_base.open().hash
    assert base["bytes"] == Path(quick_base.checkpoint).stat().st_size
    assert 10_000 < base["parameters"] < 1_000_000
    assert 0 < base["milliseconds_per_step"] < 60_000
    assert 0 < base["milliseconds_per_preview"] < 600_000


def test_people_are_told_what_would_run_and_how_fast(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    doctor.print_findings(found)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("GPU   none") for line in lines)
    assert any("ms a training step" in line and "2,000 steps in" in line for line in lines)
    assert any(line.endswith("s") and ", a preview of 5 s in " in line for line in lines)
    assert lines[-1] == "full  LTX 2.3 would need a GPU with about 11 GiB, or 7 GiB with --quantize int8; none is here."


def test_a_large_gpu_is_said_to_be_enough_and_a_small_one_not(
    found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    doctor.print_findings(found | {"gpus": [card("Big One", 24)]})
    out = capsys.readouterr().out
    assert "GPU   Big One, 24 GiB" in out
    assert "full  LTX 2.3 would run on this GPU: about 9.9 GiB at the peak, activations kept." in out
    for size, words in {
        10.5: "would run on this GPU: about 9.6 GiB at the peak, activations computed again.",
        8: "would run on this GPU with --quantize int8: about 6.9 GiB at the peak, activations kept.",
        6: "would need a GPU with about 11 GiB",
    }.items():
        doctor.print_findings(found | {"gpus": [card("Small One", size)]})
        assert words in capsys.readouterr().out


def test_every_device_is_named_with_what_to_expect_of_it(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mps, nvidia, arc = torch.device("mps"), torch.device("cuda", 0), torch.device("xpu", 0)
    exact = devices._product_error
    errors = {"mps": float("inf"), "cuda": 4e-4, "xpu": 0.001}
    monkeypatch.setattr(
        devices,
        "_product_error",
        lambda d, dtype: exact(d, dtype) if d.type == "cpu" else 0.0 if dtype == torch.float32 else errors[d.type],
    )
    monkeypatch.setattr(devices, "has_type", lambda d, dtype: False)
    monkeypatch.setattr(devices, "found", lambda: [nvidia, arc, mps, torch.device("cpu")])
    monkeypatch.setattr(doctor, "name_of", lambda d: {"mps": "Apple's GPU", "xpu": "An Arc", "cuda": "A Card"}[d.type])
    monkeypatch.setattr(doctor, "available", lambda d: (9 * GIB, 16 * GIB))
    gpus = [doctor._gpu(one) for one in (nvidia, arc, mps)]
    doctor.print_findings(found | {"gpus": gpus})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("GPU")]
    untried = "not tried by this project, and slower than it could be, as no step is recorded"
    assert lines == [
        "GPU   A Card, 16 GiB · cuda:0: bf16; the step is recorded and replayed",
        f"GPU   An Arc, 16 GiB · xpu:0: bf16; {untried}",
        f"GPU   Apple's GPU, 16 GiB · mps: fp32, as it has no bf16; {untried}",
    ]
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert doctor._gpu(nvidia)["expect"] == "bf16; AMD's GPUs were not tried by this project"


def test_a_device_that_computes_wrongly_is_named_and_the_cpu_is_measured(
    quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = devices._product_error
    monkeypatch.setattr(devices, "pick_device", lambda: torch.device("mps"))
    monkeypatch.setattr(devices, "_product_error", lambda d, dtype: exact(d, dtype) if d.type == "cpu" else 0.01)
    monkeypatch.setattr(devices, "found", lambda: [torch.device("mps"), torch.device("cpu")])
    monkeypatch.setattr(doctor, "found", devices.found)
    monkeypatch.setattr(doctor, "available", lambda d: (9 * GIB, 16 * GIB))
    monkeypatch.setattr(doctor, "_nano", lambda device: {"name": "nano", "error": str(device)})
    findings = doctor.examine()
    assert findings["device"] == "cpu"
    assert findings["bases"] == [{"name": "nano", "error": "cpu"}]
    assert "does not compute as it is told to" in findings["gpus"][0]["expect"]
    with pytest.raises(MachineError, match="does not compute as it is told to"):
        doctor.examine("mps")


def test_both_generations_are_told_of_and_what_is_here_of_them(
    quick_base_25: BaseNames,
    found: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [generation["name"] for generation in found["generations"]] == ["2.3", "2.5"]
    assert not any(path for generation in found["generations"] for path in generation["files"].values())
    monkeypatch.setenv("SOUNDLORA_MODELS", quick_base_25.checkpoint)
    doctor.print_findings(doctor.examine())
    out = capsys.readouterr().out
    assert "base  Lightricks/LTX-2.3: 0 of 1 files on this machine" in out
    assert "base  Lightricks/LTX-2.5: 4 of 4 files on this machine" in out
    assert "full  LTX 2.5 would need a GPU with about " in out


def test_a_missing_base_is_a_finding_not_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise InputError("There is no checkpoint here.")

    monkeypatch.setattr(doctor, "open_base", missing)
    findings = doctor.examine()
    assert findings["bases"] == [{"name": "nano", "error": "There is no checkpoint here."}]
    doctor.print_findings(findings)
    assert "base  nano: There is no checkpoint here." in capsys.readouterr().out
