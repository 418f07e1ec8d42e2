from __future__ import annotations

import subprocess
import sys

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules["av"] = None  # importing it fails
for name in ("model", "training", "sampling"):
    package = importlib.import_module(f"soundlora.{name}")
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
"""


def test_training_and_sampling_need_no_audio_decoder() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {"soundlora.training.evaluation", "soundlora.sampling.guidance"} <= set(run.stdout.split())
