"""Counts of what was done, on SQLite and on Postgres."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import ledger
from soundlora.server.store.totals import Totals, now

OK = Outcome(200, {}, units=100)


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


def run(requests: Requests, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    request_id = requests.submit("train", {}).id
    with monkeypatch.context() as patch:
        clock = type("Clock", (), {"now": 1000.0, "time": lambda self: self.now})()
        patch.setattr("soundlora.server.store.requests.time", clock)
        patch.setattr("soundlora.server.store.finish.time", clock)
        patch.setattr("soundlora.server.store.claims.time", clock)
        claimed = requests.claim()
        assert claimed is not None
        assert claimed.owner is not None
        clock.now += seconds
        requests.finish(request_id, claimed.owner, OK)


def test_each_is_counted_once(database: Database, requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = Totals(database)
    for count in (1, 2):
        run(requests, monkeypatch, 30)
        totals.update()
        totals.update()
        assert totals.ended == {("train", 200, ""): count}

    assert (totals.units["train"], totals.runs["train"], totals.seconds["train"]) == (200, 2, 60)
    assert {bound: totals.within["train", bound] for bound in (1.0, 10.0, 60.0, 300.0)} == {1: 0, 10: 0, 60: 2, 300: 2}


def test_a_new_server_goes_on_with_the_sums(
    database: Database, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(requests, monkeypatch, 30)
    old, new = Totals(database), Totals(database)
    old.update()
    run(requests, monkeypatch, 40)
    old.update()
    new.update()

    assert (new.ended, new.seconds, new.within) == (old.ended, old.seconds, old.within)


def test_a_line_that_appears_late_is_counted(
    database: Database, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres a transaction may be seen before another one whose numbers are lower."""
    for seconds in (1, 2, 3):
        run(requests, monkeypatch, seconds)
    with database.read() as connection:
        second = connection.scalars(sa.select(ledger.c.number).order_by(ledger.c.number)).all()[1]
    totals = Totals(database)
    totals._last = second
    totals._recent = {second}

    totals.update()

    assert totals.ended["train", 200, ""] == 2


def test_what_never_started_is_no_run(database: Database, requests: Requests) -> None:
    requests.submit("train", {}, outcome=Outcome(422, {}, error_type="missing"))
    totals = Totals(database)
    totals.update()

    assert totals.ended == {("train", 422, "missing"): 1}
    assert totals.runs == {}


def test_now(database: Database, requests: Requests) -> None:
    for _ in range(3):
        requests.submit("train", {})
    for rate in (2.0, None):
        claimed = requests.claim()
        assert claimed is not None
        assert claimed.owner is not None
        requests.beat(claimed.id, claimed.owner, progress={"steps_per_second": rate})
    requests.submit("make", {}, outcome=OK, webhook_url="https://hook.example")

    found = now(database)

    assert (found.queued, found.running) == ({"train": 1}, {"train": 2})
    assert (found.steps_per_second, found.webhooks) == ({"train": 2.0}, 1)
