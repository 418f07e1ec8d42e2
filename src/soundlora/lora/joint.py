"""Adapted layers with one input as one matrix, so that a GPU's training step is fewer and larger products.

A step of one clip is made of thousands of small products, and most of the time goes into starting and ending them. q, k
and v, each with its A and B, take 24 products. Joined they take four, and six more that nothing waits for.

In shapes N is the rows of the input (clips times tokens), I its columns, O the outputs of all joined layers, and R
their ranks together, rounded up to a multiple of 8; o and r are those of one layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from soundlora.lora.layer import LoRALinear
from soundlora.system.devices import adds_in_fp32

# Kernels read rows of q, k and v in pieces of 16 bytes, which are 8 numbers of bf16, and don't ask where they begin.
_ALIGNED = 8


def aligned(rank: int) -> int:
    """Return the rows and columns R that a joint matrix has for layers whose ranks add up to `rank`."""
    return -(-rank // _ALIGNED) * _ALIGNED


class Aside:
    """A GPU's second stream, for work that the next product does not wait for. Other devices do everything in turn."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._read: tuple[Tensor, ...] = ()

    @contextmanager
    def doing(self, *read: Tensor) -> Iterator[None]:
        """Put the work that is called within onto the stream. The tensors it reads keep their memory until `join`."""
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        self._read = read
        with torch.cuda.stream(self.stream):
            yield

    def join(self) -> None:
        """Let the work that follows wait for the stream."""
        if self.stream is not None and self._read:  # a stream without work is no part of a recording
            torch.cuda.current_stream().wait_stream(self.stream)
            self._read = ()


class Joint:
    """The matrix [[W, B], [A, 0]] of LoRA layers with one input.

    W (O, I) and A (R, I) have the layers one above the other. B (O, R) has each layer's scale · B at its own rows and
    ranks, and zeros elsewhere. So one product with the first I columns makes x Wᵀ and x Aᵀ of an input, and one with
    the first O rows makes g W and g B of a gradient. A and B are copies in W's type, up to date after `Joints.refresh`.
    The gradients of A and B are added to those of the layers, in fp32.
    """

    def __init__(self, layers: Sequence[LoRALinear], matrix: Tensor, aside: Aside) -> None:
        """matrix: (O + R, I + R) of zeros, into which the layers' weights move."""
        # The layers hold this joint. If it held them, the circle would let them outlive their run.
        self.updates = [layer.update for layer in layers]
        self.matrix, self.aside = matrix, aside
        self.adds_wide = matrix.dtype == torch.float32 or adds_in_fp32(matrix.device, matrix.dtype)
        self.inputs, self.rows, self.ranks = _places(layers)
        self.outputs = self.rows[-1].stop
        self.bias = matrix.new_zeros(len(matrix))  # (O + R,)
        # (R, I) and (O, R)
        self._a, self._b = matrix[self.outputs :, : self.inputs], matrix[: self.outputs, self.inputs :]
        for layer, rows in zip(layers, self.rows, strict=True):
            linear = _linear(layer)
            matrix[rows, : self.inputs] = linear.weight  # (o, I)
            linear.weight.data = matrix[rows, : self.inputs]
            if linear.bias is not None:
                self.bias[rows] = linear.bias

    def __call__(self, x: Tensor, frozen: Tensor | None = None) -> Tensor:
        """Return the layers' outputs of x (..., I) side by side, (..., O).

        frozen: (..., O), what W makes of x where that is known already; no gradient of x is then computed.
        """
        # Autograd would leave a product of frozen tensors alone, so an A is passed to it.
        result: Tensor = _Product.apply(x, self.updates[0].a, self, frozen)  # type: ignore[no-untyped-call]
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of x (N, I) and, beside them, x Aᵀ: (N, O + R)."""
        both = torch.addmm(self.bias, x, self.matrix[:, : self.inputs].T)  # (N, I) (I, O + R) → (N, O + R)
        both[:, : self.outputs].addmm_(both[:, self.outputs :], self._b.T)  # (N, O) += (N, R) (R, O)
        return both

    def on_top(self, x: Tensor, frozen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs (N, O) of x (N, I) whose frozen part (N, O) is known, and x Aᵀ (N, R)."""
        low = x @ self._a.T
        return torch.addmm(frozen, low, self._b.T), low

    def backward(self, x: Tensor, low: Tensor, gradient: Tensor, needs_x: bool) -> Tensor | None:
        """Add to the gradients of A and B, and return that of x, (N, I), if it is needed.

        x: (N, I). low: x Aᵀ, (N, R). gradient: that of the outputs, (N, O).
        """
        self.aside.join()
        both = gradient @ self.matrix[: self.outputs, 0 if needs_x else self.inputs :]  # (N, I + R), else (N, R)
        g_low = both[:, self.inputs if needs_x else 0 :]  # (N, R)
        with self.aside.doing(x, low, gradient, both):
            for update, rows, ranks in zip(self.updates, self.rows, self.ranks, strict=True):
                # (r, N) (N, I); the scale is in the matrix's B
                _accumulate(update.a, g_low[:, ranks].T, x, 1.0, self.adds_wide)
                # (o, N) (N, r)
                _accumulate(update.b, gradient[:, rows].T, low[:, ranks], update.scale, self.adds_wide)
        return torch.addmm(both[:, : self.inputs], g_low, self._a) if needs_x else None  # (N, I) + (N, R) (R, I)


class Joints:
    """The same layers of every block, joined block by block; their matrices are parts of one tensor."""

    def __init__(self, blocks: Sequence[Sequence[LoRALinear]], aside: Aside) -> None:
        """blocks: the layers with one input, block by block. Those of all blocks have the same shapes."""
        inputs, rows, ranks = _places(blocks[0])
        weight = _linear(blocks[0][0]).weight
        rank = aligned(ranks[-1].stop)
        self.matrices = weight.new_zeros(len(blocks), rows[-1].stop + rank, inputs + rank)  # (blocks, O + R, I + R)
        self.of = [Joint(layers, matrix, aside) for layers, matrix in zip(blocks, self.matrices, strict=True)]

    def refresh(self) -> None:
        """Take over A and B as they are now. All blocks are done at once, since the calls are small."""
        first = self.of[0]
        for number, (rows, ranks) in enumerate(zip(first.rows, first.ranks, strict=True)):
            updates = [joint.updates[number] for joint in self.of]
            a = slice(first.outputs + ranks.start, first.outputs + ranks.stop)
            b = slice(first.inputs + ranks.start, first.inputs + ranks.stop)
            # (blocks, r, I), then (blocks, o, r)
            self.matrices[:, a, : first.inputs] = torch.stack([update.a.detach() for update in updates])
            stacked = torch.stack([update.b.detach() for update in updates])
            scales = [update.scale for update in updates]
            if any(scale != 1 for scale in scales):
                stacked = stacked * torch.tensor(scales, device=stacked.device).view(-1, 1, 1)
            self.matrices[:, rows, b] = stacked


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, joint: Joint, frozen: Tensor | None) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (N, I)
        if frozen is not None:
            out, low = joint.on_top(flat, frozen.reshape(-1, joint.outputs))
            ctx.save_for_backward(flat, low)
            ctx.joint, ctx.shape = joint, x.shape
            return out.view(frozen.shape)
        both = joint.forward(flat)  # (N, O + R)
        ctx.save_for_backward(flat, both[:, joint.outputs :])
        ctx.joint, ctx.shape = joint, x.shape
        return both[:, : joint.outputs].view(*x.shape[:-1], -1)  # (..., O)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        flat, low = ctx.saved_tensors  # (N, I), (N, R)
        joint: Joint = ctx.joint
        shape: torch.Size = ctx.shape
        g_x = joint.backward(flat, low, gradient.reshape(-1, joint.outputs), ctx.needs_input_grad[0])
        return None if g_x is None else g_x.view(shape), None, None, None


def _places(layers: Sequence[LoRALinear]) -> tuple[int, list[slice], list[slice]]:
    """Return I, and where each layer's outputs lie among O and its ranks among R."""
    rows, ranks = [slice(0)], [slice(0)]
    for layer in layers:
        rows.append(slice(rows[-1].stop, rows[-1].stop + _linear(layer).out_features))
        ranks.append(slice(ranks[-1].stop, ranks[-1].stop + len(layer.lora_A)))
    return _linear(layers[0]).in_features, rows[1:], ranks[1:]


def _linear(layer: LoRALinear) -> nn.Linear:
    assert isinstance(layer.base, nn.Linear)
    return layer.base


def _accumulate(parameter: nn.Parameter, a: Tensor, b: Tensor, scale: float, adds_wide: bool) -> None:
    """Add scale · a b to the parameter's gradient, which is fp32.

    adds_wide: whether one call does it for narrower factors, too.
    """
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if a.dtype == parameter.dtype:
        parameter.grad.addmm_(a, b, alpha=scale)
    elif not adds_wide:
        parameter.grad.addmm_(a.to(parameter.dtype), b.to(parameter.dtype), alpha=scale)
    else:
        torch.addmm(parameter.grad, a, b, out_dtype=torch.float32, alpha=scale, out=parameter.grad)
