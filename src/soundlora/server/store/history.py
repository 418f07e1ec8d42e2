"""The history answers questions about one key's requests and their costs, from the request table and the ledger."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from soundlora.errors import InputError
from soundlora.server.store.database import Database, value_of
from soundlora.server.store.marks import matching
from soundlora.server.store.tables import ledger, requests

DAY = 86_400

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Page(Generic[_Item]):
    """Some of the answers. `cursor` says where the next ones begin; it is None at the end."""

    items: list[_Item]
    cursor: str | None


@dataclass(frozen=True)
class Past:
    """A request of the history. Times are seconds since 1970. `input` and `output` are None unless asked for."""

    number: int
    id: str
    endpoint: str
    state: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    status_code: int | None
    units: int | None
    input: Any = None
    output: Any = None

    @property
    def duration(self) -> float | None:
        """The seconds of work, 0 for a request that never started, None before the end."""
        if self.ended_at is None:
            return None
        return self.ended_at - (self.ended_at if self.started_at is None else self.started_at)


@dataclass(frozen=True)
class Bill:
    """A line of the ledger."""

    number: int
    request_id: str
    endpoint: str
    at: float
    units: int
    unit_nano_usd: int


@dataclass(frozen=True)
class Use:
    """The use of one endpoint in the period that begins at `start`."""

    start: int
    endpoint: str
    requests: int
    units: int
    nano_usd: int


_PAST = [requests.c[name] for name in list(Past.__dataclass_fields__)[:-2]]
_DURATION = requests.c.ended_at - sa.func.coalesce(requests.c.started_at, requests.c.ended_at)


class History:
    """Questions to `database`. A `cursor` comes from the page before; an invalid one raises InputError."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ended(
        self,
        key_id: str,
        endpoints: Sequence[str],
        *,
        limit: int,
        cursor: str | None = None,
        start: float | None = None,
        end: float | None = None,
        status: str | None = None,
        request_id: str | None = None,
        payloads: bool = False,
        sort_by: str = "ended_at",
    ) -> Page[Past]:
        """Return completed requests of `endpoints` that ended from `start` to before `end`, latest or longest first.

        An index holds the requests of each endpoint in the order of their ends. The pages of several endpoints are
        merged.
        """
        by: Any = requests.c.ended_at if sort_by == "ended_at" else _DURATION
        conditions = [requests.c.key_id == key_id, requests.c.ended_at.is_not(None)]
        if start is not None:
            conditions.append(requests.c.ended_at >= start)
        if end is not None:
            conditions.append(requests.c.ended_at < end)
        if status is not None:
            conditions.append(_has(status))
        if request_id is not None:
            conditions.append(requests.c.id == request_id)
        if cursor is not None:
            conditions.append(sa.tuple_(by, requests.c.number) < _read(cursor, 2))
        order = (by.desc(), requests.c.number.desc())
        found: list[tuple[float, Past]] = []
        with self.database.read() as connection:
            for endpoint in dict.fromkeys(endpoints):
                columns = [*_columns(payloads), by]
                statement = sa.select(*columns).where(requests.c.endpoint == endpoint, *conditions)
                for *values, place in connection.execute(statement.order_by(*order).limit(limit + 1)):
                    found.append((place, _past(values)))
        found.sort(key=lambda each: (each[0], each[1].number), reverse=True)
        return _page(found, limit, lambda each: [each[0], each[1].number], lambda each: each[1])

    def search(
        self,
        key_id: str,
        text: str = "",
        *,
        limit: int,
        cursor: str | None = None,
        endpoints: Sequence[str] = (),
        start: float | None = None,
        end: float | None = None,
        status: str | None = None,
        payloads: bool = False,
    ) -> Page[Past]:
        """Return requests whose id begins with `text`, or whose summary, name or note contains it, the latest first.

        Waiting and running requests are among them. `start` and `end` limit their arrival.
        """
        conditions = [requests.c.key_id == key_id]
        if text:
            conditions.append(matching(key_id, text))
        if endpoints:
            conditions.append(requests.c.endpoint.in_(list(endpoints)))
        if start is not None:
            conditions.append(requests.c.created_at >= start)
        if end is not None:
            conditions.append(requests.c.created_at < end)
        if status is not None:
            conditions.append(_has(status))
        if cursor is not None:
            conditions.append(requests.c.number < _read(cursor, 1)[0])
        statement = sa.select(*_columns(payloads)).where(*conditions).order_by(requests.c.number.desc())
        with self.database.read() as connection:
            found = [_past(row) for row in connection.execute(statement.limit(limit + 1))]
        return _page(found, limit, lambda each: [each.number], lambda each: each)

    def bills(
        self,
        key_id: str,
        *,
        limit: int,
        cursor: str | None = None,
        endpoints: Sequence[str] = (),
        request_id: str | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Page[Bill]:
        """Return lines of the ledger, the latest first."""
        conditions = _billed(key_id, endpoints, start, end)
        if request_id is not None:
            conditions.append(ledger.c.request_id == request_id)
        if cursor is not None:
            conditions.append(sa.tuple_(ledger.c.at, ledger.c.number) < _read(cursor, 2))
        statement = sa.select(*(ledger.c[name] for name in Bill.__dataclass_fields__)).where(*conditions)
        statement = statement.order_by(ledger.c.at.desc(), ledger.c.number.desc()).limit(limit + 1)
        with self.database.read() as connection:
            found = [Bill(*row) for row in connection.execute(statement)]
        return _page(found, limit, lambda each: [each.at, each.number], lambda each: each)

    def usage(
        self, key_id: str, seconds: int, *, endpoints: Sequence[str] = (), start: float | None = None, end: float
    ) -> list[Use]:
        """Return sums of the ledger by endpoint and period of `seconds`, the earliest first. Periods start in UTC."""
        # Not every SQLite has floor(). SQLite's cast to a whole number truncates, and Postgres' rounds.
        sqlite = self.database.engine.dialect.name == "sqlite"
        quotient = ledger.c.at / float(seconds)
        stretch = sa.cast(quotient if sqlite else sa.func.floor(quotient), sa.BigInteger)
        statement = (
            sa.select(
                stretch.label("stretch"),
                ledger.c.endpoint,
                sa.func.count(),
                # Postgres returns sums as numeric.
                sa.cast(sa.func.sum(ledger.c.units), sa.BigInteger),
                sa.cast(sa.func.sum(ledger.c.units * ledger.c.unit_nano_usd), sa.BigInteger),
            )
            .where(*_billed(key_id, endpoints, start, end))
            .group_by("stretch", ledger.c.endpoint)
            .order_by("stretch", ledger.c.endpoint)
        )
        with self.database.read() as connection:
            return [Use(int(number) * seconds, *sums) for number, *sums in connection.execute(statement)]

    def spent(self, key_id: str, endpoint: str) -> tuple[int, int]:
        """Return (the number of completed requests that were billed, their cost in billionths of a dollar)."""
        statement = sa.select(
            sa.func.count(),
            sa.cast(sa.func.coalesce(sa.func.sum(ledger.c.units * ledger.c.unit_nano_usd), 0), sa.BigInteger),
        ).where(*_billed(key_id, [endpoint], None, None), ledger.c.units > 0)
        with self.database.read() as connection:
            count, nano_usd = connection.execute(statement).one()
        return count, nano_usd


def _has(status: str) -> sa.ColumnElement[bool]:
    code = requests.c.status_code
    return {"success": code < 400, "user_error": code.between(400, 499), "error": code >= 500}[status]


def _billed(
    key_id: str, endpoints: Sequence[str], start: float | None, end: float | None
) -> list[sa.ColumnElement[bool]]:
    conditions = [ledger.c.key_id == key_id]
    if endpoints:
        conditions.append(ledger.c.endpoint.in_(list(endpoints)))
    if start is not None:
        conditions.append(ledger.c.at >= start)
    if end is not None:
        conditions.append(ledger.c.at < end)
    return conditions


def _columns(payloads: bool) -> list[sa.ColumnElement[Any]]:
    return [*_PAST, requests.c.input, requests.c.response] if payloads else [*_PAST]


def _past(row: Iterable[Any]) -> Past:
    values = list(row)
    texts = values[len(_PAST) :]
    return Past(*values[: len(_PAST)], *map(value_of, texts))


def _page(found: list[Any], limit: int, place: Any, item: Any) -> Page[Any]:
    more = len(found) > limit
    return Page([item(each) for each in found[:limit]], _write(place(found[limit - 1])) if more else None)


def _write(place: list[float | int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _read(cursor: str, length: int) -> list[float | int]:
    try:
        place = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        place = None
    numbers = isinstance(place, list) and all(type(each) in (int, float) and abs(each) < 2**63 for each in place)
    if not numbers or len(place) != length or type(place[-1]) is not int:
        raise InputError(f"cursor is {cursor[:60]!r}, but it must be the next_cursor of the page before.")
    return [float(each) for each in place[:-1]] + [place[-1]]
