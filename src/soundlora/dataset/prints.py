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
        self._known: dict[int, list[tuple[str, np.ndarray]]] = {}

    def same(self, print_: np.ndarray) -> str | None:
        """Return the name of an earlier clip whose fingerprint (n,) is nearly this one's, None where there is none."""
        size = len(print_)
        if size < _LEAST or not (print_ & HEARD).any():
            return None
        for length in range(size - _SHIFTS, size + _SHIFTS + 1):
            others = self._known.get(length)
            if not others:
                continue
            table = np.stack([each for _, each in others])
            for shift in range(-_SHIFTS, _SHIFTS + 1):
                here, there = max(0, shift), max(0, -shift)
                count = min(size - here, length - there)
                if count < max(_LEAST, size // 2):
                    continue
                one, two = print_[here : here + count], table[:, there : there + count]
                heard = ((one | two) & HEARD != 0).sum(axis=1)
                wrong = np.bitwise_count((one ^ two) & _BITS).sum(axis=1)
                found = np.flatnonzero(wrong <= _SAME_SHARE * PRINT_BITS * np.maximum(heard, 1))
                if found.size:
                    return others[int(found[0])][0]
        return None

    def add(self, name: str, print_: np.ndarray) -> None:
        self._known.setdefault(len(print_), []).append((name, print_))
