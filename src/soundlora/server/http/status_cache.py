"""Where requests stand. Many clients ask again and again, so the table is asked once for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.requests import LogLine, Requests
from soundlora.server.store.states import Queue, State, is_id, read_ahead, read_queue, read_states

FRESH_SECONDS = 0.15
"""Seconds after which this process sees what another one wrote. It sees its own writes at once."""
LOOK_SECONDS = 0.4
"""Seconds after which it is looked again at what somebody watches, unless something is heard of it before."""
CLOSING_SECONDS = 1.0
"""Whoever waits for a change looks up so often, and sees that the server is closing."""
_KEPT_SECONDS = 30.0
_QUEUE_SHARE = 20
"""The queue is read again after so many times what reading it took, so that a long one costs little."""
_BREATH_SECONDS = 0.02
"""Between two looks that words of others have brought about."""
_FEW = 8
"""So many places are counted one by one. For more of them the whole queue is read, once for all."""
_LINES_AT_A_TIME = 10_000
_NEWS_AT_ONCE = 2
"""So many requests' watchers are woken in one round of the event loop."""

V = TypeVar("V")


class _Entry:
    """One request that is asked for."""

    def __init__(self, told: bool) -> None:
        """told: whether others tell at once what they write."""
        self.told = told
        self.state: State | None = None
        self.ahead = 0  # that wait before it
        self.read_at = -1.0  # monotonic, when the query began
        self.changed_at = -1.0  # by this process: what was read before is wrong
        self.heard_at = -1.0  # of another process that has written
        self.asked_at = 0.0
        self.waiting: set[asyncio.Future[None]] = set()  # one for each who waits for a change
        self.log: list[LogLine] = []
        self.lines: list[str] = []  # the same as JSON, as far as somebody has asked for it
        self.log_of: tuple[str, int] | None = None  # state and `told` of which the log is
        self.view: Any = None
        self.view_of: tuple[str, int, bool, bool] | None = None
        self.reading_log, self.reading_view = asyncio.Lock(), asyncio.Lock()

    @property
    def over(self) -> bool:
        return self.state is not None and self.state.state == "completed"

    @property
    def watched(self) -> int:
        """By how many who wait for a change."""
        return len(self.waiting)

    @property
    def stale(self) -> bool:
        """Whether it has changed since it was read, as far as this process knows."""
        return self.read_at <= max(self.changed_at, self.heard_at)

    def fresh(self, now: float, within: float) -> bool:
        """Whether what was read still held less than `within` seconds ago."""
        if self.read_at <= self.changed_at:
            return False
        if self.over:
            return True
        if self.stale:
            return now - self.heard_at < within
        # Of a change that others have made, somebody would have said.
        return now - self.read_at < (max(within, LOOK_SECONDS) if self.told else within)

    def due(self, now: float) -> bool:
        """Whether it is to be read, because somebody has asked for it lately or waits for a change."""
        asked = now - self.asked_at < 2 * FRESH_SECONDS + 1
        if self.stale:
            return asked or self.watched > 0
        return (asked and not self.fresh(now, FRESH_SECONDS)) or (
            self.watched > 0 and now - self.read_at >= LOOK_SECONDS / 2 and not self.over
        )

    async def announced(self, until: float) -> None:
        """Wait for an announcement, until that time of the event loop at most."""
        loop = asyncio.get_running_loop()
        word = loop.create_future()
        # asyncio.wait does the same for twice the time, and a thousand may wait here.
        alarm = loop.call_at(until, _wake, word)
        self.waiting.add(word)
        try:
            await word
        finally:
            self.waiting.discard(word)
            alarm.cancel()

    def announce(self) -> None:
        for word in self.waiting:
            _wake(word)


class StatusCache:
    """The event loop uses it, and its queries run in threads. It holds what was asked for in the last half minute."""

    def __init__(self, database: Database, requests: Requests) -> None:
        self._database, self._requests = database, requests
        self._entries: dict[str, _Entry] = {}
        self._told = database.engine.dialect.name == "postgresql"
        self._refreshing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._news: deque[_Entry] = deque()
        self._announcing: asyncio.Task[None] | None = None
        self._heard: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._queue = Queue({}, [])
        self._queue_due = 0.0
        self._swept_at = 0.0

    async def state(self, id: str) -> State | None:
        """Return the state of a request, None when there is none of that id.

        It is FRESH_SECONDS old at most, LOOK_SECONDS where a word of another process was lost. What this process has
        changed is never old.
        """
        if not is_id(id):
            return None
        asked_at = time.monotonic()
        self._sweep(asked_at)
        while True:
            # The entry is looked up each time, for it may have been forgotten while this waited.
            entry = self._entry(id)
            entry.asked_at = time.monotonic()
            if entry.fresh(entry.asked_at, FRESH_SECONDS):
                return entry.state
            await self._refreshed()
            if entry.read_at >= asked_at and entry.read_at > entry.changed_at:
                return entry.state  # read since it was asked for, however slow the database is

    async def change(self, state: State, ahead: int, seconds: float) -> State | None:
        """Return the state once it or its place is another than `state` and `ahead`, or after `seconds`.

        None says that the request is gone. One task looks for all who wait, and a database that is away lets them wait.
        """
        until = asyncio.get_running_loop().time() + seconds
        while True:
            entry = self._entry(state.id)
            entry.asked_at = time.monotonic()
            if entry.read_at > entry.changed_at and (entry.state, entry.ahead) != (state, ahead):
                return entry.state
            if asyncio.get_running_loop().time() >= until:
                return state
            if self._watching is None or self._watching.done():
                self._watching = asyncio.ensure_future(self._watch())
            await entry.announced(until)
            if self._entries.get(state.id) is not entry:
                # It is gone, or it was forgotten, so that all of it is read anew.
                return None if entry.state is None and entry.read_at > 0 else state

    def position(self, state: State) -> int:
        """Return how many wait before this one."""
        entry = self._entries.get(state.id)
        return 0 if entry is None else entry.ahead

    def changed(self, id: str) -> None:
        """Note that this process has just written to the request. Any thread may call it."""
        self._entry(id).changed_at = time.monotonic()
        self._queue_due = 0.0
        self._look_now()

    def heard_of(self, id: str) -> None:
        """Note that another process has written to a request, "" for any. Any thread may call it."""
        now = time.monotonic()
        if not id:
            for entry in list(self._entries.values()):
                entry.changed_at = now
        elif (found := self._entries.get(id)) is not None:
            found.heard_at = now
        self._queue_due = 0.0
        self._look_now()

    def forget(self, id: str) -> None:
        """Tell nothing any more of what was read of the request. Any thread may call it."""
        entry = self._entries.pop(id, None)
        if entry is not None and self._heard is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._heard[0].call_soon_threadsafe(entry.announce)

    async def lines(self, state: State) -> Sequence[str]:
        """Return all lines of the log so far, each as JSON. There are only ever more of them."""
        entry = await self._with_log(state)
        entry.lines += [log_entry(line) for line in entry.log[len(entry.lines) :]]
        return entry.lines

    async def log(self, state: State) -> Sequence[LogLine]:
        """Return all lines of the log so far."""
        return (await self._with_log(state)).log

    async def view(self, state: State, read: Callable[[V | None], V]) -> V:
        """Return what `read` makes of the request. It is made once for all who ask, until the state has another `told`.

        read: called in a thread with what it returned before, None at first; everybody must give the same one.
        """
        entry = self._entry(state.id)
        entry.asked_at = time.monotonic()
        wanted = (state.state, state.told, state.cancel_asked, state.stop_asked)
        async with entry.reading_view:
            if entry.view_of != wanted:
                entry.view = await asyncio.to_thread(read, entry.view)
                entry.view_of = wanted
            view: V = entry.view
        return view

    async def _with_log(self, state: State) -> _Entry:
        entry = self._entry(state.id)
        entry.asked_at = time.monotonic()
        async with entry.reading_log:
            while entry.log_of != (state.state, state.told):
                last = entry.log[-1].number if entry.log else 0
                found = await asyncio.to_thread(self._requests.log_lines, state.id, last, _LINES_AT_A_TIME)
                entry.log += found
                if len(found) < _LINES_AT_A_TIME:
                    entry.log_of = (state.state, state.told)
        return entry

    def _entry(self, id: str) -> _Entry:
        return self._entries.setdefault(id, _Entry(self._told))

    def _look_now(self) -> None:
        if self._heard is not None:
            loop, heard = self._heard
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(heard.set)

    async def _watch(self) -> None:
        """Look again and again at what is watched, until nothing is."""
        heard = asyncio.Event()
        self._heard = asyncio.get_running_loop(), heard
        while any(entry.watched for entry in list(self._entries.values())):
            heard.clear()
            with contextlib.suppress(sa.exc.SQLAlchemyError):  # Whoever watches waits on.
                await self._refreshed()
                if any(entry.watched and entry.stale for entry in list(self._entries.values())):
                    await asyncio.sleep(_BREATH_SECONDS)
                    continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), LOOK_SECONDS)

    async def _refreshed(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(self._refresh())
        await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        started = time.monotonic()
        due = {id: entry for id, entry in list(self._entries.items()) if entry.due(started)}
        if not due:
            return
        before = {id: (entry.state, entry.ahead) for id, entry in due.items()}
        try:
            await self._read(due, started)
        finally:
            for id, entry in due.items():
                if (entry.state, entry.ahead) != before[id] or entry.state is None:
                    self._news.append(entry)
            if self._news and (self._announcing is None or self._announcing.done()):
                self._announcing = asyncio.ensure_future(self._announce())

    async def _announce(self) -> None:
        """Wake those who wait, some at a time: a thousand at once would keep the event loop from everybody else."""
        while self._news:
            for _ in range(min(_NEWS_AT_ONCE, len(self._news))):
                self._news.popleft().announce()
            await asyncio.sleep(0)

    async def _read(self, due: dict[str, _Entry], started: float) -> None:
        found = await asyncio.to_thread(read_states, self._database, list(due))
        for id, entry in due.items():
            entry.state = found.get(id)
            entry.read_at = started
            if entry.state is None or entry.state.state != "queued":
                entry.ahead = 0
            if entry.state is None:
                self._entries.pop(id, None)  # made-up ids leave nothing behind
        waiting = [state for state in found.values() if state.state == "queued"]
        if not waiting:
            return
        if len(waiting) <= _FEW:
            ahead = await asyncio.to_thread(read_ahead, self._database, waiting)
        else:
            await self._read_queue(started)
            ahead = {state.id: self._queue.ahead(state.key_id, state.place) for state in waiting}
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
        for id, entry in list(self._entries.items()):
            if now - entry.asked_at > _KEPT_SECONDS and not entry.watched:
                self._entries.pop(id, None)


def _wake(word: asyncio.Future[None]) -> None:
    if not word.done():
        word.set_result(None)


def log_entry(line: LogLine) -> str:
    """Return a line of the log as the protocol writes it, as JSON."""
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
