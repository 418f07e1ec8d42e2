"""Marks are what people say of their requests: a star, a name and a note. They go with the payloads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from soundlora.server.store.database import Database
from soundlora.server.store.states import is_id
from soundlora.server.store.tables import marks, requests


@dataclass(frozen=True)
class Mark:
    """What is said of one request. `name` is its title; "" leaves that to what it was asked for."""

    starred: bool = False
    name: str = ""
    note: str = ""


class Marks:
    """The marks of `database`. Threads and servers may share it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def of(self, request_ids: Iterable[str]) -> dict[str, Mark]:
        """Return marks by request. What nobody has said anything of is missing."""
        statement = sa.select(marks.c.request_id, *_FIELDS).where(marks.c.request_id.in_(list(request_ids)))
        with self.database.read() as connection:
            return {id: Mark(*values) for id, *values in connection.execute(statement)}

    def change(self, request_id: str, key_id: str, changes: Mapping[str, Any]) -> Mark | None:
        """Change the fields of Mark that are named in `changes`, and no others, and return the mark.

        Two who change different fields at once keep both. Return None when the key has no such request, or its payloads
        were deleted.
        """
        mine = sa.select(requests.c.id).where(
            requests.c.id == request_id, requests.c.key_id == key_id, requests.c.input.is_not(None)
        )
        if not is_id(request_id):
            return None
        row = marks.c.request_id == request_id
        with self.database.write() as connection:
            if connection.execute(mine).one_or_none() is None:
                return None
            new = {"request_id": request_id, "key_id": key_id, "said": "", **dataclasses.asdict(Mark())}
            connection.execute(self._insert().values(new).on_conflict_do_nothing())
            found = Mark(*connection.execute(sa.select(*_FIELDS).where(row).with_for_update()).one())
            mark = dataclasses.replace(found, **changes)
            said = f"{mark.name}\n{mark.note}".lower()
            connection.execute(sa.update(marks).where(row).values(**dataclasses.asdict(mark), said=said))
        return mark

    def _insert(self) -> Any:
        return (sqlite if self.database.engine.dialect.name == "sqlite" else postgresql).insert(marks)


def matching(key_id: str, text: str) -> sa.ColumnElement[bool]:
    """Return the condition of requests whose id begins with `text`, or whose summary, name or note contains it."""
    text = text.lower()
    said = sa.select(marks.c.request_id).where(marks.c.key_id == key_id, marks.c.said.contains(text, autoescape=True))
    return sa.or_(
        requests.c.summary.contains(text, autoescape=True),
        requests.c.id.startswith(text, autoescape=True),
        requests.c.id.in_(said),
    )


_FIELDS = [marks.c[field.name] for field in dataclasses.fields(Mark)]
