"""A request table in a file of its own, or in Postgres."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import metadata


@pytest.fixture
def database_file(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def database(database_file: Database) -> Database:
    return database_file


@pytest.fixture(params=["sqlite", "postgres"])
def either_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """For a `database` of tests that must hold on both."""
    if request.param == "sqlite":
        yield request.getfixturevalue("database_file")
        return
    database = Database(request.getfixturevalue("postgres"))
    database.migrate()
    yield database
    with database.write() as connection:
        for table in metadata.tables.values():
            connection.execute(sa.delete(table))
    database.close()


@pytest.fixture
def requests(database: Database) -> Requests:
    return Requests(database, {"train": 2_200_000})
