"""The optimisers that a training may take: what each is made of, what it needs, and the memory it holds."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.training.adamw8bit import BLOCK, AdamW8bit
from soundlora.training.average import Swap
from soundlora.wording import setting, using

OPTIMIZERS = ("adamw", "adamw8bit", "adafactor", "prodigy", "schedulefree")
_PACKAGES = {"prodigy": "prodigyopt", "schedulefree": "schedulefree"}
_DECAY = 0.01
_SLICE = 11  # Prodigy estimates its rate from every so many numbers, as its authors advise.
_LEAST_FACTOR = 0.01


def check_optimizer(kind: str) -> None:
    """Raise InputError unless `kind` is one of OPTIMIZERS."""
    if kind not in OPTIMIZERS:
        raise InputError(f"optimizer is {kind!r}, but it must be one of {', '.join(OPTIMIZERS)}.", field="optimizer")


def check_use(kind: str, learning_rate: float, b_rate: float, average: bool) -> None:
    """Raise InputError when a training with these settings can't take the optimiser, or its package is missing."""
    package = _PACKAGES.get(kind)
    if package is not None and importlib.util.find_spec(package) is None:
        raise InputError(
            f"{using('optimizer', kind)} needs the package {package}; install it with: pip install "
            '"soundlora[optimizers]".',
            field="optimizer",
        )
    if kind == "prodigy" and learning_rate < _LEAST_FACTOR:
        raise InputError(
            f"{setting('learning_rate')} is {learning_rate:g}, but prodigy finds the rate itself and takes a factor of "
            f"it; use {using('learning_rate', 1)}.",
            field="learning_rate",
        )
    if kind == "prodigy" and b_rate != 1:
        raise InputError(
            f"{setting('b_rate')} is {b_rate:g}, but prodigy finds one rate for all; leave it out, or take another "
            "optimizer.",
            field="b_rate",
        )
    if kind == "schedulefree" and not average:
        raise InputError(
            f"{using('average', False)} and {using('optimizer', kind)} contradict each other: its mean is what it "
            "learns; leave one of them out.",
            field="average",
        )


def made(kind: str, groups: Sequence[Sequence[nn.Parameter]], learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimiser of groups of parameters.

    Raises ImportError where its package is missing.
    """
    listed: list[dict[str, Any]] = [{"params": list(group)} for group in groups]
    if kind == "adamw8bit":
        return AdamW8bit(listed, lr=learning_rate)
    if kind == "adafactor":
        # With an ε₂ of 1 a step is as far as the rate says, and not a share of the weights, which begin at zero in B.
        # Matrix by matrix, it needs no second copy of all gradients.
        return torch.optim.Adafactor(listed, lr=learning_rate, eps=(None, 1.0), weight_decay=_DECAY, foreach=False)
    if kind == "prodigy":
        from prodigyopt import Prodigy

        prodigy: torch.optim.Optimizer = Prodigy(listed, lr=learning_rate, use_bias_correction=True, slice_p=_SLICE)
        for group in prodigy.param_groups:
            group["weight_decay"] = _DECAY  # said at first, it would be printed
        return prodigy
    if kind == "schedulefree":
        from schedulefree import AdamWScheduleFree

        free: Any = AdamWScheduleFree(listed, lr=learning_rate, weight_decay=_DECAY)
        free.train()
        return free  # type: ignore[no-any-return]
    return torch.optim.AdamW(listed, lr=learning_rate, fused=True)


def factors_matrices(kind: str) -> bool:
    """Say whether an optimiser needs the matrices themselves, instead of all their numbers in a row."""
    return kind == "adafactor"


def found_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Return the learning rate of a step for which `rate` was set: Prodigy multiplies it by the one it has found."""
    found: float = optimizer.param_groups[0].get("d", 1.0)
    return rate * found


def bytes_held(kind: str, numbers: int, sides: int) -> float:
    """Return the bytes of an optimiser's state. numbers: of all matrices. sides: their rows and columns together."""
    if kind == "adamw8bit":  # a byte a number for either moment, and an fp32 scale for each BLOCK
        return numbers * (2 + 8 / BLOCK)
    if kind == "adafactor":
        return 4 * sides
    if kind == "prodigy":  # two moments, and of every so many numbers the first one and a sum
        return numbers * (8 + 8 / _SLICE)
    return 8 * numbers


class FreeMean(Swap):
    """The weights that schedule-free AdamW has learnt (Defazio et al. 2024, arXiv:2405.15682).

    The parameter holds y, where gradients are taken. What is heard, measured and saved is x, the mean of all steps. The
    optimiser's own way there and back rounds, and a run that is resumed has not gone it; this one does not.
    """

    def __init__(self, parameter: Tensor, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(parameter)
        self._optimizer = optimizer

    @contextmanager
    def used(self) -> Iterator[None]:
        self._restore()
        self.values = self._mean()
        try:
            with super().used():
                yield
        finally:
            self.values = self.values[:0]

    def _mean(self) -> Tensor:
        pieces = []
        for group in self._optimizer.param_groups:
            for p in group["params"]:
                z = self._optimizer.state[p].get("z", p.data)
                pieces.append(p.detach().lerp(z, 1 - 1 / group["betas"][0]))
        return torch.cat(pieces)
