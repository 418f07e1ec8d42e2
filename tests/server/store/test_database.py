"""One database, SQLite or Postgres: what is refused, and that transactions are whole."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from soundlora.errors import InputError
from soundlora.server.store import migrations
from soundlora.server.store.database import Database
from soundlora.server.store.migrations import HEAD
from soundlora.server.store.tables import metadata, secrets


def values(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return {row.name: row.value for row in connection.execute(sa.select(secrets))}


def test_a_new_file_gets_every_table_of_this_version(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'folder' / 'jobs.db'}")
    database.migrate()
    database.migrate()
    with database.read() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD
    database.close()


def test_the_steps_make_the_tables_that_the_code_speaks_of(database: Database) -> None:
    with database.read() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.tables.values():
            there = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            assert there == {column.name: column.nullable for column in table.columns}
            assert {index["name"] for index in inspector.get_indexes(table.name)} >= {
                index.name for index in table.indexes
            }


def test_what_is_in_the_tables_survives_a_second_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    for name in ("first", "second"):
        database = Database(url)
        database.migrate()
        with database.write() as connection:
            connection.execute(sa.insert(secrets).values(name=name, value="x"))
        database.close()
    again = Database(url)
    assert set(values(again)) == {"first", "second"}
    again.close()


def test_tables_of_the_first_version_are_brought_up_to_date(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    first = _made(database)
    with database.write() as connection:
        connection.execute(sa.insert(secrets).values(name="kept", value="x"))
    database.migrate()
    tables = {"marks", "nodes", "usage", "duties"}
    indexes = {
        *("requests_deadlines", "marks_by_key", "requests_unprepared", "requests_waiting", "requests_held"),
        *("requests_unfinished", "requests_failed", "requests_unkept"),
    }
    assert first - _made(database) == {"requests_queue"}
    assert _made(database) - first == tables | indexes | {f"sqlite_autoindex_{name}_1" for name in tables}
    new = Database(f"sqlite:///{tmp_path / 'new.db'}")
    new.migrate()
    assert _made(database) == _made(new)
    assert values(database) == {"kept": "x"}
    database.close()
    new.close()


def _made(database: Database) -> set[str]:
    """Tables and indexes by name."""
    with database.read() as connection:
        return set(connection.scalars(sa.text("SELECT name FROM sqlite_master")))


def test_servers_that_start_at_once_share_the_tables(postgres: str) -> None:
    databases = [Database(postgres) for _ in range(3)]
    threads = [threading.Thread(target=database.migrate) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        assert values(database) == {}
        database.close()


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(secrets).values(name="half", value="x"))
            raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert values(database) == {}


def test_writers_wait_for_each_other_and_readers_for_nobody(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.insert(secrets).values(name="counter", value="0"))

    def count() -> None:
        for _ in range(20):
            with database.write() as connection:
                value = connection.execute(sa.select(secrets.c.value)).scalar_one()
                connection.execute(sa.update(secrets).values(value=str(int(value) + 1)))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(database) == {"counter": "60"}
    with database.write() as connection:
        connection.execute(sa.update(secrets).values(value="unseen"))
        assert values(database) == {"counter": "60"}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nonsense", "oracle9://x/y"])
def test_urls_that_cannot_be_shared_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="database"):
        Database(url)


def test_postgres_is_reached_by_its_plain_name() -> None:
    database = Database("postgresql://somebody@db.example/jobs")
    assert database.engine.url.drivername == "postgresql+psycopg"
    database.close()
