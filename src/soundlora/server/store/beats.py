"""A beat is the word of a worker: that it lives, what it does, and what is new. Its answer says what is asked of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store.database import Database
from soundlora.server.store.tables import logs, points, requests


class LostLeaseError(RuntimeError):
    """Another worker has the request now, or it has ended."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the worker of a request."""

    cancel: bool
    stop: bool  # to end a training with what it has learnt


def beat(
    database: Database,
    request_id: str,
    owner: str,
    *,
    progress: Mapping[str, Any] | None = None,
    lines: Sequence[tuple[float, str, str]] = (),
    curve: Sequence[tuple[int, str, float]] = (),
    made: bool = False,
) -> Asked:
    """Say that the worker lives and what it does; return what it is asked.

    It is one statement where there are neither lines nor points. lines: (time, level, message) of the log. curve:
    (step, name, value). made: files were stored since the beat before. Raises LostLeaseError.
    """
    values: dict[str, Any] = {"beat": requests.c.beat + 1}
    if progress is not None:
        values["progress"] = json.dumps(progress)
    more = bool(lines or curve)
    if more or made:
        values["told"] = requests.c.beat + 1
    statement = (
        sa.update(requests)
        .where(requests.c.id == request_id, requests.c.owner == owner, requests.c.state == "running")
        .values(values)
        .returning(requests.c.cancel_asked, requests.c.stop_asked)
    )
    with database.write() if more else database.write_once() as connection:
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise _lost(request_id)
        write_lines(connection, request_id, lines)
        if curve:
            named = [{"request_id": request_id, "step": s, "name": n, "value": v} for s, n, v in curve]
            connection.execute(sa.insert(points), named)
    return Asked(*row)


def asked_of(database: Database, request_id: str, owner: str) -> Asked:
    """Return what a worker is asked, without a word of its own. Raises LostLeaseError."""
    statement = sa.select(requests.c.cancel_asked, requests.c.stop_asked).where(
        requests.c.id == request_id, requests.c.owner == owner, requests.c.state == "running"
    )
    with database.read() as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        raise _lost(request_id)
    return Asked(*row)


def write_lines(connection: Connection, request_id: str, lines: Sequence[tuple[float, str, str]]) -> None:
    """Add lines (time, level, message) to the log of a request, in the transaction of `connection`."""
    if lines:
        named = [{"request_id": request_id, "at": at, "level": level, "message": text} for at, level, text in lines]
        connection.execute(sa.insert(logs), named)


def _lost(request_id: str) -> LostLeaseError:
    return LostLeaseError(f"Request {request_id} belongs to another worker now, or it has ended.")
