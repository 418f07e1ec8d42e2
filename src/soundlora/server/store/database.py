"""The server has one database, which is an SQLite file or a Postgres server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url

from soundlora.errors import InputError
from soundlora.system.whole_files import writing

_BUSY_SECONDS = 30
"""A write waits this long for the end of another process's write."""

_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}
"""Of Postgres' connections. A network that swallows everything would else hold a worker for a quarter of an hour."""


class Database:
    """Short transactions on one engine. Threads may share it."""

    def __init__(self, url: str) -> None:
        """Take the database at SQLAlchemy's `url`. Nothing is connected yet. Raises InputError for an unusable URL.

        Raises MachineError when the folder of an SQLite file can't be made.
        """
        self.url = url
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite":
                if not parsed.database or parsed.database == ":memory:":
                    raise InputError("The database must be a file, for several processes share it.")
                folder = Path(parsed.database).parent
                with writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                self.engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
                sa.event.listen(self.engine, "connect", _set_up_sqlite)
                sa.event.listen(self.engine, "begin", _begin_sqlite)
            else:
                if parsed.drivername == "postgresql":
                    parsed = parsed.set(drivername="postgresql+psycopg")
                # The ping notices a connection that the database has dropped meanwhile.
                given = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
                self.engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args=given)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
            raise InputError(f"The database URL can't be used ({error}); write postgresql://user@host/name.") from None
        except ModuleNotFoundError as error:
            raise InputError(f'{error.name} is missing; install it with pip install "soundlora[postgres]".') from None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that changes nothing. On SQLite its statements see one state of the tables.

        On Postgres each statement sees the latest state, with or without a transaction, so there is none.
        """
        with self.engine.connect() as connection:
            if not self._sqlite:
                connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that takes effect whole or not at all. SQLite has one writer."""
        with self.engine.connect().execution_options(soundlora_write=True) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write_once(self) -> Iterator[Connection]:
        """Yield a connection for one statement that writes. Postgres needs no BEGIN and no COMMIT around it."""
        if self._sqlite:
            with self.write() as connection:
                yield connection
        else:
            with self.engine.connect() as connection:
                yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def _sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def migrate(self) -> None:
        """Bring the tables to this version's state. Their content stays. Servers call this, and workers rely on it."""
        from soundlora.server.store.migrations import upgrade

        upgrade(self.engine)

    def close(self) -> None:
        self.engine.dispose()


def value_of(text: str | None) -> Any:
    """Return the value of JSON from a table. It is None where there is no text, and where the text is damaged."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def _set_up_sqlite(connection: Any, record: object) -> None:
    # The driver's own transactions begin too late, so the listener below opens ours.
    connection.isolation_level = None
    # With WAL readers and one writer don't wait for each other. With FULL an accepted request survives a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail if another one wrote in between.
    write = connection.get_execution_options().get("soundlora_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
