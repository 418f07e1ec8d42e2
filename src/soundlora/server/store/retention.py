"""Files of old runs go by age and by size: states and previews first, results last.

Nothing goes of a run that waits, runs or has a star. Its request stays in the history, and its line in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.states import is_id
from soundlora.server.store.tables import files as table
from soundlora.server.store.tables import marks, requests

DAY = 86_400.0
FIRST_TO_GO = ("preview", "checkpoint", "clip", "clips")
"""Roles of files that are pruned before results."""
STATES = "runs"
"""The folder of the storage where states of runs lie, each in a folder that is called by its request."""
_AT_A_TIME = 500

_T = TypeVar("_T")


@dataclass(frozen=True)
class Item:
    """Something that may go: a file, or all states of a run. `size` is in bytes."""

    result: bool
    ended_at: float
    id: str  # of the file, or of the request whose states they are
    size: int
    state: bool = False


@dataclass(frozen=True)
class Pruned:
    """What went, or would go. Sizes are in bytes; `kept` is that of all runs' files that stay."""

    results: int
    others: int
    size: int
    kept: int


def unstarred() -> sa.ColumnElement[bool]:
    """Return the condition of requests that nobody has given a star."""
    return ~sa.exists().where(marks.c.request_id == requests.c.id, marks.c.starred.is_(True))


def prune(files: Files, *, keep_days: float, keep_bytes: int, now: float, dry_run: bool = False) -> Pruned:
    """Remove files of runs that ended more than `keep_days` ago, and the oldest while all are above `keep_bytes`.

    0 is without limit. With `dry_run` nothing is removed. Raises StorageError.
    """
    states = _states(files)
    with files.database.read() as connection:
        whole = sa.select(sa.func.coalesce(sa.func.sum(table.c.size), 0)).where(table.c.request_id.is_not(None))
        total = int(connection.execute(whole).scalar_one()) + sum(states.values())
    gone: list[Item] = []
    left = total
    for item in _items(files.database, states):
        too_old = bool(keep_days) and item.ended_at < now - keep_days * DAY
        if too_old or (keep_bytes and left > keep_bytes):
            gone.append(item)
            left -= item.size
    if not dry_run:
        _remove(files, gone)
    results = sum(item.result for item in gone)
    return Pruned(results, len(gone) - results, total - left, left)


def _items(database: Database, states: dict[str, int]) -> list[Item]:
    """Return all that may go, in the order in which it goes."""
    over = sa.and_(requests.c.state == "completed", unstarred())
    found = list(_ended(database, over, states))
    statement = (
        sa.select(table.c.role, requests.c.ended_at, table.c.id, table.c.size)
        .join(requests, requests.c.id == table.c.request_id)
        .where(over, table.c.size.is_not(None))
    )
    with database.read() as connection:
        for role, *rest in connection.execute(statement):
            found.append(Item(role not in FIRST_TO_GO, *rest))
    return sorted(found, key=lambda item: (item.result, item.ended_at, item.id))


def _ended(database: Database, over: sa.ColumnElement[bool], states: dict[str, int]) -> Iterator[Item]:
    with database.read() as connection:
        for part in _parts(list(states)):
            statement = sa.select(requests.c.ended_at, requests.c.id).where(over, requests.c.id.in_(part))
            for ended_at, id in connection.execute(statement):
                yield Item(False, ended_at, id, states[id], state=True)


def _states(files: Files) -> dict[str, int]:
    """Return the bytes of all states in the storage by request."""
    sizes: dict[str, int] = {}
    for key, size in files.storage.list(STATES):
        id = key.split("/")[1]
        if is_id(id):
            sizes[id] = sizes.get(id, 0) + size
    return sizes


def _remove(files: Files, gone: Iterable[Item]) -> None:
    for part in _parts(list(gone)):
        files.remove([item.id for item in part if not item.state])
        for item in part:
            if item.state:
                for key, _ in list(files.storage.list(f"{STATES}/{item.id}")):
                    files.storage.delete(key)


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _AT_A_TIME):
        yield items[start : start + _AT_A_TIME]
