"""A training is asked to end and to keep what it has learnt, and a run that was left gives out its LoRA."""

from __future__ import annotations

from pathlib import Path

from soundlora.errors import InputError
from soundlora.system.file_names import lora_file_name
from soundlora.system.whole_files import second_name, write_whole
from soundlora.training.run_folder import RunFolder


def ask_to_stop(run: Path) -> bool:
    """Ask the process that trains in the folder to end after its present step. Return False where none trains there.

    Raises InputError for a folder that holds no run, or a finished one.
    """
    folder = _unfinished(run)
    if not folder.is_held():
        return False
    write_whole(folder.stop_file, b"")
    return True


def kept_of(run: Path) -> tuple[Path, int]:
    """Give the LoRA of the latest checkpoint a name in the run folder. Return its path and its step.

    It holds the mean of the weights, as that of a finished run. Raises InputError where the run has no checkpoint.
    """
    folder = _unfinished(run)
    loras = folder.checkpoint_loras()
    if not loras:
        raise InputError(f"The run in {run} was left before its first checkpoint, so there is no LoRA yet.")
    step, path = list(loras.items())[-1]
    request = folder.read_request()
    lora = run / lora_file_name(str(request.get("name") or "lora"), step, str(request.get("adapter") or "lora"))
    second_name(path, lora)
    return lora, step


def _unfinished(run: Path) -> RunFolder:
    folder = RunFolder(run)
    if not folder.request.exists():
        raise InputError(f"{run} holds no run; name the folder that a training writes to.")
    if folder.is_finished():
        raise InputError(f"The run in {run} is finished; its LoRA is {folder.lora}.")
    return folder
