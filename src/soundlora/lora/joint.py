"""Adapted layers with one input as one matrix, so that a GPU's training step is fewer and larger products.

A step of one clip is made of thousands of small products, and most of the time goes into starting and ending them. q, k
and v, each with its A and B, take 24 products. Joined they take four, and six more that nothing waits for.

In shapes N is the rows of the input (clips times tokens), I its columns, O the outputs of all joined layers, and R
their ranks together, rounded up to a multiple of 8; o and r are those of one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from soundlora.lora.layer import LoRALinear
from soundlora.model.quantize import EightBits, in_eight_bits, linear, linear_backward, side_by_side
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


Both = tuple[Tensor, Tensor]


class Parts(NamedTuple):
    """What a joint's products are made of. Each layer has o = O / layers outputs and `rank` ranks, in their order."""

    weight: Tensor | EightBits  # (O, I)
    a: Tensor  # (R, I)
    b: Tensor  # (O, R), zeros but for a layer's own rows and ranks
    bias: Tensor  # (O,)
    layers: int
    rank: int

    def outputs(self, x: Tensor) -> Both:
        """Return x Wᵀ + bias + (x Aᵀ) Bᵀ, (N, O), and x Aᵀ, (N, R), for x (N, I)."""
        low = x @ self.a.T
        return linear(x, self.weight, self.bias).addmm_(low, self.b.T), low

    def input_gradients(self, gradient: Tensor) -> Both:
        """Return g W + (g B) A, (N, I), and g B, (N, R), for a gradient g (N, O)."""
        g_low = gradient @ self.b
        return linear_backward(gradient, self.weight).addmm_(g_low, self.a), g_low

    def on_top(self, x: Tensor, frozen: Tensor) -> Both:
        """Return frozen + (x Aᵀ) Bᵀ, (N, O), and x Aᵀ, (N, R), for x (N, I) and frozen (N, O)."""
        low = x @ self.a.T
        return torch.addmm(frozen, low, self.b.T), low


class Kernels(Protocol):
    """Whoever makes the products of `Parts` otherwise. `plain` makes them where that can't be done, or is no faster."""

    def outputs(self, parts: Parts, x: Tensor, plain: Callable[[], Both]) -> Both: ...

    def input_gradients(self, parts: Parts, gradient: Tensor, plain: Callable[[], Both]) -> Both: ...

    def on_top(self, parts: Parts, x: Tensor, frozen: Tensor, plain: Callable[[], Both]) -> Both: ...


class Joint:
    """The matrix [[W, B], [A, 0]] of LoRA layers with one input.

    W (O, I) and A (R, I) have the layers one above the other. B (O, R) has each layer's scale · B at its own rows and
    ranks, and zeros elsewhere. So one product with the first I columns makes x Wᵀ and x Aᵀ of an input, and one with
    the first O rows makes g W and g B of a gradient. A and B are copies in the type that is computed in, up to date
    after `Joints.refresh`. A W in eight bits is no part of the matrix. The gradients of A and B are added to those of
    the layers, in fp32.
    """

    def __init__(
        self,
        layers: Sequence[LoRALinear],
        a: Tensor,
        b: Tensor,
        matrix: Tensor | None,
        aside: Aside,
        kernels: Kernels | None = None,
    ) -> None:
        """a: (R, I), and b: (O, R), of zeros. matrix: (O + R, I + R), of which they are parts, and into which the
        layers' weights move; None for weights in eight bits, which move to one another.
        """
        # The layers hold this joint. If it held them, the circle would let them outlive their run.
        self.updates = [layer.update for layer in layers]
        self.matrix, self.aside = matrix, aside
        self.adds_wide = a.dtype == torch.float32 or adds_in_fp32(a.device, a.dtype)
        self.inputs, self.rows, self.ranks = _places(layers)
        self.outputs = self.rows[-1].stop
        self._a, self._b = a, b
        self.bias = a.new_zeros(len(b) + len(a))  # (O + R,)
        for layer, rows in zip(layers, self.rows, strict=True):
            base = _linear(layer)
            if matrix is not None:
                matrix[rows, : self.inputs] = base.weight  # (o, I)
                base.weight.data = matrix[rows, : self.inputs]
            if base.bias is not None:
                self.bias[rows] = base.bias
        weight = side_by_side([_linear(layer).weight for layer in layers]) if matrix is None else matrix
        if isinstance(weight, Tensor):
            weight = weight[: self.outputs, : self.inputs]
        self.parts = Parts(weight, a, b, self.bias[: self.outputs], len(layers), len(layers[0].lora_A))
        even = {_linear(layer).out_features for layer in layers}, {len(layer.lora_A) for layer in layers}
        self.kernels = kernels if [len(sizes) for sizes in even] == [1, 1] else None

    def __call__(self, x: Tensor, frozen: Tensor | None = None) -> Tensor:
        """Return the layers' outputs of x (..., I) side by side, (..., O).

        frozen: (..., O), what W makes of x where that is known already; no gradient of x is then computed.
        """
        # Autograd would leave a product of frozen tensors alone, so an A is passed to it.
        result: Tensor = _Product.apply(x, self.updates[0].a, self, frozen)  # type: ignore[no-untyped-call]
        return result

    def forward(self, x: Tensor) -> Both:
        """Return the outputs (N, O) of x (N, I), and x Aᵀ (N, R)."""

        def plain() -> Both:
            if self.matrix is None:
                return self.parts.outputs(x)
            both = torch.addmm(self.bias, x, self.matrix[:, : self.inputs].T)  # (N, I) (I, O + R) → (N, O + R)
            both[:, : self.outputs].addmm_(both[:, self.outputs :], self._b.T)  # (N, O) += (N, R) (R, O)
            return both[:, : self.outputs], both[:, self.outputs :]

        return plain() if self.kernels is None else self.kernels.outputs(self.parts, x, plain)

    def on_top(self, x: Tensor, frozen: Tensor) -> Both:
        """Return the outputs (N, O) of x (N, I) whose frozen part (N, O) is known, and x Aᵀ (N, R)."""

        def plain() -> Both:
            return self.parts.on_top(x, frozen)

        return plain() if self.kernels is None else self.kernels.on_top(self.parts, x, frozen, plain)

    def backward(self, x: Tensor, low: Tensor, gradient: Tensor, needs_x: bool) -> Tensor | None:
        """Add to the gradients of A and B, and return that of x, (N, I), if it is needed.

        x: (N, I). low: x Aᵀ, (N, R). gradient: that of the outputs, (N, O).
        """
        self.aside.join()
        g_x, g_low = self.input_gradients(gradient) if needs_x else (None, gradient @ self._b)  # (N, I), (N, R)
        with self.aside.doing(x, low, gradient, g_low):
            for update, rows, ranks in zip(self.updates, self.rows, self.ranks, strict=True):
                # (r, N) (N, I); the scale is in the matrix's B
                _accumulate(update.a, g_low[:, ranks].T, x, 1.0, self.adds_wide)
                # (o, N) (N, r)
                _accumulate(update.b, gradient[:, rows].T, low[:, ranks], update.scale, self.adds_wide)
        return g_x

    def input_gradients(self, gradient: Tensor) -> Both:
        """Return the gradient of x, (N, I), and g B, (N, R), for that of the outputs, g (N, O)."""

        def plain() -> Both:
            if self.matrix is None:
                return self.parts.input_gradients(gradient)
            both = gradient @ self.matrix[: self.outputs]  # (N, I + R)
            g_low = both[:, self.inputs :]
            return torch.addmm(both[:, : self.inputs], g_low, self._a), g_low  # (N, I) + (N, R) (R, I)

        return plain() if self.kernels is None else self.kernels.input_gradients(self.parts, gradient, plain)


class Joints:
    """The same layers of every block, joined block by block; their matrices are parts of one tensor."""

    def __init__(
        self,
        blocks: Sequence[Sequence[LoRALinear]],
        aside: Aside,
        dtype: torch.dtype | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        """blocks: the layers with one input, block by block. Those of all blocks have the same shapes.

        dtype: what is computed in, where weights are in eight bits; None for that of the weights.
        """
        inputs, rows, ranks = _places(blocks[0])
        weight: Tensor = _linear(blocks[0][0]).weight
        outputs, rank = rows[-1].stop, aligned(ranks[-1].stop)
        matrices: Sequence[Tensor | None]
        if in_eight_bits(weight):
            self.matrices = torch.zeros(len(blocks), rank * (inputs + outputs), dtype=dtype, device=weight.device)
            self.a = self.matrices[:, : rank * inputs].view(-1, rank, inputs)
            self.b = self.matrices[:, rank * inputs :].view(-1, outputs, rank)
            matrices = [None] * len(blocks)
        else:
            self.matrices = weight.new_zeros(len(blocks), outputs + rank, inputs + rank)  # (blocks, O + R, I + R)
            self.a, self.b = self.matrices[:, outputs:, :inputs], self.matrices[:, :outputs, inputs:]
            matrices = [*self.matrices]
        each = zip(blocks, self.a, self.b, matrices, strict=True)  # (R, I) and (O, R) a block
        self.of = [Joint(layers, a, b, matrix, aside, kernels) for layers, a, b, matrix in each]

    def refresh(self) -> None:
        """Take over A and B as they are now. All blocks are done at once, since the calls are small."""
        first = self.of[0]
        for number, (rows, ranks) in enumerate(zip(first.rows, first.ranks, strict=True)):
            updates = [joint.updates[number] for joint in self.of]
            # (blocks, r, I), then (blocks, o, r)
            self.a[:, ranks] = torch.stack([update.a.detach() for update in updates])
            stacked = torch.stack([update.b.detach() for update in updates])
            scales = [update.scale for update in updates]
            if any(scale != 1 for scale in scales):
                stacked = stacked * torch.tensor(scales, device=stacked.device).view(-1, 1, 1)
            self.b[:, rows, ranks] = stacked


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, joint: Joint, frozen: Tensor | None) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (N, I)
        out, low = joint.forward(flat) if frozen is None else joint.on_top(flat, frozen.reshape(-1, joint.outputs))
        ctx.save_for_backward(flat, low)
        ctx.joint, ctx.shape = joint, x.shape
        return out.view(*x.shape[:-1], -1)  # (..., O)

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
