"""The check of a base at its first training on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from soundlora.errors import MachineError
from soundlora.pipeline.base_check import check_base
from soundlora.progress import Progress
from soundlora.system.devices import empty_cache
from soundlora.system.gpu_memory import one_shortage
from soundlora.system.whole_files import write_whole, writing
from soundlora.training.recorder import RunRecorder
from soundlora.weights.base import NANO, Base
from soundlora.wording import using

_GPUS = ("cuda", "xpu", "mps")  # a CPU would take hours for a base of full size


def check_first_use(
    base: Base, root: Path, device: torch.device, quantization: str | None, recorder: RunRecorder
) -> None:
    """Check a base that no run has been made with yet, and note what looks wrong. It never ends the run.

    The report stays below `root`, in a file by the base's hash; with it the base is not checked again. nano is tested
    with soundlora itself.
    """
    if not recorder.awake or device.type not in _GPUS or base.checkpoint.path.parent == NANO:
        return
    path = root / "checked" / f"{base.hash}.json"
    wrong = _wrong_in(path)
    if wrong is None:
        recorder.tell(Progress("base", message="listening whether the base sounds as it should, which is done once"))
        try:
            wrong = _check(base, path, device, quantization)
        except torch.OutOfMemoryError:
            recorder.note("The base was not checked, as this GPU's memory is too little for that.")
        except Exception as error:  # a run must not fail by a check
            recorder.note(f"The base could not be checked ({error}).")
        empty_cache(device)  # what it took is the run's now
    if wrong:
        recorder.note(
            f"This base may not sound as it should: {', '.join(wrong)}. `soundlora base check` says more; "
            f"{using('check', False)} trains without asking."
        )


def _wrong_in(path: Path) -> list[str] | None:
    """Return the measures that a kept report finds wrong, or None where there is no report."""
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        return [line["measure"] for line in lines if line["fine"] is False]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check(base: Base, path: Path, device: torch.device, quantization: str | None) -> list[str]:
    with one_shortage():
        report = check_base(base, device, quantization=quantization)
    try:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(report.as_json(), indent=2).encode())
    except MachineError:
        pass  # it is checked again the next time
    return [line.measure for line in report.lines if line.fine is False]
