"""The weights' running mean: single steps on small batches go astray, and their mean does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from soundlora.system.interrupts import unbroken

# The mean reaches back about a tenth of the steps so far.
_SHARE = 9
_PIECE = 1 << 22  # numbers


class Swap:
    """Values that may take a parameter's place for a while. The parameter's own numbers lie in `values` meanwhile."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter, self.values = parameter, parameter.detach()[:0]
        self._swapped = False

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the parameter hold the values within the block."""
        self._restore()
        try:
            self._swap()
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        # An interrupt on the way out of `used` may leave them swapped. The checkpoint that is then written comes here.
        if self._swapped:
            self._swap()

    def _swap(self) -> None:
        """Swap the two piece by piece, which takes little memory. An interrupt waits: half a swap would be a loss."""
        with unbroken():
            for own, mean in zip(self.parameter.data.split(_PIECE), self.values.split(_PIECE), strict=True):
                kept = own.clone()
                own.copy_(mean)
                mean.copy_(kept)
            self._swapped = not self._swapped


class Average(Swap):
    """The mean of a parameter's values after each step. It is fp32 and takes as much memory as the parameter.

    A step counts by a power of its place among the steps so far, so that the mean's reach grows with the run and no
    length has to be chosen for it (Karras et al. 2023, https://arxiv.org/abs/2312.02696, section 3.1).
    """

    def __init__(self, parameter: Tensor) -> None:
        super().__init__(parameter)
        self.values = parameter.detach().clone()

    @staticmethod
    def share(step: int) -> float:
        """Return by how much of the way the mean goes to the values after step `step`, counted from 1."""
        return _SHARE / (_SHARE - 1 + step)

    def update(self, share: float | Tensor) -> None:
        """Take in the values after a step by its `share`; one of 0 changes nothing."""
        self.values.lerp_(self.parameter.data, share)
