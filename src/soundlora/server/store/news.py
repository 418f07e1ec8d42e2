"""Servers that share a Postgres tell each other what they write, so that each knows at once and not at its next look.

Workers don't listen: each word wakes all who do, whatever it is about, and there may be a thousand workers. Whatever is
missed is found by the looks that go on beside this.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store.database import Database

Kind = Literal["queued", "changed"]
_CHANNEL = "soundlora"
_WAIT_SECONDS = 1.0
_AGAIN_SECONDS = 2.0


def tell(connection: Connection, kind: Kind, request_id: str) -> None:
    """Tell the servers of a request that has joined the queue, or has changed, once the transaction has taken effect.

    On SQLite nobody is told.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(_CHANNEL, f"{kind} {request_id}")))


class Listener:
    """A thread that calls `hear` with the kind and the id of what any server tells. On SQLite there is none.

    After each connection it calls `hear` with two empty texts: anything may have happened before.
    """

    def __init__(self, database: Database, hear: Callable[[str, str], None]) -> None:
        self._database, self._hear = database, hear
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        if self._database.engine.dialect.name == "postgresql":
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        complained = False
        while not self._over.is_set():
            try:
                # The connection is not one of the pool's, for it goes on listening.
                with self._database.engine.connect() as connection:
                    connection.execution_options(isolation_level="AUTOCOMMIT")
                    connection.detach()
                    connection.execute(sa.text(f"LISTEN {_CHANNEL}"))
                    self._hear("", "")
                    complained = False
                    self._listen(connection.connection.dbapi_connection)
            except Exception as error:  # Whatever it is, the server's looks find the news meanwhile.
                if not complained:
                    print(f"soundlora: news can't be heard: {error}", file=sys.stderr, flush=True)
                complained = True
                self._over.wait(_AGAIN_SECONDS)

    def _listen(self, connection: Any) -> None:
        while not self._over.is_set():
            for notice in connection.notifies(timeout=_WAIT_SECONDS):
                kind, _, request_id = notice.payload.partition(" ")
                self._hear(kind, request_id)
                if self._over.is_set():
                    return
            connection.execute("SELECT 1")  # A connection that is dead is noticed.
