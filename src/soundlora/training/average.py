"""The weights' running mean: single steps on small batches go astray, and their mean does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

# The mean reaches back about a tenth of the steps so far.
_SHARE = 9


class Average:
    """Mean of a parameter's values after each step, in fp32 beside it; takes as much memory as the parameter.

    A step counts by a power of its place among the steps so far, so that the mean's reach grows with the run and no
    length has to be chosen for it (Karras et al. 2023, https://arxiv.org/abs/2312.02696, section 3.1).
    """

    def __init__(self, parameter: Tensor) -> None:
        self.parameter, self.values = parameter, parameter.detach().clone()
        self._own: Tensor | None = None

    def update(self, step: int) -> None:
        """Take in the values after step `step`, counted from 1."""
        self.values.lerp_(self.parameter.data, _SHARE / (_SHARE - 1 + step))

    @contextmanager
    def used(self) -> Iterator[None]:
        """The parameter is the mean, while it lasts."""
        self._restore()
        self._own = self.parameter.data.clone()
        try:
            self.parameter.data.copy_(self.values)
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        # Also when an interrupt came on the way out of `used`: a checkpoint of the state is then written through it.
        if self._own is not None:
            self.parameter.data.copy_(self._own)
            self._own = None
