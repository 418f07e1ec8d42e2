"""Webhooks that are due, on SQLite and on Postgres."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from soundlora.server.store import deliveries as module
from soundlora.server.store.database import Database
from soundlora.server.store.deliveries import MAX_ATTEMPTS, Deliveries, Delivery, pause
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("soundlora.server.store.requests.time", clock)
    monkeypatch.setattr("soundlora.server.store.finish.time", clock)
    monkeypatch.setattr("soundlora.server.store.claims.time", clock)
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def due(database: Database) -> Deliveries:
    return Deliveries(database)


def ended(requests: Requests, **more: Any) -> str:
    outcome = Outcome(200, {"a": 1})
    return requests.submit("train", {}, outcome=outcome, webhook_url="https://hook.example/x", **more).id


def claimed(due: Deliveries) -> Delivery:
    found = due.claim()
    assert found is not None
    return found


def test_what_ends_is_due_once(requests: Requests, due: Deliveries, clock: Clock) -> None:
    request_id = ended(requests, key_id="k", base_url="https://sound.example")

    delivery = claimed(due)

    body = {"request_id": request_id, "gateway_request_id": request_id, "status": "OK", "payload": {"a": 1}}
    assert delivery == Delivery(request_id, "k", "https://hook.example/x", body, "https://sound.example", 1)
    assert delivery.seconds == 15
    assert due.claim() is None
    assert due.waiting() == 1
    due.delivered(delivery)
    assert due.state(request_id) == ("delivered", 1, None)
    assert due.waiting() == 0
    clock.now += 1e6
    assert due.claim() is None


def test_no_webhook_no_delivery(requests: Requests, due: Deliveries) -> None:
    request_id = requests.submit("train", {}, outcome=Outcome(200, {})).id

    assert due.claim() is None
    assert due.state(request_id) is None


def test_a_failed_attempt_is_repeated_later_and_later(requests: Requests, due: Deliveries, clock: Clock) -> None:
    request_id = ended(requests)
    pauses = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        delivery = claimed(due)
        assert delivery.attempt == attempt
        assert delivery.seconds == (15 if attempt == 1 else 120)
        due.failed(delivery, "HTTP 500", for_good=False)
        if attempt < MAX_ATTEMPTS:
            pauses.append(pause(attempt))
            clock.now += pauses[-1] - 0.5
            assert due.claim() is None
            clock.now += 1

    assert due.state(request_id) == ("failed", MAX_ATTEMPTS, "HTTP 500")
    clock.now += 1e6
    assert due.claim() is None
    assert pauses[:4] == [10, 20, 40, 80]
    assert max(pauses) == 3600
    assert 20 < sum(pauses) / 3600 < 26


def test_a_permanent_failure_is_not_repeated(requests: Requests, due: Deliveries, clock: Clock) -> None:
    request_id = ended(requests)

    due.failed(claimed(due), "moved", for_good=True)

    assert due.state(request_id) == ("failed", 1, "moved")
    clock.now += 1e6
    assert due.claim() is None


def test_an_attempt_that_nobody_settled_is_made_again(requests: Requests, due: Deliveries, clock: Clock) -> None:
    """As after a kill of the server: another one, with the same database, takes it up."""
    request_id = ended(requests)
    first = claimed(due)
    clock.now += 24
    assert due.claim() is None
    clock.now += 2

    second = claimed(Deliveries(due.database))

    assert (second.request_id, second.attempt) == (request_id, 2)
    # The first one, taken for dead, has no say in when to try again, but what it delivered was delivered.
    due.failed(first, "late", for_good=True)
    assert due.state(request_id) == ("waiting", 2, None)
    due.delivered(first)
    assert due.state(request_id) == ("delivered", 2, None)


def test_who_waits_longest_comes_first(requests: Requests, due: Deliveries, clock: Clock) -> None:
    ids = []
    for _ in range(3):
        ids.append(ended(requests))
        clock.now += 1

    assert [claimed(due).request_id for _ in ids] == ids


def test_bodies_are_not_kept(requests: Requests, due: Deliveries, clock: Clock) -> None:
    _, _, deleted = (ended(requests) for _ in range(3))
    due.delivered(claimed(due))
    due.failed(claimed(due), "no", for_good=True)
    due.forget(deleted)

    with due.database.read() as connection:
        bodies = connection.scalars(sa.text("SELECT body FROM deliveries")).all()
    assert bodies == ["{}"] * 3
    assert due.state(deleted) == ("failed", 0, "The payloads of the request were deleted.")


def test_looking_for_what_is_due_uses_the_index(database_file: Database) -> None:
    statement = "SELECT request_id FROM deliveries WHERE state = 'waiting' AND next_at <= 1 ORDER BY next_at LIMIT 1"
    with database_file.read() as connection:
        plan = [row.detail for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {statement}"))]

    assert len(plan) == 1
    assert "USING INDEX deliveries_due (state=? AND next_at<?)" in plan[0]
