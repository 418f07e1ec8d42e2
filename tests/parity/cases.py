"""Read the reference cases: inputs, expected outputs and tolerances.

There are two sets: `parity` for LTX 2.3 and `parity25` for LTX 2.5. `SOUNDLORA_PARITY` may name another folder of one
or both of them, with other sizes and seeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from soundlora.weights.checkpoint import Checkpoint

SETS = ("parity", "parity25")


def _roots(where: Path) -> dict[str, Path]:
    """Return the folders with a manifest by the set's name: `where` itself, or those in it."""
    if (where / "manifest.json").is_file():
        return {SETS[not (where / "checkpoint.safetensors").is_file()]: where}
    return {name: where / name for name in SETS if (where / name / "manifest.json").is_file()}


ROOTS = _roots(Path(os.environ.get("SOUNDLORA_PARITY") or Path(__file__).parents[1] / "fixtures"))
ROOT = ROOTS.get("parity", Path())
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    name: str
    file: str
    atol: float
    rtol: float
    params: dict[str, Any]
    input_keys: dict[str, str]
    expected_keys: dict[str, str]
    root: Path = ROOT
    source: str = ""

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return _read(self.root / self.file, self.input_keys)

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return _read(self.root / self.file, self.expected_keys)

    def share_of_tolerance(self, actual: Tensor, expected: Tensor, *, atol: float | None = None) -> float:
        """Largest |actual − expected| / (atol + rtol·|expected|): at most 1 passes; NaN counts as infinite."""
        assert actual.shape == expected.shape, f"{tuple(actual.shape)} instead of {tuple(expected.shape)}"
        if expected.numel() == 0:
            return 0.0
        a, e = actual.double(), expected.double()
        error, allowed = (a - e).abs(), (self.atol if atol is None else atol) + self.rtol * e.abs()
        share = torch.where(error == 0, 0.0, error / allowed).nan_to_num(nan=float("inf"))
        return float(share.max())


@cache
def provenance() -> dict[str, Any]:
    """What made the cases: commit of the official code, version of torch, seed."""
    data = json.loads((next(iter(ROOTS.values())) / "manifest.json").read_text())
    return {key: value for key, value in data.items() if key not in ("cases", "files")}


@cache
def manifest() -> dict[str, Case]:
    """The cases of all sets by name."""
    return {case.name: case for root in ROOTS.values() for case in _cases(root)}


def _cases(root: Path) -> Iterator[Case]:
    for name, case in json.loads((root / "manifest.json").read_text())["cases"].items():
        yield Case(
            name,
            case["file"],
            case["tolerance"]["atol"],
            case["tolerance"]["rtol"],
            case.get("params", {}),
            {key: value["key"] for key, value in case["inputs"].items()},
            {key: value["key"] for key, value in case["expected"].items()},
            root,
            case["source"],
        )


def names(*prefixes: str) -> list[str]:
    return [name for name in manifest() if name.startswith(prefixes)]


@cache
def checkpoint() -> Checkpoint:
    return Checkpoint(ROOT / "checkpoint.safetensors")


def read_file(name: str) -> dict[str, Tensor]:
    with safe_open(ROOT / name, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _read(path: Path, keys: dict[str, str]) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(value) for key, value in keys.items()}
