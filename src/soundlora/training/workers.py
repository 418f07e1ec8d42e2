"""The processes of one training: a single one, or several that `torchrun` started side by side."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from soundlora.errors import InputError, MachineError
from soundlora.system.devices import device_of
from soundlora.system.meeting import MEETING_VARIABLE
from soundlora.wording import setting, using

# The others wait while the first one fetches a base or makes previews.
_PATIENCE = timedelta(days=7)

T = TypeVar("T")


class LostError(MachineError):
    """Another process of the run is gone."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "processes")


@dataclass(frozen=True)
class Workers:
    """This process's place among `count`. The first one writes the run folder; the others only compute.

    `sum`, `wait` and `share` raise LostError when another process is gone.
    """

    rank: int = 0
    count: int = 1
    kind: str = field(default="cpu", compare=False)  # of the device that each of several processes has

    @classmethod
    def from_environment(cls, asked: torch.device | str | None = None) -> Workers:
        """Join the processes that `torchrun` or a server's worker started: by NCCL between GPUs, by gloo between CPUs.

        asked: the device that the user named; None takes CUDA GPUs where there are any. Raises InputError when this
        machine has fewer GPUs than processes, and for a device that several processes can't share a run on.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        kind = _shared_kind(asked)
        if not dist.is_initialized():
            # torch.optim would import it later, when it would keep the group, whose threads would then outlive it.
            import torch._dynamo

            if kind == "cuda":
                gpu = _own_gpu()
                torch.cuda.set_device(gpu)  # objects that are no tensors are sent from the current GPU
                dist.init_process_group("nccl", device_id=gpu, timeout=_PATIENCE, **_meeting(count))
            else:
                dist.init_process_group("gloo", timeout=_PATIENCE, **_meeting(count))
            # Threads that are left when the interpreter ends would abort the process, as they give back a tensor.
            atexit.register(part)
        return cls(dist.get_rank(), count, kind)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def device(self) -> torch.device | None:
        """Return the device that is this process's own, or None for a single one, which leaves the choice to others."""
        if self.count == 1:
            return None
        return _own_gpu() if self.kind == "cuda" else torch.device(self.kind)

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.count > 1:
            with _all_there():
                dist.all_reduce(tensor)

    def agree(self, mine: bool) -> bool:
        """Say in all processes whether any of them says yes."""
        if self.count == 1:
            return mine
        said = torch.tensor(float(mine), device=self.device())
        self.sum(said)
        return said.item() > 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            with _all_there():
                dist.barrier()

    def share(self, value: T | None) -> T:
        """Return the first process's value in all of them."""
        values = [value]
        if self.count > 1:
            with _all_there():
                dist.broadcast_object_list(values, src=0)
        assert values[0] is not None
        return values[0]


def part() -> None:
    """Part from the other processes of a run, if there were any, so that this one may do a run by itself."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _all_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise LostError(f"Another process of this run is gone; what it said tells why. ({reason})") from None


def _meeting(count: int) -> dict[str, Any]:
    """Return where the processes meet, nothing where `torchrun` has said so."""
    place = os.environ.get(MEETING_VARIABLE)
    if not place:
        return {}
    return {"init_method": Path(place).as_uri(), "rank": int(os.environ["RANK"]), "world_size": count}


def _shared_kind(asked: torch.device | str | None) -> str:
    """Return the kind of device that several processes share a run on."""
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if str(asked) not in ("cuda", "cpu"):
        raise InputError(
            f"{setting('device')} is {str(asked)!r}, but several processes share a run on CUDA GPUs, each with one of "
            f"its own, or on CPUs; use {using('device', 'cuda')} or {using('device', 'cpu')}, or start one process.",
            field="device",
        )
    if str(asked) == "cuda" and not torch.cuda.is_available():
        device_of(asked)  # says what there is instead
    return str(asked)


def _own_gpu() -> torch.device:
    number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= gpus:
        has = "one GPU" if gpus == 1 else f"{gpus} GPUs"
        raise InputError(
            f"This is process {number + 1} on this machine, which has {has}, and each process needs its own; start as "
            f"many as there are, with --nproc-per-node {gpus}."
        )
    return torch.device("cuda", number)
