"""A safetensors file of which only the tensors, or the rows, that are asked for are read.

Plain reads fetch them. The safetensors library would map the whole file, which fails on a machine with less memory than
the file has bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundlora.errors import InputError

READABLE = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_HEADER_LIMIT = 100 * 1024 * 1024  # bytes; safetensors' own limit


def json_object(text: str, refusal: str) -> dict[str, Any]:
    """Return the object that a JSON text is. Raises InputError with the sentence `refusal` when it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(refusal)
    return value


@dataclass(frozen=True)
class TensorInfo:
    """The type, shape and place of one tensor in its file."""

    dtype: str  # safetensors name, such as "BF16"
    shape: tuple[int, ...]
    start: int  # bytes from the start of the file
    end: int


class TensorHeader:
    """The header of a safetensors file: `tensors` by name, `metadata`, and `file_size`, the bytes of the whole file."""

    def __init__(self, content: bytes, source: str, advice: str) -> None:
        """Parse the JSON `content` that stands between the length and the first tensor.

        source: path or URL of the file. Raises InputError, which ends with `advice`, when it is no such header.
        """
        begin = len(content) + 8
        try:
            entries = json.loads(content)
            self.metadata: dict[str, str] = entries.pop("__metadata__", {})
            if not all(isinstance(value, str) for value in self.metadata.values()):
                raise ValueError("metadata are strings")
            self.tensors = {
                name: TensorInfo(
                    entry["dtype"],
                    tuple(entry["shape"]),
                    begin + entry["data_offsets"][0],
                    begin + entry["data_offsets"][1],
                )
                for name, entry in entries.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise no_safetensors(source, advice) from None
        self.file_size = max((info.end for info in self.tensors.values()), default=begin)


def header_length(first: bytes, file_size: int, source: str, advice: str) -> int:
    """Return the bytes of the header, from the first 8 of the file.

    Raises InputError, which ends with `advice`, when they can't be those of a safetensors file.
    """
    length: int = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
    if not 2 <= length <= min(_HEADER_LIMIT, file_size - 8):
        raise no_safetensors(source, advice)
    return length


def no_safetensors(source: str, advice: str) -> InputError:
    """Return the error for a `source` that is no safetensors file."""
    return InputError(f"{source} is not a safetensors file; {advice}.")


def pack_header(tensors: dict[str, TensorInfo], metadata: dict[str, str]) -> bytes:
    """Return the beginning of a file, length included, that holds these tensors one after another in this order."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, info in tensors.items():
        start, end = end, end + info.end - info.start
        entries[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, end]}
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    return struct.pack("<Q", len(content)) + content


class TensorFile:
    """A file with its header: `tensors` by name, and `metadata`."""

    def __init__(self, path: Path, advice: str) -> None:
        """Read the header. Raises InputError, which ends with `advice`, unless `path` is a whole safetensors file."""
        self.path = path
        if not path.is_file():
            raise InputError(f"There is no file at {path}; {advice}.")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = header_length(file.read(8), size, str(path), advice)
            self.header = TensorHeader(file.read(length), str(path), advice)
        self.tensors, self.metadata = self.header.tensors, self.header.metadata
        if self.header.file_size > size:
            raise InputError(
                f"{path} ends after {size:,} bytes, but its header describes {self.header.file_size:,}; the download "
                "was cut off, resume it."
            )

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the named tensors as they are stored, on the CPU, one at a time."""
        with self.path.open("rb") as file:
            for name in names:
                info = self.tensors[name]
                content = bytearray(info.end - info.start)
                file.seek(info.start)
                file.readinto(content)
                yield name, torch.frombuffer(content, dtype=READABLE[info.dtype]).view(info.shape)

    def content(self, name: str, most: int | None = None) -> bytes:
        """Return the bytes of the tensor `name`, whatever its type, or the first `most` of them."""
        info = self.tensors[name]
        size = info.end - info.start
        with self.path.open("rb") as file:
            file.seek(info.start)
            return file.read(size if most is None else min(size, most))

    def pieces(self, name: str, size: int) -> Iterator[Tensor]:
        """Yield the tensor as it is stored, flat and on the CPU, at most `size` bytes at a time."""
        info = self.tensors[name]
        with self.path.open("rb") as file:
            file.seek(info.start)
            for start in range(info.start, info.end, size):
                content = bytearray(min(size, info.end - start))
                file.readinto(content)
                yield torch.frombuffer(content, dtype=READABLE[info.dtype])

    def read_rows(self, name: str, rows: Sequence[int]) -> Tensor:
        """Return the rows (len(rows), …) of the tensor `name`, as they are stored, on the CPU."""
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
