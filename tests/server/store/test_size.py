"""Many requests have ended: what is asked all the time reads no more of Postgres' tables for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.listing import page
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import read_queue, read_states
from soundlora.server.store.tables import metadata
from soundlora.server.store.totals import Totals

ENDED = 20_000
FILL = """
INSERT INTO requests (number, id, endpoint, key_id, state, priority, input, summary, keep_payloads, base_url,
    created_at, started_at, ended_at, no_retry, attempts, beat, cancel_asked, status_code, response, units)
SELECT n, lpad(n::text, 36, '0'), 'train', 'k' || n % 5, 'completed', 0, '{}', 'rain', true, '',
    n, n, n + 5, false, 1, 100, false, CASE WHEN n % 5000 = 0 THEN 500 ELSE 200 END, '{}', 100
FROM generate_series(1, :ended) AS n
"""
LEDGER = """
INSERT INTO ledger (request_id, endpoint, key_id, at, units, unit_nano_usd)
SELECT id, endpoint, key_id, ended_at, units, 0 FROM requests ORDER BY number
"""


@pytest.fixture(scope="module")
def full(postgres: str) -> Iterator[Requests]:
    """A table of requests that have ended, and of a few that have not."""
    database = Database(postgres)
    database.migrate()
    requests = Requests(database)
    with database.write() as connection:
        connection.execute(sa.text(FILL), {"ended": ENDED})
        connection.execute(sa.text(LEDGER))
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('requests', 'number'), :at)"), {"at": ENDED})
    for _ in range(20):
        requests.submit("train", {}, key_id="k1")
    with database.write() as connection:
        connection.execute(sa.text("ANALYZE"))
    yield requests
    with database.write() as connection:
        for table in metadata.tables.values():
            connection.execute(sa.delete(table))
    database.close()


class Reads:
    """The plans of what is asked in the block, and how many rows they read."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._asked: list[tuple[str, Any]] = []
        self.plans: list[str] = []

    def __enter__(self) -> Reads:
        sa.event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def _note(self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            self._asked.append((statement, parameters))

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self._engine, "before_cursor_execute", self._note)
        with self._engine.connect() as connection:
            for statement, parameters in self._asked:
                rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}", parameters)
                self.plans.append("\n".join(row[0] for row in rows))

    def few(self) -> None:
        """No table is read as a whole, and little is read to be left out: the rows of four other keys at most."""
        assert self.plans
        for plan in self.plans:
            assert "Seq Scan on requests" not in plan, plan
            assert "Seq Scan on ledger" not in plan, plan
            removed = [int(line.split(":")[1]) for line in plan.splitlines() if "Rows Removed by Filter" in line]
            assert sum(removed) < ENDED / 50, plan


def test_a_claim_and_the_queue_read_what_waits_only(full: Requests) -> None:
    with Reads(full.database) as reads:
        claimed = full.claim()
        read_queue(full.database)
        full.count_queued()
        full.held()
    reads.few()
    assert claimed is not None
    assert claimed.owner is not None
    full.release(claimed.id, claimed.owner, lost=False, reason="")


def test_statuses_read_what_they_are_asked_for(full: Requests) -> None:
    ids = [f"{number:036}" for number in range(1, 200)]
    with Reads(full.database) as reads:
        assert len(read_states(full.database, ids)) == 199
        full.find(ids[0])
    reads.few()


@pytest.mark.parametrize(("state", "number"), [("active", 20), ("failed", 4), ("succeeded", 30), ("", 30)])
def test_every_list_reads_as_much_as_it_shows(full: Requests, state: str, number: int) -> None:
    key = "k1" if state == "active" else "k0"
    with Reads(full.database) as reads:
        found = page(full.database, full, key, state=state).found
    assert len(found) == number
    reads.few()


def test_sums_are_the_databases_and_what_comes_later_is_added(full: Requests) -> None:
    totals = Totals(full.database)
    read: list[str] = []
    sa.event.listen(full.database.engine, "before_cursor_execute", lambda *named: read.append(named[2]))
    totals.update()
    assert totals.ended == {("train", 200, ""): ENDED - 4, ("train", 500, ""): 4}
    assert (totals.runs["train"], totals.units["train"]) == (ENDED, 100 * ENDED)
    assert totals.seconds["train"] == 5.0 * ENDED
    assert (totals.within["train", 1.0], totals.within["train", 10.0]) == (0, ENDED)
    id = full.submit("train", {}, outcome=Outcome(422, {}, error_type="missing")).id
    totals.update()
    totals.update()
    assert totals.ended["train", 422, "missing"] == 1
    assert totals.ended["train", 200, ""] == ENDED - 4
    full.delete_payloads(id)
