"""Time on slots: written down in stretches, and never more than an hour of it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from soundlora.server.store import usage
from soundlora.server.store.database import Database
from soundlora.server.store.tables import usage as table

NOW = 1_700_000_200.0  # a third of a stretch after its beginning


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


def charged(database: Database, claimed_at: float | None, *, ended: bool = True) -> list[tuple[float, int]]:
    """(seconds, ends) by stretch, the latest first."""
    with database.write() as connection:
        usage.charge(connection, "me", "train", claimed_at, NOW, ended=ended)
        statement = sa.select(table.c.seconds, table.c.ends).order_by(table.c.stretch.desc())
        return [(row.seconds, row.ends) for row in connection.execute(statement)]


def test_a_run_counts_in_the_stretches_in_which_it_ran(database: Database) -> None:
    part = NOW % usage.STRETCH_SECONDS
    assert charged(database, NOW - part - 400) == [(part, 1), (300.0, 0), (100.0, 0)]
    assert charged(database, NOW - 10, ended=False)[0] == (part + 10, 1)
    assert charged(database, NOW - 10)[0] == (part + 20, 2)


@pytest.mark.parametrize(("claimed_at", "seconds"), [(0.0, usage.WINDOW_SECONDS), (NOW + 1e6, 0.0), (None, 0.0)])
def test_wrong_clocks_count_for_an_hour_at_most(database: Database, claimed_at: float | None, seconds: float) -> None:
    assert sum(row[0] for row in charged(database, claimed_at)) == pytest.approx(seconds)


def test_the_window_has_an_hour(database: Database) -> None:
    first, last = usage.window(NOW)
    assert (last - first + 1) * usage.STRETCH_SECONDS == usage.WINDOW_SECONDS
    assert first * usage.STRETCH_SECONDS > NOW - usage.WINDOW_SECONDS
