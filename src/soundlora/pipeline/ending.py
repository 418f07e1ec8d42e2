"""What is kept of a run that ends early, and what its error says of how to go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from traceback import clear_frames

import torch

from soundlora.errors import DivergedError, Interrupted, Lack, MachineError
from soundlora.lora.adapter import Adapter
from soundlora.system.devices import empty_cache
from soundlora.system.interrupts import held_back
from soundlora.system.whole_files import machine_error
from soundlora.training.optimizer import Optimizer
from soundlora.training.recorder import RunRecorder
from soundlora.training.run_folder import RunFolder
from soundlora.wording import setting, using


def diverged(error: DivergedError, folder: RunFolder) -> DivergedError:
    """Return the error with the place of the last good state."""
    latest = folder.latest_checkpoint()
    kept = f"the last good state is {latest}" if latest else "no checkpoint had been written yet"
    return DivergedError(f"The training diverged: {error}; {kept}. Try a lower {setting('learning_rate')}.", latest)


def stopped(
    error: BaseException,
    recorder: RunRecorder,
    adapter: Adapter,
    optimizer: Optimizer,
    device: torch.device,
    advice: Callable[[], str],
) -> Interrupted | MachineError:
    """Keep the state, and return the error that says where it is and how to go on.

    Where the state can't be kept, as on a full disk, that is the last checkpoint. Interrupts wait meanwhile: an
    impatient second Ctrl-C must not take the state away. advice: a sentence for a GPU whose memory was too little.
    """
    with held_back():
        said = ""
        lack: Lack = "memory"
        if isinstance(error, torch.OutOfMemoryError):
            clear_frames(error.__traceback__)  # saving the state takes memory, which the failed step still holds
            empty_cache(device)
            said = f"{advice()} "
        elif isinstance(error, OSError | MachineError):
            fault = machine_error(error) if isinstance(error, OSError) else error
            said, lack = f"{fault} ", fault.lack
        said += f"Stopped at step {optimizer.step_number}"
        try:
            path = _keep(recorder, adapter, optimizer)
        except MachineError as failure:
            why = "" if str(failure) in said else f" ({str(failure).rstrip('.')})"
            path = recorder.folder.latest_checkpoint()
            if path is None:
                return MachineError(f"{said}, but no state could be kept{why}.", failure.lack)
            said += f", whose state could not be kept{why}; {path} holds an earlier one."
        else:
            said += f"; {path} holds the state." if path else "; the first process keeps the state."
    if path is not None:
        said += f" Go on with the same settings and {using('resume', True)}."
    return Interrupted(said, path) if isinstance(error, KeyboardInterrupt) else MachineError(said, lack)


def keep_quietly(recorder: RunRecorder, adapter: Adapter, optimizer: Optimizer) -> None:
    """Keep the state beside an error that says nothing of it, such as one of whoever is told of the progress."""
    with held_back(), contextlib.suppress(MachineError):
        _keep(recorder, adapter, optimizer)


def _keep(recorder: RunRecorder, adapter: Adapter, optimizer: Optimizer) -> Path | None:
    step = optimizer.step_number
    if recorder.awake and recorder.folder.has_checkpoint(step):
        return recorder.folder.checkpoint_path(step)
    return recorder.checkpoint(step, adapter, optimizer)
