"""Every stage shares this: a state file that survives a kill, a log, and a learning rate that ends at zero."""

from __future__ import annotations

import atexit
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from sizes import WORK
from torch import nn


def process() -> int:
    """Return the number of this process among those that share a stage."""
    return int(os.environ.get("RANK", "0"))


class Stage:
    """A resumable training stage. It keeps modules and optimiser in `work/<name>.pt`, and logs figures now and then.

    `warm` names another stage, whose modules this one begins with.

    Processes that torchrun starts share each step. Each has its own batch, gradients are averaged, and the first
    process writes.
    """

    def __init__(
        self,
        name: str,
        modules: dict[str, nn.Module],
        steps: int,
        rate: float,
        warmup: int = 100,
        warm: str | None = None,
    ) -> None:
        self.path, self.log_path = WORK / f"{name}.pt", WORK / f"{name}.jsonl"
        self.name, self.modules, self.steps, self.rate, self.warmup = name, modules, steps, rate, warmup
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.adamw = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.step, self.seconds = 0, 0.0
        self.first = process() == 0
        if "WORLD_SIZE" in os.environ and not dist.is_initialized():
            dist.init_process_group("gloo")
            atexit.register(dist.destroy_process_group)  # A process that ends within its group may be aborted.
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            for key, module in modules.items():
                module.load_state_dict(state["modules"][key])
            if "adamw" in state:  # A finished nano has only weights, see restore.py.
                self.adamw.load_state_dict(state["adamw"])
                self.step, self.seconds = state["step"], state["seconds"]
        elif warm:
            for key, state in load_modules(warm).items():
                if key in modules:
                    modules[key].load_state_dict(state)
        self._began = time.time() - self.seconds
        self._sums: dict[str, float] = {}
        self._count = 0

    def update(
        self, loss: torch.Tensor, figures: dict[str, float], *, log_every: int = 50, save_every: int = 500
    ) -> None:
        warm = min(1.0, (self.step + 1) / self.warmup)
        rate = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.steps))))
        self.adamw.param_groups[0]["lr"] = rate
        loss.backward()
        if dist.is_initialized():
            self._share_gradients()
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if torch.isfinite(norm):
            self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        self.step += 1
        self._count += 1
        for key, value in figures.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        if self.step % log_every == 0:
            self.log({key: round(value / self._count, 4) for key, value in self._sums.items()})
            self._sums, self._count = {}, 0
        if self.step % save_every == 0 or self.step == self.steps:
            self.save()

    def _share_gradients(self) -> None:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        parts = flat.split([gradient.numel() for gradient in gradients])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def log(self, figures: dict[str, Any]) -> None:
        if not self.first:
            return
        line = {"step": self.step, "seconds": round(time.time() - self._began), **figures}
        with self.log_path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(self.name, line, flush=True)

    def save(self) -> None:
        if not self.first:
            return
        self.seconds = time.time() - self._began
        state = {
            "modules": {key: module.state_dict() for key, module in self.modules.items()},
            "adamw": self.adamw.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)

    @property
    def done(self) -> bool:
        return self.step >= self.steps


@contextmanager
def rounded(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let parameters have the values that bf16 holds, for as long as a loss is computed of them."""
    exact = [(parameter, parameter.data) for parameter in parameters]
    for parameter, data in exact:
        parameter.data = data.bfloat16().float()
    try:
        yield
    finally:
        for parameter, data in exact:
            parameter.data = data


def load_modules(name: str) -> dict[str, dict[str, torch.Tensor]]:
    """Return the state dicts of a stage's modules."""
    modules: dict[str, dict[str, torch.Tensor]] = torch.load(WORK / f"{name}.pt", weights_only=True)["modules"]
    return modules
