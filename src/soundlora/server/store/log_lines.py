"""Lines of a request's log, as they are written."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store.tables import logs


def write_lines(connection: Connection, request_id: str, lines: Sequence[tuple[float, str, str]]) -> None:
    """Add lines of (time, level, message)."""
    if lines:
        named = [{"request_id": request_id, "at": at, "level": level, "message": text} for at, level, text in lines]
        connection.execute(sa.insert(logs), named)
