"""Adapted layers with one input as one matrix, so that a GPU's training step is fewer and larger products.

A step of one clip is made of thousands of small products, and most of the time goes into starting and ending them. q, k
and v, each with its A and B, take 24 products. Joined they take four. The gradients of A and B are six more, which
nothing waits for: where there is memory, those of all blocks are computed together after the backward pass.

The gates of attention have the input of its queries, and no adapter. Their rows are part of the queries' matrix: alone
they would be two products more, and a sum of gradients.

In shapes N is the rows of the input (clips times tokens), I its columns, O the outputs of all joined layers, and R
their ranks together; o and r are those of one layer. G is the outputs of a layer beside them that has no adapter, or 0.
R and G are rounded up to a multiple of 8.
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


def aligned(rows: int) -> int:
    """Return how many rows a joint matrix has for `rows` that are no layer's own: R for all ranks, G for gates."""
    return -(-rows // _ALIGNED) * _ALIGNED


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

    weight: Tensor | EightBits  # (O + G, I)
    a: Tensor  # (R, I)
    b: Tensor  # (O, R), zeros but for a layer's own rows and ranks
    bias: Tensor  # (O + G,)
    layers: int
    rank: int

    @property
    def beside(self) -> int:
        """G, the outputs that have no A and B."""
        return len(self.bias) - len(self.b)

    def outputs(self, x: Tensor) -> Both:
        """Return x Wᵀ + bias + (x Aᵀ) Bᵀ, (N, O + G), and x Aᵀ, (N, R), for x (N, I)."""
        low, out = x @ self.a.T, linear(x, self.weight, self.bias)
        out[:, : len(self.b)].addmm_(low, self.b.T)
        return out, low

    def input_gradients(self, gradient: Tensor) -> Both:
        """Return g W + (g B) A, (N, I), and g B, (N, R), for a gradient g (N, O + G)."""
        g_low = gradient[:, : len(self.b)] @ self.b
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

    W (O + G, I) and A (R, I) have the layers one above the other. B (O, R) has each layer's scale · B at its own rows
    and ranks, and zeros elsewhere, as there are below it. So one product with the first I columns makes x Wᵀ and x Aᵀ
    of an input, and one with the first O + G rows makes g W and g B of a gradient. A and B are copies in the type that
    is computed in, up to date after `Joints.refresh`. A W in eight bits is no part of the matrix. The gradients of A
    and B are added to those of the layers, in fp32: within the backward pass, or after it by `Joints.gather`, from what
    is `kept`.
    """

    def __init__(
        self,
        layers: Sequence[LoRALinear],
        a: Tensor,
        b: Tensor,
        matrix: Tensor | None,
        aside: Aside,
        gathers: bool,
        kernels: Kernels | None = None,
        beside: nn.Linear | None = None,
    ) -> None:
        """a: (R, I), and b: (O, R), of zeros. matrix: (O + G + R, I + R), of which they are parts, and into which the
        layers' weights move; None for weights in eight bits, which move to one another. gathers, beside: see `Joints`.
        """
        # The layers hold this joint. If it held them, the circle would let them outlive their run.
        self.updates = [layer.update for layer in layers]
        self.matrix, self.aside, self.gathers = matrix, aside, gathers
        # x (N, I), and the gradients of the layers' outputs (N, o).
        self.kept: tuple[Tensor, list[Tensor]] | None = None
        self.adds_wide = a.dtype == torch.float32 or adds_in_fp32(a.device, a.dtype)
        self.inputs, self.rows, self.ranks = _places(layers)
        self.outputs = self.rows[-1].stop
        bases, places = [linear_of(layer) for layer in layers], self.rows
        if beside is not None:
            bases, places = [*bases, beside], [*places, slice(self.outputs, self.outputs + beside.out_features)]
        self._a, self._b = a, b
        self.bias = a.new_zeros(len(b) + len(a) if matrix is None else len(matrix))  # (O + G + R,)
        for base, rows in zip(bases, places, strict=True):
            if matrix is not None:
                matrix[rows, : self.inputs] = base.weight  # (o, I)
                base.weight.data = matrix[rows, : self.inputs]
            if base.bias is not None:
                self.bias[rows] = base.bias
        weight = side_by_side([linear_of(layer).weight for layer in layers]) if matrix is None else matrix
        self.all_outputs = len(self.bias) - len(a)  # O + G
        if isinstance(weight, Tensor):
            weight = weight[: self.all_outputs, : self.inputs]
        self.parts = Parts(weight, a, b, self.bias[: self.all_outputs], len(layers), len(layers[0].lora_A))
        even = {linear_of(layer).out_features for layer in layers}, {len(layer.lora_A) for layer in layers}
        self.kernels = kernels if [len(sizes) for sizes in even] == [1, 1] else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs of x (..., I) side by side, (..., O + G)."""
        return self._product(x, None, False)[0]

    def apart(self, x: Tensor, frozen: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return each layer's outputs (..., o) of x (..., I).

        frozen: (..., O), what W makes of x where that is known already; no gradient of x is then computed. Without one,
        the outputs' gradients need not be side by side, and apart they are never copied.
        """
        return self._product(x, frozen, True)

    def _product(self, x: Tensor, frozen: Tensor | None, apart: bool) -> tuple[Tensor, ...]:
        # Autograd would leave a product of frozen tensors alone, so an A is passed to it.
        a = self.updates[0].a
        result: tuple[Tensor, ...] = _Product.apply(x, a, self, frozen, apart)  # type: ignore[no-untyped-call]
        return result

    def forward(self, x: Tensor) -> Both:
        """Return the outputs (N, O + G) of x (N, I), and x Aᵀ (N, R)."""

        def plain() -> Both:
            if self.matrix is None:
                return self.parts.outputs(x)
            both = torch.addmm(self.bias, x, self.matrix[:, : self.inputs].T)  # (N, I) (I, O + G + R)
            low = both[:, self.all_outputs :]
            both[:, : self.outputs].addmm_(low, self._b.T)  # (N, O) += (N, R) (R, O)
            return both[:, : self.all_outputs], low

        return plain() if self.kernels is None else self.kernels.outputs(self.parts, x, plain)

    def on_top(self, x: Tensor, frozen: Tensor) -> Both:
        """Return the outputs (N, O) of x (N, I) whose frozen part (N, O) is known, and x Aᵀ (N, R)."""

        def plain() -> Both:
            return self.parts.on_top(x, frozen)

        return plain() if self.kernels is None else self.kernels.on_top(self.parts, x, frozen, plain)

    def backward(self, x: Tensor, low: Tensor | None, gradient: Tensor, needs_x: bool) -> Tensor | None:
        """Add to the gradients of A and B, and return that of x, (N, I), if it is needed.

        x: (N, I). low: x Aᵀ, (N, R); None leaves A and B to `Joints.gather`. gradient: that of the outputs, (N, O + G).
        """
        self.aside.join()
        g_x, g_low = self.input_gradients(gradient) if needs_x else (None, self._low_gradients(gradient))
        if low is not None:
            with self.aside.doing(x, low, gradient, g_low):
                for update, rows, ranks in zip(self.updates, self.rows, self.ranks, strict=True):
                    # (r, N) (N, I); the scale is in B
                    _add(_gradient(update.a), g_low[:, ranks].T, x, 1.0, self.adds_wide)
                    # (o, N) (N, r)
                    _add(_gradient(update.b), gradient[:, rows].T, low[:, ranks], update.scale, self.adds_wide)
        return g_x

    def _low_gradients(self, gradient: Tensor) -> Tensor:
        return gradient[:, : self.outputs] @ self._b  # (N, R)

    def input_gradients(self, gradient: Tensor) -> Both:
        """Return the gradient of x, (N, I), and g B, (N, R), for that of the outputs, g (N, O + G)."""

        def plain() -> Both:
            if self.matrix is None:
                return self.parts.input_gradients(gradient)
            both = gradient @ self.matrix[: self.all_outputs]  # (N, I + R)
            g_low = both[:, self.inputs :]
            return torch.addmm(both[:, : self.inputs], g_low, self._a), g_low  # (N, I) + (N, R) (R, I)

        return plain() if self.kernels is None else self.kernels.input_gradients(self.parts, gradient, plain)


class Joints:
    """The same layers of every block, joined block by block; their matrices are parts of one tensor."""

    def __init__(
        self,
        blocks: Sequence[Sequence[LoRALinear]],
        aside: Aside,
        gathers: bool,
        dtype: torch.dtype | None = None,
        kernels: Kernels | None = None,
        beside: Sequence[nn.Linear] = (),
    ) -> None:
        """blocks: the layers with one input, block by block. Those of all blocks have the same shapes and scales.

        gathers: the gradients of A and B are computed for all blocks together, by `gather` after the backward pass.
        dtype: what is computed in, where weights are in eight bits; None for that of the weights. beside: a layer a
        block that has their input and no adapter, or none. Weights in eight bits have none beside them.
        """
        inputs, rows, ranks = _places(blocks[0])
        weight: Tensor = linear_of(blocks[0][0]).weight
        outputs, rank = rows[-1].stop, aligned(ranks[-1].stop)
        matrices: Sequence[Tensor | None]
        if in_eight_bits(weight):
            self.matrices = torch.zeros(len(blocks), rank * (inputs + outputs), dtype=dtype, device=weight.device)
            self.a = self.matrices[:, : rank * inputs].view(-1, rank, inputs)
            self.b = self.matrices[:, rank * inputs :].view(-1, outputs, rank)
            matrices = [None] * len(blocks)
        else:
            all_outputs = outputs + (aligned(beside[0].out_features) if beside else 0)
            # (blocks, O + G + R, I + R)
            self.matrices = weight.new_zeros(len(blocks), all_outputs + rank, inputs + rank)
            self.a, self.b = self.matrices[:, all_outputs:, :inputs], self.matrices[:, :outputs, inputs:]
            matrices = [*self.matrices]
        # (R, I) and (O, R) a block
        gates: Sequence[nn.Linear | None] = beside or [None] * len(blocks)
        each = zip(blocks, self.a, self.b, matrices, gates, strict=True)
        self.of = [Joint(layers, a, b, matrix, aside, gathers, kernels, by) for layers, a, b, matrix, by in each]

    def refresh(self) -> None:
        """Take over A and B as they are now. All blocks are done at once, since the calls are small."""
        first = self.of[0]
        for number, (rows, ranks) in enumerate(zip(first.rows, first.ranks, strict=True)):
            updates = [joint.updates[number] for joint in self.of]
            # (blocks, r, I), then (blocks, o, r)
            self.a[:, ranks] = _stacked([update.a.detach() for update in updates])
            stacked, scale = _stacked([update.b.detach() for update in updates]), updates[0].scale
            self.b[:, rows, ranks] = stacked if scale == 1 else stacked * scale

    @property
    def kept_bytes(self) -> int:
        """The bytes that are kept for `gather`."""
        kept = [joint.kept for joint in self.of if joint.kept is not None]
        return sum(tensor.nbytes for x, gradients in kept for tensor in (x, *gradients))

    @torch.no_grad()
    def gather(self) -> None:
        """Add to the gradients of A and B what the backward pass has left: two products a layer, for all blocks.

        What was kept is given back as it is joined, so that memory has one tensor of each block twice at most.
        """
        first, kept = self.of[0], [joint.kept for joint in self.of if joint.kept is not None]
        for joint in self.of:
            joint.kept = None
        inputs, outputs = [x for x, _ in kept], [gradients for _, gradients in kept]
        kept.clear()
        x = _stacked(inputs)  # (blocks, N, I)
        inputs.clear()
        low = x @ self.a.mT  # (blocks, N, R)
        for number, (rows, ranks) in enumerate(zip(first.rows, first.ranks, strict=True)):
            gradient = torch.stack([gradients.pop(0) for gradients in outputs])  # (blocks, N, o)
            g_low = gradient @ self.b[:, rows, ranks]  # (blocks, N, r); the scale is in B
            updates = [joint.updates[number] for joint in self.of]
            # (blocks, r, N) (blocks, N, I), then (blocks, o, N) (blocks, N, r)
            _add_each([u.a for u in updates], g_low.mT, x, 1.0, first.adds_wide)
            _add_each([u.b for u in updates], gradient.mT, low[..., ranks], updates[0].scale, first.adds_wide)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, joint: Joint, frozen: Tensor | None, apart: bool) -> tuple[Tensor, ...]:
        flat = x.reshape(-1, x.shape[-1])  # (N, I)
        out, low = joint.forward(flat) if frozen is None else joint.on_top(flat, frozen.reshape(-1, joint.outputs))
        ctx.save_for_backward(flat, None if joint.gathers else low)
        ctx.joint, ctx.shape = joint, x.shape
        places = joint.rows if apart else [slice(joint.all_outputs)]
        return tuple(out[:, rows].view(*x.shape[:-1], -1) for rows in places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        flat, low = ctx.saved_tensors  # (N, I), and (N, R) or None
        joint: Joint = ctx.joint
        shape: torch.Size = ctx.shape
        needs_x = ctx.needs_input_grad[0]
        parts = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]  # (N, o) each, or (N, O + G)
        gradient = parts[0] if len(parts) == 1 else None
        if joint.gathers:
            joint.kept = flat.detach(), parts if gradient is None else [gradient[:, rows] for rows in joint.rows]
            if not needs_x:
                return None, None, None, None, None
        g_x = joint.backward(flat, low, torch.cat(parts, dim=1) if gradient is None else gradient, needs_x)
        return None if g_x is None else g_x.view(shape), None, None, None, None


def _places(layers: Sequence[LoRALinear]) -> tuple[int, list[slice], list[slice]]:
    """Return I, and where each layer's outputs lie among O and its ranks among R."""
    rows, ranks = [slice(0)], [slice(0)]
    for layer in layers:
        rows.append(slice(rows[-1].stop, rows[-1].stop + linear_of(layer).out_features))
        ranks.append(slice(ranks[-1].stop, ranks[-1].stop + len(layer.lora_A)))
    return linear_of(layers[0]).in_features, rows[1:], ranks[1:]


def linear_of(layer: LoRALinear) -> nn.Linear:
    assert isinstance(layer.base, nn.Linear)
    return layer.base


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _add_each(parameters: Sequence[nn.Parameter], a: Tensor, b: Tensor, scale: float, adds_wide: bool) -> None:
    """Add scale · a b, (blocks, …), to the gradients of parameters, one a block."""
    gradients = [_gradient(parameter) for parameter in parameters]
    together = _as_one(gradients)
    if together is not None:
        _add(together, a, b, scale, adds_wide)
        return
    product = a.new_zeros(len(a), *gradients[0].shape, dtype=gradients[0].dtype)
    _add(product, a, b, scale, adds_wide)
    for gradient, share in zip(gradients, product, strict=True):
        gradient.add_(share)


def _add(total: Tensor, a: Tensor, b: Tensor, scale: float, adds_wide: bool) -> None:
    """Add scale · a b to a tensor in fp32: of matrices, or of as many pairs of them.

    adds_wide: whether one call does it for narrower factors, too.
    """
    add = torch.addmm if total.ndim == 2 else torch.baddbmm
    if a.dtype == total.dtype:
        add(total, a, b, alpha=scale, out=total)
    elif not adds_wide:
        add(total, a.to(total.dtype), b.to(total.dtype), alpha=scale, out=total)
    else:
        add(total, a, b, out_dtype=torch.float32, alpha=scale, out=total)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors of one shape as one, (tensors, …), which is a view of them where it can be."""
    together = _as_one(tensors)
    return torch.stack(list(tensors)) if together is None else together


def _as_one(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return tensors of one shape as a view, (tensors, …), if they lie at equal distances in one memory.

    Those of one layer in all blocks do, once an `Optimizer` has put all parameters behind one another.
    """
    first, places = tensors[0], [tensor.storage_offset() for tensor in tensors]
    distance = places[1] - places[0] if len(places) > 1 else first.numel()
    memories = {tensor.untyped_storage()._cdata for tensor in tensors}
    if distance < first.numel() or len(memories) > 1 or places != list(range(places[0], places[-1] + 1, distance)):
        return None
    return first.as_strided((len(places), *first.shape), (distance, *first.stride()), places[0])
