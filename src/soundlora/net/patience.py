"""This module says how long to wait after each failure of a connection, and when to give up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

BUSY = (408, 425, 429)
LONGEST_WAIT = 60.0
"""The longest wait in seconds, also for a server that asks for a longer one."""


class Patience:
    """Waits after each failure in a row, and gives up when the waits are used up."""

    def __init__(self, waits: Sequence[float], give_up: Callable[[str, int], Exception]) -> None:
        """`waits` are the seconds after each failure in a row. The error of `give_up(reason, failures)` ends them."""
        self._waits, self._give_up, self._failures = waits, give_up, 0

    def renew(self) -> None:
        """Count failures from zero again, because something has arrived."""
        self._failures = 0

    def failed(self, reason: str, response: httpx2.Response | None = None) -> None:
        """Wait as long as is due or as a busy server asks for. Raises the error of `give_up` after the last wait."""
        self._failures += 1
        if self._failures > len(self._waits):
            raise self._give_up(reason, self._failures)
        wait = self._waits[self._failures - 1]
        asked = "" if response is None else response.headers.get("Retry-After", "")
        if asked.isdigit():
            wait = min(float(asked), LONGEST_WAIT)
        time.sleep(wait)


def is_busy(response: httpx2.Response) -> bool:
    """Return whether the server may give another answer a moment later."""
    return response.status_code in BUSY or response.status_code >= 500
