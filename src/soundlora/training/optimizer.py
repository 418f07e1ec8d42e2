"""The optimiser of a training, AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101) unless another one is asked for.

It has clipping and a schedule, linear as the reference trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from soundlora.training.average import Average
from soundlora.training.optimizers import FreeMean, factors_matrices, found_rate, made

CLIP_NORM = 1.0
_FINAL_FACTOR = 0.1  # of the learning rate, reached after the last step


class Optimizer:
    """An optimiser with its libraries' defaults, on all parameters as one flat one; Adafactor takes the matrices.

    The gradient's norm is clipped to 1.0; the learning rate falls to a tenth over `steps`, or stays.
    kind: one of OPTIMIZERS. The moments of adamw8bit take a byte a number each, instead of four.
    average: keep the weights' running mean as well, see `averaged`.
    schedule: linear or constant.
    faster: parameters whose rate is `factor` times that of the others (LoRA+, Hayou et al. 2024, arXiv:2402.12354).
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        learning_rate: float,
        steps: int,
        kind: str = "adamw",
        *,
        average: bool = False,
        schedule: str = "linear",
        faster: Sequence[nn.Parameter] = (),
        factor: float = 1.0,
    ) -> None:
        self.learning_rate, self.steps, self.schedule = learning_rate, steps, schedule
        self.step_number = 0
        if factor == 1:
            faster = ()
        others = _without(parameters, faster)
        self.parameter = _flatten([*others, *faster])
        groups: list[Sequence[nn.Parameter]] = [others, faster] if faster else [others]
        if not factors_matrices(kind):
            first = sum(p.numel() for p in others)
            groups = [[part] for part in _parts(self.parameter, first)] if faster else [[self.parameter]]
        self.factors = [1.0, factor][: len(groups)]
        self.adamw = made(kind, groups, learning_rate)
        self.average = Average(self.parameter) if average and kind != "schedulefree" else None
        self._mean = FreeMean(self.parameter, self.adamw) if kind == "schedulefree" else self.average
        # The learning rate and the mean's share, on the device, once `begin` was called.
        self._rate: Tensor | None = None
        self._share: Tensor | None = None

    @property
    def gradient(self) -> Tensor:
        """The gradient of all parameters, flat, (numbers,)."""
        gradient = self.parameter.grad
        assert gradient is not None
        return gradient

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        progress = 0.0 if self.schedule == "constant" else min(step / self.steps, 1.0)
        return self.learning_rate * (1 + (_FINAL_FACTOR - 1) * progress)

    def step(self) -> tuple[float, float]:
        """Clip, update, clear the gradients. Return the learning rate used and the gradient's norm before clipping.

        A norm that is not finite is returned, and nothing is updated.
        """
        norm = float(nn.utils.clip_grad_norm_([self.parameter], CLIP_NORM))
        rate = self.rate(self.step_number)
        if not math.isfinite(norm):
            return rate, norm
        for group, factor in zip(self.adamw.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=False)  # the parameters' gradients are views of it, so it has to stay
        self.step_number += 1
        if self.average is not None:
            self.average.update(Average.share(self.step_number))
        return found_rate(self.adamw, rate), norm

    @property
    def advances(self) -> bool:
        """Whether `advance` takes the place of `step`: on a GPU, for AdamW with one rate for all."""
        plain = isinstance(self.adamw, torch.optim.AdamW) and len(self.factors) == 1
        return self.parameter.device.type == "cuda" and plain

    def begin(self) -> float:
        """Bring to the device what the next `advance` depends on, and return the learning rate.

        The numbers lie where they lay before, since a recording of `advance` reads them there.
        """
        rate, share = self.rate(self.step_number), Average.share(self.step_number + 1)
        if self._rate is None or self._share is None:
            self._rate, self._share = (torch.zeros((), device=self.parameter.device) for _ in range(2))
        # A state that was loaded has brought a group of its own.
        self.adamw.param_groups[0].update(lr=self._rate, capturable=True)
        self._rate.fill_(rate)
        self._share.fill_(share)
        return rate

    def advance(self, loss: Tensor) -> Tensor:
        """Do what `step` does without reading anything back, after `begin`, so that a GPU can record it.

        loss: () of the step. Returns it and the gradient's norm before clipping, (2,), on the device. Where one of them
        is not finite, nothing is updated but the gradient, which is cleared. Call `done` once that is known.
        """
        assert self._share is not None
        norm = nn.utils.clip_grad_norm_([self.parameter], CLIP_NORM)
        diverged = 1 - (loss.isfinite() & norm.isfinite()).float()  # ()
        # Where it is 1, torch's kernel changes nothing.
        self.adamw.found_inf = diverged  # type: ignore[attr-defined]
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=False)
        if self.average is not None:
            self.average.update(self._share * (1 - diverged))
        return torch.stack((loss, norm.to(loss.dtype)))

    def done(self) -> None:
        """Count the step that `advance` took."""
        self.step_number += 1

    def averaged(self) -> AbstractContextManager[None]:
        """Let the parameters be their running mean within the block; without one they stay as they are."""
        return nullcontext() if self._mean is None else self._mean.used()

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, the number of steps done and the running mean, for a checkpoint."""
        adamw = self.adamw.state_dict()
        if self._rate is not None:  # a state that any machine takes up
            adamw["param_groups"][0].update(lr=self.rate(self.step_number), capturable=False)
        state = {"adamw": adamw, "step_number": self.step_number}
        return state if self.average is None else state | {"average": self.average.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of an optimiser with the same settings. The parameters are to be restored before it."""
        self.adamw.load_state_dict(state["adamw"])
        self.step_number = state["step_number"]
        if self.average is not None:
            # States of earlier versions have no mean.
            self.average.values.copy_(state.get("average", self.parameter.data))


def _without(parameters: Sequence[nn.Parameter], some: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    left_out = {id(p) for p in some}
    return [p for p in parameters if id(p) not in left_out]


def _parts(flat: nn.Parameter, first: int) -> list[nn.Parameter]:
    """Return the first numbers of a flat parameter and the others, as two that share its memory and its gradient."""
    assert flat.grad is not None
    parts = []
    for values, gradient in zip(flat.data.tensor_split([first]), flat.grad.tensor_split([first]), strict=True):
        part = nn.Parameter(values)
        part.grad = gradient
        parts.append(part)
    return parts


def _flatten(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Return one parameter (numbers,), of whose memory and gradient the others become views.

    An update then is a few calls, not hundreds.
    """
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        end = start + p.numel()
        p.data = flat.data[start:end].view_as(p)
        p.grad = flat.grad[start:end].view_as(p)
        start = end
    return flat
