"""The kernels as Triton's compiler makes them for GPUs that are not here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
TESTS = Path(__file__).parents[1]
MEMORY = {80: 163, 89: 99, 90: 227}
"""KiB of shared memory that a program may have, by compute capability."""


def compiled(capability: int, folder: Path, *flags: str) -> list[dict[str, Any]]:
    """What became of each kernel. In this process Triton interprets them."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder)}
    command = [sys.executable, str(TESTS / "compiled_kernels.py"), str(capability), *flags]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def assert_fit(found: list[dict[str, Any]], capability: int) -> None:
    for each in found:
        assert each["binary"] > 10_000
        assert each["memory"] <= 1024 * MEMORY[capability], each
        assert each["wgmma" if capability == 90 else "mma"] > 0, each
        assert each["atomics"] == each["shared"], each  # they count the parts of a shared tile, and add up nothing


def test_a_kernel_compiles_to_tensor_instructions_within_the_memory(tmp_path: Path) -> None:
    found = compiled(90, tmp_path)
    assert len(found) == 1
    assert_fit(found, 90)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 89, 90])
def test_every_kernel_compiles_for_each_generation(capability: int, tmp_path: Path) -> None:
    found = compiled(capability, tmp_path, "--all")
    assert {each["kernel"] for each in found} == {"outputs", "input_gradients", "on_top"}
    assert {each["kind"] for each in found} == {"bf16", "int8", "fp8"}
    assert_fit(found, capability)
