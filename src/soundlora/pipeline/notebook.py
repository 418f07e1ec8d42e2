"""The progress of a training in a notebook: one line that changes, and notes that stay."""

from __future__ import annotations

import sys
import time
from typing import Any

from soundlora.progress import OnProgress, Progress, news_line

_SECONDS = 0.5  # between changes of the line


def notebook_progress() -> OnProgress | None:
    """Return a callback that shows news below the running cell; None where no notebook runs.

    IPython in a terminal is none: it has no kernel.
    """
    module: Any = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return None if getattr(shell, "kernel", None) is None else _Line()


class _Line:
    def __init__(self) -> None:
        self._handle: Any = None
        self._stage, self._time = "", 0.0

    def __call__(self, news: Progress) -> None:
        if news.note:
            print(f"Note: {news.message}")
            return
        ended = news.steps > 0 and news.step == news.steps
        if news.stage == self._stage and not ended and time.monotonic() - self._time < _SECONDS:
            return
        self._stage, self._time = news.stage, time.monotonic()
        self._show(news_line(news))

    def _show(self, text: str) -> None:
        from IPython.display import display

        content = {"text/plain": text}  # plain text, so that no name is taken for markup
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
