"""How the database means to answer a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from soundlora.server.store.database import Database

Asked = tuple[str, Any]
"""A statement and its parameters."""


def asked_of(database: Database, call: Callable[[], object]) -> list[Asked]:
    """What `call` asks of the database, without the beginnings of transactions."""
    asked: list[Asked] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    return asked


def plan(database: Database, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN " if database.engine.dialect.name == "sqlite" else "EXPLAIN "
    with database.read() as connection:
        return "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(explain + statement, parameters))
