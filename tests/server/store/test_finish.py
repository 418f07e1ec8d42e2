"""What an ended request leaves in the tables."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from rows import claimed

from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome, cancelled, infrastructure_error, is_error, webhook_body, write_end
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import deliveries, ledger

OK = Outcome(200, {"made": 1}, units=5)


def test_the_shapes_of_errors_that_are_nobodys_input() -> None:
    outcome = infrastructure_error(503, "runner_disconnected", "gone")
    assert outcome.response == {"detail": "gone", "error_type": "runner_disconnected"}
    assert (outcome.units, outcome.status_code) == (0, 503)
    assert cancelled().status_code == 499


def test_a_webhook_says_whether_it_went_well() -> None:
    ids = {"request_id": "r", "gateway_request_id": "r"}
    assert webhook_body("r", OK) == ids | {"status": "OK", "payload": {"made": 1}}
    assert webhook_body("r", cancelled()) == ids | {
        "status": "ERROR",
        "error": "Invalid status code: 499",
        "payload": cancelled().response,
    }
    assert [is_error(code) for code in (200, 399, 400, 503)] == [False, False, True, True]


@pytest.mark.parametrize("missing", ["state", "owner", "request"])
def test_who_may_not_end_a_request_writes_nothing(database: Database, requests: Requests, missing: str) -> None:
    id = requests.submit("train", {}, webhook_url="https://hook.example").id
    _, owner = claimed(requests)
    with database.write() as connection:
        ended = write_end(
            connection,
            "nobody" if missing == "request" else id,
            OK,
            state="queued" if missing == "state" else "running",
            owner="another" if missing == "owner" else owner,
            unit_nano_usd={"train": 3},
        )
    assert ended is False
    with database.read() as connection:
        assert connection.execute(sa.select(ledger)).all() == []
        assert connection.execute(sa.select(deliveries)).all() == []


def test_an_end_writes_ledger_and_webhook_along_with_it(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}, webhook_url="https://hook.example", key_id="me").id
    with database.write() as connection:
        assert write_end(connection, id, OK, state="queued", unit_nano_usd={"train": 3})
    with database.read() as connection:
        (line,) = connection.execute(sa.select(ledger)).all()
        (due,) = connection.execute(sa.select(deliveries)).all()
    assert (line.request_id, line.key_id, line.units, line.unit_nano_usd) == (id, "me", 5, 3)
    assert (due.url, due.state, json.loads(due.body)) == ("https://hook.example", "waiting", webhook_body(id, OK))
    ended = requests.find(id)
    assert ended is not None
    assert ended.ended_at == line.at == due.next_at
