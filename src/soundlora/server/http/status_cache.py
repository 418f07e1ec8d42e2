"""Where requests stand, for many clients that ask again and again: the table is asked for all of them at once."""

from __future__ import annotations

import asyncio
import bisect
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from soundlora.server.store.database import Database
from soundlora.server.store.requests import LogLine, Requests
from soundlora.server.store.states import State, read_ahead, read_queue, read_states

FRESH_SECONDS = 0.15
"""What another process wrote is seen after that; what this one wrote, at once."""
_KEPT_SECONDS = 30.0
_QUEUE_SHARE = 20
"""The queue is read again after so many times what reading it took; a long one costs little then."""
_FEW = 8
"""Places that are counted one by one; for more of them the whole queue is read, once for all."""
_LINES_AT_A_TIME = 10_000


class _Entry:
    """One request that is asked for."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.ahead = 0  # that wait before it
        self.read_at = -1.0  # monotonic, when the query began
        self.changed_at = -1.0  # by this process: what was read before is stale
        self.asked_at = 0.0
        self.lines: list[str] = []  # JSON
        self.last_line = 0
        self.lines_of: tuple[str, int] | None = None  # state and beat of which the lines are
        self.reading_lines = asyncio.Lock()

    def fresh(self, now: float) -> bool:
        if self.read_at <= self.changed_at:
            return False
        over = self.state is not None and self.state.state == "completed"
        return over or now - self.read_at < FRESH_SECONDS


class StatusCache:
    """Used on the event loop; its queries run in threads. Memory holds what was asked for in the last half minute."""

    def __init__(self, database: Database, requests: Requests) -> None:
        self._database, self._requests = database, requests
        self._entries: dict[str, _Entry] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._queue: list[tuple[int, int]] = []
        self._queue_due = 0.0
        self._swept_at = 0.0

    async def state(self, id: str) -> State | None:
        """None when there is no such request."""
        now = time.monotonic()
        self._sweep(now)
        entry = self._entries.get(id)
        if entry is None:
            entry = self._entries[id] = _Entry()
        entry.asked_at = now
        while not entry.fresh(time.monotonic()):
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.ensure_future(self._refresh())
            await asyncio.shield(self._refreshing)
            if entry.read_at >= now and entry.read_at > entry.changed_at:
                break  # read since it was asked for, however slow the database is
        return entry.state

    def position(self, state: State) -> int:
        """How many wait before this one."""
        entry = self._entries.get(state.id)
        return 0 if entry is None else entry.ahead

    def changed(self, id: str) -> None:
        """This process has just written to the request, or it is new."""
        self._entries.setdefault(id, _Entry()).changed_at = time.monotonic()
        self._queue_due = 0.0

    async def lines(self, state: State) -> Sequence[str]:
        """All lines of the log so far, each as JSON; there are only ever more of them."""
        entry = self._entries.setdefault(state.id, _Entry())
        entry.asked_at = time.monotonic()
        async with entry.reading_lines:
            while entry.lines_of != (state.state, state.beat):
                found = await asyncio.to_thread(self._requests.log_lines, state.id, entry.last_line, _LINES_AT_A_TIME)
                entry.lines += [log_entry(line) for line in found]
                entry.last_line = found[-1].number if found else entry.last_line
                if len(found) < _LINES_AT_A_TIME:
                    entry.lines_of = (state.state, state.beat)
        return entry.lines

    async def _refresh(self) -> None:
        started = time.monotonic()
        due = {
            id: entry
            for id, entry in self._entries.items()
            if started - entry.asked_at < 2 * FRESH_SECONDS + 1 and not entry.fresh(started)
        }
        found = await asyncio.to_thread(read_states, self._database, list(due))
        for id, entry in due.items():
            entry.state = found.get(id)
            entry.read_at = started
            if entry.state is None:
                self._entries.pop(id, None)  # made-up ids leave nothing behind
        waiting = [state for state in found.values() if state.state == "queued"]
        if not waiting:
            return
        if len(waiting) <= _FEW:
            ahead = await asyncio.to_thread(read_ahead, self._database, waiting)
        else:
            await self._read_queue(started)
            ahead = {state.id: bisect.bisect_left(self._queue, state.place) for state in waiting}
        for id, count in ahead.items():
            due[id].ahead = count

    async def _read_queue(self, started: float) -> None:
        if started < self._queue_due:
            return
        began = time.monotonic()
        self._queue_due = began + FRESH_SECONDS
        self._queue = await asyncio.to_thread(read_queue, self._database)
        if self._queue_due:  # nothing has joined meanwhile
            self._queue_due = max(self._queue_due, began + _QUEUE_SHARE * (time.monotonic() - began))

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < 1:
            return
        self._swept_at = now
        for id in [id for id, entry in self._entries.items() if now - entry.asked_at > _KEPT_SECONDS]:
            del self._entries[id]


def log_entry(line: LogLine) -> str:
    """A line of the log as the protocol writes it, as JSON."""
    at = datetime.fromtimestamp(line.at, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {
            "message": line.message,
            "timestamp": at,
            "level": line.level,
            "source": "run",
            "labels": {"level": line.level},
        }
    )
