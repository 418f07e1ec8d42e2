"""Reads the tensors of a TensorFlow checkpoint without TensorFlow.

The index is a table of sorted keys, as LevelDB writes them: at its end a footer says where the index block lies, that
block says where the others lie, and a key in a block leaves out what it shares with the one before. A value is a small
protocol buffer: the type, the shape, and where in the data file the tensor's bytes lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FOOTER, _MAGIC = 48, bytes.fromhex("57fb808b247547db")
_FLOAT = 1
_TYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5  # fields of a value; in a shape, 2 is a dimension, and 1 its size


def read_bundle(index: Path) -> dict[str, Tensor]:
    """Return the float tensors of a checkpoint with one data file, by name. Raises ValueError for any other file."""
    table = index.read_bytes()
    if table[-8:] != _MAGIC:
        raise ValueError(f"{index} is no index of a TensorFlow checkpoint.")
    data = index.with_name(index.name.removesuffix(".index") + ".data-00000-of-00001").read_bytes()
    found = {}
    footer, at = table[-_FOOTER:], 0
    for _ in range(2):  # where an unused block lies
        _, at = _number(footer, at)
    for _, place in _entries(_block(table, footer[at:])):
        for name, value in _entries(_block(table, place)):
            fields = dict(_fields(value))
            if name and fields[_TYPE] == _FLOAT:
                shape = [dict(_fields(each)).get(1, 0) for _, each in _fields(fields.get(_SHAPE, b""))]
                start = fields.get(_OFFSET, 0)
                numbers = np.frombuffer(data[start : start + fields[_SIZE]], "<f4").copy()
                found[name.decode()] = torch.from_numpy(numbers).reshape(shape)
    return found


def _block(table: bytes, place: bytes) -> bytes:
    start, at = _number(place, 0)
    size, _ = _number(place, at)
    if table[start + size]:
        raise ValueError("The index is compressed; TensorFlow itself doesn't write such.")
    return table[start : start + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block. Behind them lie the places of whole keys, and how many those are."""
    restarts = int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < len(block) - 4 * (restarts + 1):
        shared, at = _number(block, at)
        own, at = _number(block, at)
        size, at = _number(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protocol buffer, each with its number: whole numbers, or bytes."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        if tag & 7 == 0:
            value, at = _number(message, at)
            yield tag >> 3, value
        else:
            size = 4
            if tag & 7 == 2:
                size, at = _number(message, at)
            yield tag >> 3, message[at : at + size]
            at += size


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, seven bits a byte, the lowest first; and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at
