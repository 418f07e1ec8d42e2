"""How alike two LoRAs are: the angle between their updates, layer by layer and together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from soundlora.errors import InputError
from soundlora.lora.file import Lora
from soundlora.lora.mix import block_of
from soundlora.lora.pair import Pair, energy
from soundlora.lora.targets import PARTS, part_of


@dataclass(frozen=True)
class Likeness:
    """Two updates beside each other, as the vectors of all their numbers.

    norms: ‖B·A‖ of each. angle: in degrees, 0 for the same direction, 90 for nothing in common, 180 for opposite ones;
    None where one of them is 0.
    """

    norms: tuple[float, float]
    angle: float | None


@dataclass(frozen=True)
class Comparison:
    """The likeness of all layers together, by part of a block, by block, and by layer."""

    together: Likeness
    parts: dict[str, Likeness]
    blocks: dict[int, Likeness]
    layers: dict[str, Likeness]


def compare(one: Lora, other: Lora) -> Comparison:
    """Compare two LoRAs. A layer that only one of them changes counts as not changed by the other.

    Raises InputError when they fit no common base.
    """
    products = {}
    for name in {**one.pairs, **other.pairs}:
        products[name] = _products(name, one.pairs.get(name), other.pairs.get(name))

    def of(names: Iterable[str]) -> Likeness:
        return _likeness([products[name] for name in names])

    def grouped(key: Callable[[str], str | int | None], values: Iterable[str | int]) -> dict[str | int, Likeness]:
        names = {value: [name for name in products if key(name) == value] for value in values}
        return {value: of(found) for value, found in names.items() if found}

    numbers = sorted({number for name in products if (number := block_of(name)) is not None})
    return Comparison(
        of(products),
        {str(part): each for part, each in grouped(part_of, PARTS).items()},
        {int(number): each for number, each in grouped(block_of, numbers).items()},
        {name: of([name]) for name in products},
    )


def _products(name: str, one: Pair | None, other: Pair | None) -> tuple[float, float, float]:
    """Return ‖B·A‖² of both, and their inner product, without making either of the large matrices."""
    if one is None or other is None:
        return (0.0 if one is None else energy(one)), (0.0 if other is None else energy(other)), 0.0
    (a1, b1), (a2, b2) = ([tensor.double() for tensor in pair] for pair in (one, other))
    if a1.shape[1] != a2.shape[1] or b1.shape[0] != b2.shape[0]:
        raise InputError(f"{name} has other shapes in one LoRA than in the other; they fit no common base.")
    return energy(one), energy(other), float(((b1.T @ b2) * (a1 @ a2.T)).sum())


def _likeness(products: list[tuple[float, float, float]]) -> Likeness:
    first, second, inner = (sum(column) for column in zip(*products, strict=True))
    norms = math.sqrt(first), math.sqrt(second)
    if not all(norms):
        return Likeness(norms, None)
    return Likeness(norms, math.degrees(math.acos(max(-1.0, min(1.0, inner / (norms[0] * norms[1]))))))
