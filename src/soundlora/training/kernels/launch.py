"""Calls the kernels of `language.py` for the products of a joint. Whoever imports this module needs Triton.

In shapes N is the rows of the input, I its columns, O the outputs of all joined layers, R their ranks together, and G
the outputs beside them, which have no adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from soundlora.lora.joint import Both, Parts
from soundlora.model.quantize import EightBits
from soundlora.training.kernels import language
from soundlora.training.kernels.notice import tell
from soundlora.training.kernels.tiles import Choice, Shape, Tiles, rows_of, table, tuned_file

# The largest error of a kernel, as a share of the result's norm. Rounding a bf16 result gives 0.002.
_BOUNDS = {torch.bfloat16: 1e-2, torch.float32: 1e-5}
_STEPS_A_SHARE = 4  # with fewer, a program's loads have no time to run ahead
_LEAST_RANK = 16  # that tensor cores take


def on_card(device: torch.device, tunes: bool) -> Fused:
    """Return the kernels for an NVIDIA GPU. Raises what Triton raises where it doesn't work."""
    units = torch.cuda.get_device_properties(device).multi_processor_count
    file = tuned_file(torch.cuda.get_device_name(device), triton.__version__)
    timer = _milliseconds if tunes else None
    return Fused(device, units, Choice(table(torch.cuda.get_device_capability(device)), file, timer))


def _milliseconds(call: Callable[[], object]) -> float:
    return float(triton.testing.do_bench(call, warmup=5, rep=20, return_mode="median"))


class Fused:
    """Makes each product of a joint by one kernel. It is `lora.joint.Kernels`.

    At the first call for a shape the tile sizes are chosen, and what comes out is held against the plain products. That
    is done before the step is recorded, and never while it is. If a kernel can't be had, or is wrong, a sentence says
    so, and the plain products take over for good.
    """

    def __init__(self, device: torch.device, units: int, choice: Choice) -> None:
        """units: the programs that the device carries out at a time."""
        self.units, self.choice, self.failed = units, choice, False
        self._chosen: dict[Shape, Tiles | None] = {}
        # Shared tiles are at most as many as units. Each counter is at 0 again when its tile is done.
        self._done = torch.zeros(units, dtype=torch.int32, device=device)

    def outputs(self, parts: Parts, x: Tensor, plain: Callable[[], Both]) -> Both:
        return self._by(self._outputs, Parts.outputs, plain, parts, x)

    def input_gradients(self, parts: Parts, gradient: Tensor, plain: Callable[[], Both]) -> Both:
        return self._by(self._input_gradients, Parts.input_gradients, plain, parts, gradient)

    def on_top(self, parts: Parts, x: Tensor, frozen: Tensor, plain: Callable[[], Both]) -> Both:
        return self._by(self._on_top, Parts.on_top, plain, parts, x, frozen)

    def _by(
        self,
        kernel: Callable[..., Both],
        exact: Callable[..., Both],
        plain: Callable[[], Both],
        parts: Parts,
        *given: Tensor,
    ) -> Both:
        """Return what a kernel makes of parts and tensors (N, ...), or else what `plain` makes.

        exact: it makes the same of any parts.
        """
        made = None
        if not self.failed:
            try:
                given = tuple(tensor if tensor.stride(1) == 1 else tensor.contiguous() for tensor in given)
                tiles = self._tiles(kernel, exact, plain, parts, *given)
                made = None if tiles is None else kernel(tiles, parts, *given)
            except Exception as error:  # of Triton, its compiler, the driver or the check below
                self.failed = True
                tell(error)
        return plain() if made is None else made

    def _tiles(
        self,
        kernel: Callable[..., Both],
        exact: Callable[..., Both],
        plain: Callable[[], Both],
        parts: Parts,
        *given: Tensor,
    ) -> Tiles | None:
        """Return the tiles for these shapes, None where the plain products are to be taken."""
        shape = _shape(exact.__name__, parts, given[0])
        if shape not in self._chosen:
            if _is_recording():
                return None
            tiles = self.choice.of(shape, lambda tiles: kernel(tiles, parts, *given), plain)
            if tiles is not None:
                some = _with_a_large_b(parts)
                _check(shape.kernel, kernel(tiles, some, *given), exact(some, *given))
            self._chosen[shape] = tiles
        return self._chosen[shape]

    def _outputs(self, tiles: Tiles, parts: Parts, x: Tensor) -> Both:
        (rows, inputs), outputs = x.shape, len(parts.b) // parts.layers
        out, low = x.new_empty(rows, len(parts.bias)), _low(parts, x)
        tiles = _in_numbers(tiles, x)
        sides = triton.cdiv(outputs, tiles.side) * parts.layers + triton.cdiv(parts.beside, tiles.side)
        count = triton.cdiv(rows, tiles.rows) * sides
        shares, sizes = self._sizes(tiles, parts, count, inputs, inputs)
        sums = _sums(x, count, shares, (tiles.side + sizes["RANKS"]) * tiles.rows)
        w, scale = _stored(parts)
        language.outputs[(count, shares)](
            *(x, w, scale, parts.a, parts.b, parts.bias, out, low, sums, self._done),
            *(rows, inputs, outputs, parts.beside, parts.layers, shares),
            *(tensor.stride(0) for tensor in (x, w, parts.a, parts.b, out, low)),
            **sizes,
        )
        return out, low

    def _input_gradients(self, tiles: Tiles, parts: Parts, g: Tensor) -> Both:
        rows, inputs, outputs = len(g), parts.a.shape[1], len(parts.b) // parts.layers
        out, low = g.new_empty(rows, inputs), _low(parts, g)
        tiles = _in_numbers(tiles, g)
        count = triton.cdiv(rows, tiles.rows) * triton.cdiv(inputs, tiles.side)
        shares, sizes = self._sizes(tiles, parts, count, outputs, len(parts.bias))
        sums = _sums(g, count, shares, (tiles.side + parts.layers * sizes["RANKS"]) * tiles.rows)
        w, scale = _stored(parts)
        language.input_gradients[(count, shares)](
            *(g, w, scale, parts.a, parts.b, out, low, sums, self._done),
            *(rows, inputs, outputs, parts.beside, parts.layers, shares),
            *(tensor.stride(0) for tensor in (g, w, parts.a, parts.b, out, low)),
            BESIDE=parts.beside > 0,
            **sizes,
        )
        return out, low

    def _on_top(self, tiles: Tiles, parts: Parts, x: Tensor, frozen: Tensor) -> Both:
        (rows, inputs), outputs = x.shape, len(parts.b) // parts.layers
        out, low = frozen.new_empty(frozen.shape), _low(parts, x)
        tiles = _in_numbers(tiles, x)
        row_tiles = triton.cdiv(rows, tiles.rows)
        shares = max(1, min(self.units // (row_tiles * parts.layers), triton.cdiv(outputs, tiles.side)))
        _, sizes = self._sizes(tiles, parts, row_tiles, inputs, inputs)
        of_weights = ("SCALED", "E4M3", "SHARED")
        language.on_top[(row_tiles, parts.layers, shares)](
            *(x, frozen, parts.a, parts.b, out, low, rows, inputs, outputs, shares),
            *(tensor.stride(0) for tensor in (x, frozen, parts.a, parts.b, out, low)),
            **{name: value for name, value in sizes.items() if name not in of_weights},
        )
        return out, low

    def _sizes(self, tiles: Tiles, parts: Parts, count: int, axis: int, summed: int) -> tuple[int, dict[str, Any]]:
        """Return how many programs share the sum of one of `count` tiles, and what a kernel is compiled for.

        axis: the numbers of an axis that a loop goes along. summed: those of all its loops together.
        """
        steps = triton.cdiv(summed, tiles.depth)
        shares = max(1, min(self.units // count, steps // _STEPS_A_SHARE))
        stored = parts.weight.qdata if isinstance(parts.weight, EightBits) else parts.weight
        return shares, {
            "RANK": parts.rank,
            "RANKS": max(_LEAST_RANK, triton.next_power_of_2(parts.rank)),
            "SCALED": stored is not parts.weight,
            "E4M3": stored.dtype == torch.float8_e4m3fn,
            "EVEN": axis % tiles.depth == 0,
            "SHARED": shares > 1,
            "ROWS": tiles.rows,
            "SIDE": tiles.side,
            "DEPTH": tiles.depth,
            "num_warps": tiles.warps,
            "num_stages": tiles.stages,
            "enable_fp_fusion": True,  # Triton is about to change what it does unless it is told
        }


def _is_recording() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _shape(kernel: str, parts: Parts, x: Tensor) -> Shape:
    weight = parts.weight.qdata if isinstance(parts.weight, EightBits) else parts.weight
    computed, stored = (str(tensor.dtype).removeprefix("torch.") for tensor in (x, weight))
    return Shape(kernel, computed, stored, rows_of(len(x)), parts.a.shape[1], len(parts.bias), parts.layers, parts.rank)


def _with_a_large_b(parts: Parts) -> Parts:
    """Return the parts with another B, since that of a new adapter is zero, and shows nothing."""
    b = torch.zeros_like(parts.b)
    outputs = len(b) // parts.layers
    block = torch.arange(outputs * parts.rank, device=b.device, dtype=torch.float32).cos().view(outputs, -1)
    for layer in range(parts.layers):
        rank = layer * parts.rank
        b[layer * outputs : (layer + 1) * outputs, rank : rank + parts.rank] = block / parts.rank**0.5
    return parts._replace(b=b)


def _check(kernel: str, results: Both, expected: Both) -> None:
    """Raise ArithmeticError if a kernel's results are not those that are expected."""
    for made, want in zip(results, expected, strict=True):
        norm = torch.linalg.vector_norm(want, dtype=torch.float32)
        error = torch.linalg.vector_norm(made - want, dtype=torch.float32)
        if not bool(error <= _BOUNDS[want.dtype] * norm):
            raise ArithmeticError(f"{kernel} is off by {float(error / norm):.1g} of its result here")


def _in_numbers(tiles: Tiles, x: Tensor) -> Tiles:
    """Return tiles whose depth is counted in numbers of x."""
    return tiles._replace(depth=tiles.depth * torch.bfloat16.itemsize // x.element_size())


def _low(parts: Parts, x: Tensor) -> Tensor:
    """Return room for x Aᵀ or g B, (N, R). Columns that no layer has are zero."""
    ranks = parts.b.shape[1]
    return (x.new_empty if ranks == parts.layers * parts.rank else x.new_zeros)(len(x), ranks)


def _sums(x: Tensor, count: int, shares: int, size: int) -> Tensor:
    """Return room for what the programs of shared tiles leave, `size` numbers each."""
    return x.new_empty(count * shares * size if shares > 1 else 0, dtype=torch.float32)


def _stored(parts: Parts) -> tuple[Tensor, Tensor]:
    """Return W (O, I) in a type that Triton takes everywhere, and the scale of its rows, or what stands for none."""
    if not isinstance(parts.weight, EightBits):
        return parts.weight, parts.bias
    values = parts.weight.qdata
    return values.view(torch.uint8) if values.dtype == torch.float8_e4m3fn else values, parts.weight.scale
