"""A safetensors file of which only the tensors, or the rows, that are asked for are read.

By plain reads: safetensors would map the whole file, for which a machine with less memory than it has bytes finds no
room.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from soundlora.errors import InputError

READABLE = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_HEADER_LIMIT = 100 * 1024 * 1024  # bytes; safetensors' own limit


@dataclass(frozen=True)
class TensorInfo:
    dtype: str  # safetensors name, such as "BF16"
    shape: tuple[int, ...]
    start: int  # bytes from the start of the file
    end: int


class TensorFile:
    """A file's header: `tensors` by name, `metadata`, and `header` as stored."""

    def __init__(self, path: Path, advice: str) -> None:
        """Raises InputError, which ends with `advice`, unless there is a whole safetensors file at `path`."""
        self.path = path
        if not path.is_file():
            raise InputError(f"There is no file at {path}; {advice}.")
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(8)
            length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
            if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise InputError(f"{path} is not a safetensors file; {advice}.")
            self.header = file.read(length)
        try:
            entries = json.loads(self.header)
            self.metadata: dict[str, str] = entries.pop("__metadata__", {})
            self.tensors = {
                name: TensorInfo(
                    entry["dtype"],
                    tuple(entry["shape"]),
                    8 + length + entry["data_offsets"][0],
                    8 + length + entry["data_offsets"][1],
                )
                for name, entry in entries.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise InputError(f"{path} is not a safetensors file; {advice}.") from None
        end = max((info.end for info in self.tensors.values()), default=0)
        if end > size:
            raise InputError(
                f"{path} ends after {size:,} bytes, but its header describes {end:,}; the download was cut off, "
                "resume it."
            )

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors as stored, on the CPU, one at a time."""
        with self.path.open("rb") as file:
            for name in names:
                info = self.tensors[name]
                content = bytearray(info.end - info.start)
                file.seek(info.start)
                file.readinto(content)
                yield name, torch.frombuffer(content, dtype=READABLE[info.dtype]).view(info.shape)

    def read_rows(self, name: str, rows: Sequence[int]) -> Tensor:
        """(len(rows), …) of the tensor `name`, as stored, on the CPU."""
        info = self.tensors[name]
        dtype = READABLE[info.dtype]
        size = prod(info.shape[1:]) * dtype.itemsize
        content = bytearray(size * len(rows))
        view = memoryview(content)
        with self.path.open("rb") as file:
            for number, row in enumerate(rows):
                file.seek(info.start + row * size)
                file.readinto(view[number * size : (number + 1) * size])
        return torch.frombuffer(content, dtype=dtype).view(len(rows), *info.shape[1:])
