"""AdamW whose two moments take a byte a number each, instead of four (Dettmers et al., arXiv:2110.02861)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 256  # numbers that share a scale, which is the largest of them
# So many numbers are stepped at once, so that no more are ever held in fp32.
_CHUNK = 1 << 20
# A code c of at most n stands for scale · (c / n)^power. Codes are dense near zero, where most numbers are.
_FIRST_POWER, _FIRST_CODES = 3, 127
_SECOND_POWER, _SECOND_CODES = 6, 255
_GOLDEN, _PLASTIC = 0.6180339887, 0.7548776662


class AdamW8bit(torch.optim.Optimizer):
    """AdamW with torch's defaults for flat parameters, one a group.

    A number whose gradients are a thousandth of the largest beside it is still stepped as far as by torch's.

    In most steps a moment moves by less than the distance between two codes, and would never move at all if it were
    rounded to the nearest one. So it is rounded up in as large a share of the steps as it lies above its code. An
    offset between 0 and 1 decides that: it is evenly spread over steps and places, and follows from the number of the
    step, so that a resumed run goes on to the bit.
    """

    def __init__(
        self,
        parameters: nn.Parameter | list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        groups = [{"params": [parameters]}] if isinstance(parameters, nn.Parameter) else parameters
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        for group in self.param_groups:
            (parameter,) = group["params"]
            codes, scales = (-(-parameter.numel() // BLOCK), BLOCK), (-(-parameter.numel() // BLOCK), 1)
            self.state[parameter] = {
                "step": 0,
                "first": torch.zeros(codes, dtype=torch.int8, device=parameter.device),
                "first_scale": torch.zeros(scales, device=parameter.device),
                "second": torch.zeros(codes, dtype=torch.uint8, device=parameter.device),
                "second_scale": torch.zeros(scales, device=parameter.device),
            }

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Do one update, or nothing where there is no gradient. closure: it is ignored."""
        for group in self.param_groups:
            self._step(group)

    def _step(self, group: dict[str, Any]) -> None:
        (parameter,) = group["params"]
        if parameter.grad is None:
            return
        state = self.state[parameter]
        state["step"] += 1
        beta1, beta2 = group["betas"]
        rate, bias1, bias2 = group["lr"], 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        place = torch.arange(BLOCK, device=parameter.device)
        offset = (state["step"] * _GOLDEN + place * _PLASTIC) % 1  # (BLOCK,)
        values, gradients = parameter.view(-1), parameter.grad.view(-1)
        for start in range(0, values.numel(), _CHUNK):
            value, gradient = values[start : start + _CHUNK], gradients[start : start + _CHUNK]
            rows = slice(start // BLOCK, start // BLOCK + -(-value.numel() // BLOCK))
            spare = -value.numel() % BLOCK
            gradient = F.pad(gradient, (0, spare)).view(-1, BLOCK)  # (blocks, BLOCK)
            first, second = state["first"][rows], state["second"][rows]  # (blocks, BLOCK)
            first_scale, second_scale = state["first_scale"][rows], state["second_scale"][rows]  # (blocks, 1)
            m = (first / _FIRST_CODES).pow_(_FIRST_POWER).mul_(first_scale)  # (blocks, BLOCK), fp32
            v = (second / _SECOND_CODES).pow_(_SECOND_POWER).mul_(second_scale)  # (blocks, BLOCK), fp32
            m.lerp_(gradient, 1 - beta1)
            v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            update = m / (v / bias2).sqrt_().add_(group["eps"])  # (blocks, BLOCK)
            value.mul_(1 - rate * group["weight_decay"])
            value.sub_(update.flatten()[: value.numel()], alpha=rate / bias1)
            codes = _encode(m.abs(), first_scale, _FIRST_POWER, _FIRST_CODES, offset)
            first.copy_(codes.copysign_(m))
            # A code of zero would let a number of a small gradient be stepped as far as its first moment says.
            second.copy_(_encode(v, second_scale, _SECOND_POWER, _SECOND_CODES, offset).clamp_min_(1))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the moments, whose codes keep their types."""
        super().load_state_dict(state_dict)
        # torch has made every state as wide as its parameter.
        for state in self.state.values():
            state["first"] = state["first"].to(torch.int8)
            state["second"] = state["second"].to(torch.uint8)


def _encode(size: Tensor, scale: Tensor, power: int, codes: int, offset: Tensor) -> Tensor:
    """Return the codes, as floats, of numbers ≥ 0 (blocks, BLOCK). Each block's largest goes to `scale` (blocks, 1)."""
    torch.amax(size, dim=1, keepdim=True, out=scale)
    share = size / scale.clamp_min(torch.finfo(torch.float32).tiny)
    return share.pow_(1 / power).mul_(codes).add_(offset).floor_().clamp_(max=codes)
