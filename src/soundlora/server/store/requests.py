"""Requests in their table: every step of a request's life is one transaction.

queued → running → completed. Whoever takes a request gets a token, its owner, and from then on only the holder of that
token changes it: a worker that was taken for dead finds out and stops, so that a request ends exactly once. Its line in
the ledger, and the webhook that is due, are written by the same transaction as its result.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from soundlora.server.store import beats, claims, usage
from soundlora.server.store.beats import Asked, asked_of, beat, write_lines
from soundlora.server.store.claims import Room
from soundlora.server.store.database import Database, value_of
from soundlora.server.store.finish import Outcome, cancelled, infrastructure_error, write_end
from soundlora.server.store.news import tell
from soundlora.server.store.states import is_id, read_ahead, read_queue, read_states
from soundlora.server.store.tables import HELD, QUEUED, UNKEPT, files, logs, marks, points, requests

PRIORITIES = {"normal": 0, "low": 1}
MAX_ATTEMPTS = 3
"""So many workers may vanish before the request fails."""
_DAMAGED = "The server's database is damaged: it has lost the input of this request. Send the request again."


@dataclass(frozen=True)
class Request:
    """A row of the table, its JSON read."""

    number: int
    id: str
    endpoint: str
    key_id: str
    state: str  # queued, running, completed
    priority: int  # of PRIORITIES
    input: dict[str, Any] | None
    keep_payloads: bool
    webhook_url: str | None
    base_url: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: int
    owner: str | None
    beat: int
    cancel_asked: bool
    stop_asked: bool
    no_retry: bool
    file_seconds: float | None
    progress: dict[str, Any] | None
    status_code: int | None
    response: Any
    error: str | None
    error_type: str | None
    units: int | None
    gpus: int  # slots of one machine


@dataclass(frozen=True)
class LogLine:
    number: int  # grows; the next question asks for what comes after it
    at: float
    level: str
    message: str


@dataclass(frozen=True)
class Point:
    """A point of a curve. A run that goes on says some steps again: what comes later counts."""

    number: int  # grows, as that of a line
    step: int
    name: str  # loss, held_out
    value: float


class Requests:
    """The request table of `database`.

    unit_nano_usd: the price of a unit of each endpoint, 0 where none is given. max_running: so many requests of a key
    that has no number of its own may run at a time; 0 is without limit.
    """

    def __init__(
        self, database: Database, unit_nano_usd: Mapping[str, int] | None = None, *, max_running: int = 0
    ) -> None:
        self.database, self.max_running = database, max_running
        self.unit_nano_usd = dict(unit_nano_usd or {})

    # ------------------------------------------------------------------------------------------------------------------
    # what clients do

    def submit(
        self,
        endpoint: str,
        payload: Any,
        *,
        key_id: str = "",
        summary: str = "",
        priority: str = "normal",
        webhook_url: str | None = None,
        base_url: str = "",
        start_seconds: float | None = None,
        no_retry: bool = False,
        keep_payloads: bool = True,
        file_seconds: float | None = None,
        asked_units: int = 0,
        gpus: int = 1,
        outcome: Outcome | None = None,
        stop_asked: bool = False,
        prepared: bool = True,
        id: str | None = None,
    ) -> Request:
        """Accept a request. One that is wrong gets its `outcome` at once, and is in the history all the same.

        base_url: the address it came to, which the webhook's links to files begin with.
        asked_units: those that are billed if it succeeds. gpus: the slots of one machine that it takes.
        stop_asked: it goes on with a run only to end it with what that has learnt.
        prepared: whether it may begin at once; else `Preparing` looks at its data before.
        """
        now = time.time()
        row: dict[str, Any] = {
            "id": id or str(uuid.uuid4()),
            "endpoint": endpoint,
            "key_id": key_id,
            "state": "queued",
            "priority": PRIORITIES[priority],
            "input": json.dumps(payload),
            "summary": summary.lower(),
            "keep_payloads": keep_payloads,
            "file_seconds": file_seconds,
            "webhook_url": webhook_url,
            "base_url": base_url,
            "created_at": now,
            "start_before": None if start_seconds is None else now + start_seconds,
            "no_retry": no_retry,
            "attempts": 0,
            "asked_units": asked_units,
            "gpus": gpus,
            "beat": 0,
            "told": 0,
            "cancel_asked": False,
            "stop_asked": stop_asked,
            "prepared": prepared,
        }
        with self.database.write() as connection:
            connection.execute(sa.insert(requests).values(row))
            if outcome is not None:
                self._end(connection, row["id"], outcome, "queued")
            else:
                tell(connection, "queued", row["id"])
        found = self.find(row["id"])
        assert found is not None
        return found

    def find(self, request_id: str) -> Request | None:
        if not is_id(request_id):
            return None
        with self.database.read() as connection:
            row = connection.execute(_SELECT.where(requests.c.id == request_id)).one_or_none()
        return None if row is None else _request(row)

    def find_many(self, request_ids: Iterable[str]) -> list[Request]:
        with self.database.read() as connection:
            return [_request(row) for row in connection.execute(_SELECT.where(requests.c.id.in_(list(request_ids))))]

    def queued(self) -> list[str]:
        """Return the ids of all that wait, the next one first. A request's place is its position."""
        places = read_queue(self.database).in_turn()
        with self.database.read() as connection:
            found = connection.execute(sa.select(requests.c.number, requests.c.id).where(QUEUED))
            ids = {number: id for number, id in found}
        return [ids[number] for _, number in places if number in ids]

    def ahead(self, request_id: str) -> int:
        """Return how many begin before this one; beside those of other keys it is an estimate."""
        state = read_states(self.database, [request_id]).get(request_id)
        return 0 if state is None else read_ahead(self.database, [state])[request_id]

    def count_queued(self, endpoint: str | None = None, key_id: str | None = None, most: int | None = None) -> int:
        """Return how many wait, of an endpoint, of a key, that take `most` slots each."""
        statement = sa.select(sa.func.count()).where(QUEUED)
        if most is not None:
            statement = statement.where(requests.c.gpus <= most)
        if endpoint is not None:
            statement = statement.where(requests.c.endpoint == endpoint)
        if key_id is not None:
            statement = statement.where(requests.c.key_id == key_id)
        with self.database.read() as connection:
            return connection.execute(statement).scalar_one()

    def cancel(self, request_id: str) -> str:
        """Return OK when it was still waiting and has ended now, CANCELLATION_REQUESTED when its worker will stop,
        ALREADY_COMPLETED or NOT_FOUND."""
        with self.database.write() as connection:
            state = connection.scalar(sa.select(requests.c.state).where(requests.c.id == request_id))
            if state is None:
                return "NOT_FOUND"
            if state == "completed":
                return "ALREADY_COMPLETED"
            if state == "queued" and self._end(connection, request_id, cancelled(), "queued"):
                return "OK"
            connection.execute(sa.update(requests).where(requests.c.id == request_id).values(cancel_asked=True))
            tell(connection, "changed", request_id)
            return "CANCELLATION_REQUESTED"

    def log_lines(self, request_id: str, after: int = 0, most: int = 10_000) -> list[LogLine]:
        """Return the lines numbered above `after`, in order."""
        statement = (
            sa.select(logs.c.number, logs.c.at, logs.c.level, logs.c.message)
            .where(logs.c.request_id == request_id, logs.c.number > after)
            .order_by(logs.c.number)
            .limit(most)
        )
        with self.database.read() as connection:
            return [LogLine(*row) for row in connection.execute(statement)]

    def points(self, request_id: str, after: int = 0) -> list[Point]:
        """Return the points numbered above `after`, as they came, thinned out to what a picture needs."""
        statement = (
            sa.select(points.c.number, points.c.step, points.c.name, points.c.value)
            .where(points.c.request_id == request_id, points.c.number > after)
            .order_by(points.c.number)
        )
        with self.database.read() as connection:
            return [Point(*row) for row in connection.execute(statement)]

    # ------------------------------------------------------------------------------------------------------------------
    # what workers do

    def claim(
        self,
        endpoints: Sequence[str] | None = None,
        *,
        but: Sequence[str] = (),
        prepared: bool = False,
        owner: str | None = None,
        room: Room | None = None,
    ) -> Request | None:
        """Take the next request, None when nothing waits. Its `owner`, new or given, is the token for what follows.

        endpoints: those whose requests count; None is all `but` these. prepared: only requests whose data is prepared.
        room: the slots that there are for it.
        """
        most = self.max_running
        while True:
            row = claims.claim(
                self.database, _COLUMNS, endpoints, but, prepared=prepared, owner=owner, max_running=most, room=room
            )
            if row is None:
                return None
            found = _request(row)
            if found.input is not None or self._has_null(found.id):
                return found
            assert found.owner is not None
            self._end_damaged(found.id, found.owner)

    def _has_null(self, request_id: str) -> bool:
        """Return whether null itself is the input, which is wrong, but not damaged."""
        with self.database.read() as connection:
            return connection.scalar(sa.select(requests.c.input).where(requests.c.id == request_id)) == "null"

    def _end_damaged(self, request_id: str, owner: str) -> None:
        """End a request whose input can't be read any more, so that it holds nobody up."""
        outcome = infrastructure_error(500, "internal_error", _DAMAGED)
        with self.database.write() as connection:
            write_lines(connection, request_id, [(time.time(), "ERROR", _DAMAGED)])
            self._end(connection, request_id, outcome, "running", owner)

    def beat(
        self,
        request_id: str,
        owner: str,
        *,
        progress: Mapping[str, Any] | None = None,
        lines: Sequence[tuple[float, str, str]] = (),
        curve: Sequence[tuple[int, str, float]] = (),
        made: bool = False,
        number: int | None = None,
    ) -> Asked:
        """See `beats.beat`."""
        return beat(
            self.database, request_id, owner, progress=progress, lines=lines, curve=curve, made=made, number=number
        )

    def asked_of(self, request_id: str, owner: str) -> Asked:
        """See `beats.asked_of`."""
        return asked_of(self.database, request_id, owner)

    def finish(self, request_id: str, owner: str, outcome: Outcome) -> None:
        """End a running request. Raises LostLeaseError."""
        with self.database.write() as connection:
            if not self._end(connection, request_id, outcome, "running", owner):
                raise beats.lease_lost(request_id)

    def release(self, request_id: str, owner: str, *, lost: bool, reason: str) -> None:
        """Give a request back to the queue: who runs or prepares it was stopped in good order, or was `lost`.

        Lost ones count: after MAX_ATTEMPTS of them, or one where no retry is wanted, the request fails. One that was to
        be cancelled ends here. A request that another worker has meanwhile is left alone.
        """
        with self.database.write() as connection:
            # The row is held until it is written. On Postgres the worker's own end could come in between and be undone.
            row = connection.execute(
                sa.select(
                    requests.c.attempts,
                    requests.c.no_retry,
                    requests.c.cancel_asked,
                    requests.c.state,
                    requests.c.key_id,
                    requests.c.endpoint,
                    requests.c.claimed_at,
                    requests.c.gpus,
                )
                .where(requests.c.id == request_id, requests.c.owner == owner)
                .with_for_update()
            ).one_or_none()
            if row is None:
                return
            now = time.time()
            write_lines(connection, request_id, [(now, "WARN", reason)])
            ends = cancelled() if row.cancel_asked else None
            if ends is None and lost and (row.no_retry or row.attempts >= MAX_ATTEMPTS):
                ends = infrastructure_error(503, "runner_disconnected", reason)
            if ends is not None:
                self._end(connection, request_id, ends, row.state, owner)
                return
            given_back = {"state": "queued", "owner": None, "attempts": row.attempts - (0 if lost else 1)}
            connection.execute(
                sa.update(requests).where(requests.c.id == request_id).values(told=requests.c.beat + 1, **given_back)
            )
            if row.state == "running":
                usage.charge(connection, row.key_id, row.endpoint, row.claimed_at, now, ended=False, slots=row.gpus)
            tell(connection, "queued", request_id)

    def held(self) -> list[tuple[str, str, int]]:
        """Return (id, owner, beat) of all that run or are being prepared. One whose beat stands still lost its worker.

        On SQLite it waits for its turn to write, as a beat does: where no beat could be written, nothing is said.
        """
        statement = sa.select(requests.c.id, requests.c.owner, requests.c.beat).where(HELD)
        with self.database.write_once() as connection:
            return [(row.id, row.owner, row.beat) for row in connection.execute(statement)]

    def start_seconds(self) -> dict[str, float]:
        """Return the seconds that are left to the requests that have to be started by a deadline."""
        statement = sa.select(requests.c.id, requests.c.start_before, requests.c.created_at).where(
            QUEUED, requests.c.started_at.is_(None), requests.c.start_before.is_not(None)
        )
        with self.database.read() as connection:
            # It is never more than was given, even if the clock was set back.
            return {
                row.id: row.start_before - max(time.time(), row.created_at) for row in connection.execute(statement)
            }

    def end_unstarted(self, request_ids: Iterable[str]) -> int:
        """End those of the requests that still wait, for they should have started by now; returns how many."""
        outcome = infrastructure_error(504, "request_timeout", "Request timed out")
        with self.database.write() as connection:
            return sum(self._end(connection, request_id, outcome, "queued") for request_id in request_ids)

    def _end(
        self, connection: Connection, request_id: str, outcome: Outcome, state: str, owner: str | None = None
    ) -> bool:
        return write_end(connection, request_id, outcome, state=state, owner=owner, unit_nano_usd=self.unit_nano_usd)

    # ------------------------------------------------------------------------------------------------------------------
    # what owners do afterwards

    def delete_payloads(self, request_id: str) -> list[str]:
        """Forget input, result, log, mark and files of a completed request, not the ledger. Returns the files' ids."""
        with self.database.write() as connection:
            ended = connection.execute(
                sa.update(requests)
                .where(requests.c.id == request_id, requests.c.state == "completed")
                .values(input=None, response=None, summary="", progress=None)
            ).rowcount
            if not ended:
                return []
            for table in (logs, points, marks):
                connection.execute(sa.delete(table).where(table.c.request_id == request_id))
            gone = connection.scalars(sa.delete(files).where(files.c.request_id == request_id).returning(files.c.id))
            return list(gone)

    def forget_unkept(self, before: float) -> int:
        """Drop input and result of requests that ended before the given time and were not to be kept; how many.

        Marks go with them, and one that was written while its payloads were deleted.
        """
        unkept = sa.and_(requests.c.ended_at < before, UNKEPT)
        with self.database.write() as connection:
            dropped = connection.execute(
                sa.update(requests).where(unkept).values(input=None, response=None, summary="", progress=None)
            ).rowcount
            bare = sa.exists().where(requests.c.id == marks.c.request_id, requests.c.input.is_(None))
            connection.execute(sa.delete(marks).where(bare))
            return dropped


_FIELDS = tuple(Request.__dataclass_fields__)
_COLUMNS = [requests.c[name] for name in _FIELDS]
_SELECT = sa.select(*_COLUMNS)
_JSON = ("input", "progress", "response")


def _request(row: Row[Any]) -> Request:
    values = dict(zip(_FIELDS, row, strict=True))
    return Request(**values | {name: value_of(values[name]) for name in _JSON})
