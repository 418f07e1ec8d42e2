"""Which clip sounds the same as an earlier one, by the fingerprints that `frames` takes."""

from __future__ import annotations

import numpy as np

from soundlora.dataset.frames import HEARD, PRINT_BITS

# Of two moments of one steady sound a third of the bits and more differ. A copy of another level or codec has fewer.
_SAME_SHARE = 0.2
# In entries of 50 ms: a copy may be cut so much earlier or later, and one below the least has too few bits to tell.
_SHIFTS = 10
_LEAST = 8
_BITS = np.uint32((1 << PRINT_BITS) - 1)


class Prints:
    """Remembers the fingerprints of clips, each about as long as the others that it is compared with."""

    def __init__(self) -> None:
        self._known: dict[int, _Table] = {}

    def same(self, print_: np.ndarray) -> str | None:
        """Return the name of an earlier clip whose fingerprint (n,) is nearly this one's, None where there is none."""
        size = len(print_)
        if size < _LEAST or not (print_ & HEARD).any():
            return None
        for length in range(size - _SHIFTS, size + _SHIFTS + 1):
            table = self._known.get(length)
            if table is None:
                continue
            for shift in range(-_SHIFTS, _SHIFTS + 1):
                here, there = max(0, shift), max(0, -shift)
                count = min(size - here, length - there)
                if count < max(_LEAST, size // 2):
                    continue
                name = table.same(print_[here : here + count], there)
                if name is not None:
                    return name
        return None

    def add(self, name: str, print_: np.ndarray) -> None:
        self._known.setdefault(len(print_), _Table(len(print_))).add(name, print_)


class _Table:
    """The fingerprints of one length, as rows of an array that has room for more."""

    def __init__(self, length: int) -> None:
        self._names: list[str] = []
        self._rows = np.zeros((16, length), np.uint32)

    def add(self, name: str, print_: np.ndarray) -> None:
        if len(self._names) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self._names)] = print_
        self._names.append(name)

    def same(self, one: np.ndarray, start: int) -> str | None:
        """Return the name of the first row that is nearly `one` (n,) from its entry `start` on."""
        two = self._rows[: len(self._names), start : start + len(one)]
        wrong = np.bitwise_count((one ^ two) & _BITS).sum(axis=1, dtype=np.uint32)
        limit = _SAME_SHARE * PRINT_BITS
        for row in np.flatnonzero(wrong <= limit * len(one)):
            # Of silence nothing is compared, so few have to be looked at again.
            heard = int(((one | two[row]) & HEARD != 0).sum())
            if wrong[row] <= limit * max(heard, 1):
                return self._names[int(row)]
        return None
