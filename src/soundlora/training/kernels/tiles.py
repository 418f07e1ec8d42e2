"""Tile sizes of the kernels: where each generation of GPUs starts, and what was found the fastest on this machine's.

The tables were chosen by what a unit has room for, and were never timed on a GPU.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from soundlora.errors import MachineError
from soundlora.system.cache_root import default_root
from soundlora.system.file_names import portable_name
from soundlora.system.whole_files import write_whole

Timer = Callable[[Callable[[], object]], float]


class Tiles(NamedTuple):
    """The sizes of a program's tile, and how the compiler is to lay it out."""

    rows: int  # of the input
    side: int  # of the result's other axis
    depth: int  # of what is summed over, a step, in numbers of two bytes
    warps: int
    stages: int  # steps that are loaded ahead


class Shape(NamedTuple):
    """What tile sizes depend on. Numbers of rows that need the same tiles are one shape."""

    kernel: str
    dtype: str
    weight: str
    rows: int
    inputs: int
    outputs: int  # those beside the layers, too
    layers: int
    rank: int


HOPPER = (  # 227 KB of shared memory a unit; 64 rows of a weight are one tensor instruction's
    Tiles(16, 64, 128, 4, 4),
    Tiles(32, 64, 128, 4, 4),
    Tiles(64, 128, 64, 4, 4),
    Tiles(128, 64, 64, 4, 4),
    Tiles(128, 128, 64, 8, 4),
    Tiles(256, 128, 64, 8, 3),
)
AMPERE = (  # A100: 163 KB
    Tiles(16, 64, 128, 4, 4),
    Tiles(32, 64, 64, 4, 4),
    Tiles(64, 64, 64, 4, 4),
    Tiles(64, 128, 32, 4, 4),
    Tiles(128, 128, 32, 8, 4),
)
ADA = (  # 99 KB, as cards for desktops have since Ampere
    Tiles(16, 64, 64, 4, 4),
    Tiles(32, 64, 64, 4, 3),
    Tiles(64, 64, 32, 4, 4),
    Tiles(128, 64, 32, 4, 3),
    Tiles(128, 128, 32, 8, 3),
)
"""Each from the fewest rows to the most."""


def table(capability: tuple[int, int]) -> tuple[Tiles, ...]:
    """Return the tile sizes that a GPU of this compute capability starts with."""
    if capability[0] in (9, 10):  # GPUs of data centres since Hopper
        return HOPPER
    return AMPERE if capability == (8, 0) else ADA


def rows_of(rows: int) -> int:
    """Return the number that stands for `rows` in a shape."""
    return max(16, 1 << (rows - 1).bit_length())


def tuned_file(card: str, version: str) -> Path | None:
    """Return where tile sizes of a card are kept for a version of Triton, None for a user without a cache folder."""
    with contextlib.suppress(MachineError):
        return default_root() / "kernels" / f"{portable_name(f'{card}, Triton {version}')}.json"
    return None


class Choice:
    """Chooses the tiles of each shape. None stands for the plain products, where these are the fastest."""

    def __init__(self, table: tuple[Tiles, ...], file: Path | None = None, timer: Timer | None = None) -> None:
        """file: where sizes are kept. timer: it returns what a call takes; None leaves it at what is known."""
        self.table, self.file, self.timer = table, file, timer
        self.known = _read(file)

    def of(self, shape: Shape, call: Callable[[Tiles], object], plain: Callable[[], object] | None) -> Tiles | None:
        """Return the tiles for a shape, with which `call` works. Raises what all sizes failed with, if they did.

        plain: it makes the plain products; None leaves them out of the comparison.
        """
        name = " ".join(map(str, shape))
        if name not in self.known:
            fitting = [tiles for tiles in self.table if tiles.rows <= shape.rows] or [self.table[0]]
            if self.timer is None:
                first = next((tiles for tiles in fitting if tiles.rows >= shape.rows), fitting[-1])
                return _first_working(fitting[fitting.index(first) :: -1], call)
            self.known[name] = _fastest(fitting, call, plain, self.timer)
            self._keep()
        return self.known[name]

    def _keep(self) -> None:
        # Without the file the next run tries all sizes again, which is no reason to stop this one.
        if self.file is not None:
            with contextlib.suppress(MachineError, OSError):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.file, json.dumps({**_read(self.file), **self.known}, indent=1).encode())


def _first_working(tried: list[Tiles], call: Callable[[Tiles], object]) -> Tiles:
    """Return the first tiles that the card's units and its compiler take."""
    for tiles in tried[:-1]:
        with contextlib.suppress(Exception):
            call(tiles)
            return tiles
    call(tried[-1])
    return tried[-1]


def _fastest(
    tried: list[Tiles], call: Callable[[Tiles], object], plain: Callable[[], object] | None, timer: Timer
) -> Tiles | None:
    """Return the tiles with which a call takes least, None if the plain products take less."""
    times: dict[Tiles | None, float] = {}
    failure: Exception | None = None
    for tiles in tried:
        try:
            times[tiles] = timer(partial(call, tiles))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # too large for the card's units, or for its compiler
            failure = error
    if failure is not None and not times:
        raise failure
    if plain is not None:
        times[None] = timer(plain)
    return min(times, key=times.__getitem__)


def _read(file: Path | None) -> dict[str, Tiles | None]:
    """Return what a file keeps, nothing if it is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
        return {name: None if sizes is None else Tiles(*map(int, sizes)) for name, sizes in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
