"""What is asked all the time never looks through what has ended: each statement has a small index, or a single row."""

from __future__ import annotations

import re
import time

import pytest
import sqlalchemy as sa
from plans import asked_of, plan
from rows import claimed, found

from soundlora.server.store import leases, totals
from soundlora.server.store.database import Database
from soundlora.server.store.deliveries import Deliveries
from soundlora.server.store.finish import Outcome
from soundlora.server.store.limits import taken
from soundlora.server.store.preparing import Preparing
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import read_ahead, read_queue, read_states
from soundlora.server.store.stopping import ask_to_stop
from soundlora.server.store.tables import deliveries, ledger, logs, points
from soundlora.server.store.tables import requests as table

ENDED = 4000
BIG = ("requests", "logs", "points", "ledger", "deliveries")
"""Tables that grow with all that has ever been done."""
SMALL = {
    *("requests_waiting", "requests_held", "requests_unprepared", "requests_unfinished", "requests_deadlines"),
    *("requests_unkept", "deliveries_due"),
}
"""Indexes of what has not ended, or of what one condition leaves of it."""
ONE = {
    *("requests_pkey", "requests_id_key", "ledger_pkey", "ledger_request_id_key", "deliveries_pkey"),
    *("logs_by_request", "points_by_request", "ledger_by_key", "sqlite_autoindex_requests_1"),
    *("sqlite_autoindex_deliveries_1",),
}
"""Indexes that lead to the rows of one request, or of one month of a key."""


@pytest.fixture
def full(either_database: Database) -> Requests:
    """A table in which thousands have ended, and some wait."""
    requests = Requests(either_database)
    ended = {
        "endpoint": "train", "state": "completed", "priority": 0, "input": "{}", "summary": "", "keep_payloads": True,
        "base_url": "", "created_at": 1.0, "started_at": 1.0, "ended_at": 2.0, "no_retry": False, "attempts": 1,
        "beat": 9, "cancel_asked": False, "status_code": 200, "response": "{}", "units": 100,
    }  # fmt: skip
    ids = [f"{n:036}" for n in range(ENDED)]
    line = {"endpoint": "train", "at": 2.0, "units": 100, "unit_nano_usd": 0}
    told = {"url": "", "body": "{}", "state": "delivered", "attempts": 1, "next_at": 2.0}
    with either_database.write() as connection:
        for into, rows in (
            (table, [ended | {"id": id, "key_id": f"key {n % 5}"} for n, id in enumerate(ids)]),
            (ledger, [line | {"request_id": id, "key_id": f"key {n % 5}"} for n, id in enumerate(ids)]),
            (deliveries, [told | {"request_id": id} for id in ids]),
            (logs, [{"request_id": id, "at": 1.0, "level": "INFO", "message": "a line"} for id in ids]),
            (points, [{"request_id": id, "step": 1, "name": "loss", "value": 1.0} for id in ids]),
        ):
            connection.execute(sa.insert(into), rows)
    for n in range(20):
        requests.submit("train", {}, key_id=f"key {n % 3}", prepared=n % 2 == 0, start_seconds=900 if n < 4 else None)
    requests.submit("train", {}, key_id="key 0", keep_payloads=False, outcome=Outcome(200, {}))
    with either_database.write() as connection:
        connection.execute(sa.text("ANALYZE"))
    return requests


def live(requests: Requests) -> None:
    """All that servers, executors and workers ask while requests come, run and end."""
    database, preparing = requests.database, Preparing(requests, ["generate"])
    id = requests.submit("train", {}, key_id="key 1", webhook_url="http://x").id
    assert preparing.is_wanted()
    ready = preparing.claim("me")
    assert ready is not None
    preparing.done(ready.id, "me")
    request, owner = claimed(requests)
    assert {held for held, _, _ in requests.held()} == {request.id}
    assert leases.held(database, [owner, "another"]) == {owner: request.id}
    assert len(requests.start_seconds()) in (3, 4)
    requests.beat(request.id, owner, progress={"step": 1}, number=request.beat + 1)
    requests.beat(request.id, owner, lines=[(1.0, "INFO", "x")], curve=[(1, "loss", 1.0)], number=request.beat + 2)
    requests.asked_of(request.id, owner)
    assert requests.log_lines(request.id)
    assert requests.points(request.id)
    states = read_states(database, [request.id, id])
    read_ahead(database, [states[id]])
    read_queue(database)
    requests.queued()
    requests.count_queued()
    requests.count_queued(endpoint="train")
    requests.count_queued(key_id="key 1")
    leases.count_ready(database, ["train"])
    leases.count_ready(database, but=["generate"])
    taken(database, "key 1")
    totals.now(database)
    ask_to_stop(database, request.id)
    requests.cancel(request.id)
    requests.finish(request.id, owner, Outcome(200, {}, units=100))
    another, owner = claimed(requests)
    requests.release(another.id, owner, lost=False, reason="stopped")
    requests.cancel(id)
    sent = Deliveries(database).claim()
    assert sent is not None
    Deliveries(database).delivered(sent)
    requests.end_unstarted(list(requests.start_seconds())[:1])
    found(requests, request.id)
    assert requests.forget_unkept(time.time() + 1) == 1


def test_no_statement_of_what_goes_on_reads_what_has_ended(full: Requests) -> None:
    asked = asked_of(full.database, lambda: live(full))
    assert len(asked) > 60
    sqlite = full.database.engine.dialect.name == "sqlite"
    for statement, parameters in asked:
        if not statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            continue
        plans = plan(full.database, statement, parameters)
        for big in BIG:
            assert f"Seq Scan on {big}" not in plans, (statement, plans)
            assert not re.search(rf"SCAN {big}(?! USING)", plans), (statement, plans)
        used = (
            re.findall(r"INDEX (\w+)", plans) if sqlite else re.findall(r"Scan (?:\w+ )?(?:using|on) (\w+_\w+)", plans)
        )
        grown = {name for name in used if name.removeprefix("sqlite_autoindex_").startswith(BIG)}
        assert grown <= SMALL | ONE, (statement, plans)
