"""A run reports its progress with the classes of this module."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

StageName = Literal["base", "clips", "contexts", "training", "previews", "saving", "sampling", "done"]


@dataclass(frozen=True)
class Progress:
    """One piece of news. Training fills in all figures; the other stages count their own items as steps."""

    stage: StageName
    step: int = 0
    steps: int = 0
    loss: float | None = None  # smoothed
    steps_per_second: float | None = None
    seconds_left: float | None = None
    message: str = ""
    note: bool = False  # the message is advice, which should stay on the screen


OnProgress = Callable[[Progress], None]

TITLES: dict[StageName, str] = {
    "base": "Base",
    "clips": "Clips",
    "contexts": "Captions",
    "training": "Training",
    "previews": "Previews",
    "saving": "Saving",
    "sampling": "Sampling",
    "done": "Done",
}
"""The stages as people read them."""


def news_line(news: Progress) -> str:
    """Return a piece of news as a line of text: `Training 120/2000  loss 0.612  18.8 steps/s  1:40 left`."""
    count = f" {news.step}/{news.steps}" if news.steps else ""
    return f"{TITLES[news.stage]}{count}  {figures(news)}".rstrip()


def figures(news: Progress) -> str:
    """Return the figures of a training step, or the message of anything else."""
    if news.stage != "training" or news.loss is None:
        return news.message
    left = int(news.seconds_left or 0)
    return f"loss {news.loss:.3f}  {news.steps_per_second or 0:.1f} steps/s  {left // 60}:{left % 60:02d} left"


def fetch_news(tell: OnProgress) -> Callable[[int, int], None]:
    """Return a callback that takes (bytes done, bytes in all) and calls `tell` once for each MiB."""
    last = -1

    def on_bytes(done: int, size: int) -> None:
        nonlocal last
        if done >> 20 != last or done == size:
            last = done >> 20
            tell(Progress("base", last, size >> 20, message="fetching, in MiB"))

    return on_bytes


class Pace:
    """Measures the smoothed loss, the speed and the time left of a training loop.

    Pauses for previews do not count when `resume` is called after them.
    """

    def __init__(self, steps: int, done: int = 0, smoothing: float = 0.98) -> None:
        self.steps, self.done, self.smoothing = steps, done, smoothing
        self.loss: float | None = None
        self._seconds = 0.0
        self._counted = 0
        self._since = time.perf_counter()

    def resume(self) -> None:
        """Start the clock again after a pause."""
        self._since = time.perf_counter()

    def tick(self, loss: float | None) -> Progress:
        """Count one step that has ended with `loss`, and return the news of it. None leaves the loss as it was."""
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now
        self._counted += 1
        self.done += 1
        # The plain mean is the better estimate while few steps are known.
        weight = max(1 - self.smoothing, 1 / self._counted)
        if loss is not None:
            self.loss = loss if self.loss is None else self.loss + weight * (loss - self.loss)
        speed = self._counted / max(self._seconds, 1e-9)
        return Progress("training", self.done, self.steps, self.loss, speed, (self.steps - self.done) / speed)
