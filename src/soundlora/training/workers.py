"""The processes of one training: alone, or started side by side by `torchrun`."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from soundlora.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """This process's place among `count`. The first one writes the run folder; the others only compute."""

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> Workers:
        """As `torchrun` says; joins the group of processes: NCCL between GPUs, gloo between CPUs.

        Raises InputError when this machine has fewer GPUs than processes.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not dist.is_initialized():
            if torch.cuda.is_available():
                gpu = _own_gpu()
                torch.cuda.set_device(gpu)  # what is no tensor is sent from the current one
                dist.init_process_group("nccl", device_id=gpu)
            else:
                dist.init_process_group("gloo")
            # Left to the interpreter's own end, its threads may find the other process gone, and abort this one.
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), count)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def device(self) -> torch.device | None:
        """This process's own GPU; None leaves the choice to others."""
        return None if self.count == 1 or not torch.cuda.is_available() else _own_gpu()

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.count > 1:
            dist.barrier()

    def share(self, value: T | None) -> T:
        """What the first process passes, in all of them."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values, src=0)
        assert values[0] is not None
        return values[0]


def _own_gpu() -> torch.device:
    number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= gpus:
        has = "one GPU" if gpus == 1 else f"{gpus} GPUs"
        raise InputError(
            f"This is process {number + 1} on this machine, which has {has}, and each process needs its own; start as "
            f"many as there are, with --nproc-per-node {gpus}."
        )
    return torch.device("cuda", number)
