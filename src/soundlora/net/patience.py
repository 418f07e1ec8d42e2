"""Failures of a connection, and how long to wait after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

BUSY = (408, 425, 429)
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more is not waited for so long."""


class Patience:
    """Waits after each failure, longer every time, and gives up after some in a row."""

    def __init__(self, waits: Sequence[float], give_up: Callable[[str, int], Exception]) -> None:
        """waits: seconds after each failure in a row. give_up(reason, how many failures) is raised after the last."""
        self._waits, self._give_up, self._failures = waits, give_up, 0

    def renew(self) -> None:
        """Something has come: the count begins anew."""
        self._failures = 0

    def failed(self, reason: str, response: httpx2.Response | None = None) -> None:
        """Wait as long as is due, or as a busy server asks for."""
        self._failures += 1
        if self._failures > len(self._waits):
            raise self._give_up(reason, self._failures)
        wait = self._waits[self._failures - 1]
        asked = "" if response is None else response.headers.get("Retry-After", "")
        if asked.isdigit():
            wait = min(float(asked), LONGEST_WAIT)
        time.sleep(wait)


def is_busy(response: httpx2.Response) -> bool:
    """Whether the server may answer otherwise a moment later."""
    return response.status_code in BUSY or response.status_code >= 500
