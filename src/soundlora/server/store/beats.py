"""A beat is the word of a worker: that it lives, what it does, and what is new. Its answer says what is asked of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    beat: int = field(compare=False)  # the number of the last beat


def beat(
    database: Database,
    request_id: str,
    owner: str,
    *,
    progress: Mapping[str, Any] | None = None,
    lines: Sequence[tuple[float, str, str]] = (),
    curve: Sequence[tuple[int, str, float]] = (),
    made: bool = False,
    number: int | None = None,
) -> Asked:
    """Say that the worker lives and what it does; return what it is asked.

    It is one statement where there are neither lines nor points. lines: (time, level, message) of the log. curve:
    (step, name, value). made: files were stored since the beat before. number: one above the last beat's; a beat whose
    answer was lost can be repeated with the same number, and writes nothing twice. Raises LostLeaseError.
    """
    values: dict[str, Any] = {"beat": requests.c.beat + 1}
    if progress is not None:
        values["progress"] = json.dumps(progress)
    more = bool(lines or curve)
    if more or made:
        values["told"] = requests.c.beat + 1
    next_one = sa.true() if number is None else requests.c.beat == number - 1
    statement = sa.update(requests).where(_held(request_id, owner), next_one).values(values).returning(*_ASKED)
    with database.write() if more else database.write_once() as connection:
        row = connection.execute(statement).one_or_none()
        if row is None:
            row = connection.execute(sa.select(*_ASKED).where(_held(request_id, owner))).one_or_none()
            if row is None or number is None or row.beat != number:
                raise lease_lost(request_id)
            return Asked(*row)
        write_lines(connection, request_id, lines)
        if curve:
            named = [{"request_id": request_id, "step": s, "name": n, "value": v} for s, n, v in curve]
            connection.execute(sa.insert(points), named)
    return Asked(*row)


def asked_of(database: Database, request_id: str, owner: str) -> Asked:
    """Return what a worker is asked, without a word of its own. Raises LostLeaseError."""
    with database.read() as connection:
        row = connection.execute(sa.select(*_ASKED).where(_held(request_id, owner))).one_or_none()
    if row is None:
        raise lease_lost(request_id)
    return Asked(*row)


def write_lines(connection: Connection, request_id: str, lines: Sequence[tuple[float, str, str]]) -> None:
    """Add lines (time, level, message) to the log of a request, in the transaction of `connection`."""
    if lines:
        named = [
            {"request_id": request_id, "at": at, "level": level, "message": _clean(text)} for at, level, text in lines
        ]
        connection.execute(sa.insert(logs), named)


def _clean(text: str) -> str:
    """Return text that every database takes. A line that can't be written would keep all later beats from it."""
    return text.encode(errors="replace").decode().replace("\0", "")


_ASKED = (requests.c.cancel_asked, requests.c.stop_asked, requests.c.beat)


def _held(request_id: str, owner: str) -> sa.ColumnElement[bool]:
    # Whoever ends a request or gives it back takes the owner away, and one whose data is prepared has an owner, too.
    return sa.and_(requests.c.id == request_id, requests.c.owner == owner)


def lease_lost(request_id: str) -> LostLeaseError:
    """Return the error of whoever no longer has a request."""
    return LostLeaseError(f"Request {request_id} belongs to another worker now, or it has ended.")
