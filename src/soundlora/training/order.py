"""The order in which clips are trained on: a function of (seed, sample) alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from soundlora.training.flow import step_generator


class Order:
    """Says which clip each sample of a run is.

    Every epoch is a fresh permutation of the clips. Clips of different shapes can't go through the model together, so
    with more than one a batch, each batch has clips of one shape. An epoch then has every clip `batch_size` times. That
    makes whole batches of each shape, and all clips count alike.
    """

    def __init__(self, shapes: Sequence[Hashable], batch_size: int, seed: int) -> None:
        """shapes: what the clips that share a batch have in common, for each clip."""
        self.count, self.batch_size, self.seed = len(shapes), batch_size, seed
        groups: dict[Hashable, list[int]] = {}
        for number, shape in enumerate(shapes):
            groups.setdefault(shape, []).append(number)
        self._groups = list(groups.values())
        self._mixed = len(groups) > 1 and batch_size > 1
        self._epoch: tuple[int, list[int]] = (-1, [])

    def clip(self, sample: int) -> int:
        """Return the number of a sample's clip."""
        epoch, place = divmod(sample, self.count * (self.batch_size if self._mixed else 1))
        if epoch != self._epoch[0]:
            self._epoch = epoch, self._drawn(epoch)
        return self._epoch[1][place]

    def _drawn(self, epoch: int) -> list[int]:
        # Epochs count down from −1, apart from the samples' own generators, which count up from 0.
        generator = step_generator(self.seed, -1 - epoch)
        if not self._mixed:
            return torch.randperm(self.count, generator=generator).tolist()
        size, batches = self.batch_size, []
        for group in self._groups:
            drawn = [group[n] for _ in range(size) for n in torch.randperm(len(group), generator=generator).tolist()]
            batches += [drawn[start : start + size] for start in range(0, len(drawn), size)]
        return [clip for n in torch.randperm(len(batches), generator=generator).tolist() for clip in batches[n]]
