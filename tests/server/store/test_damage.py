"""JSON in the tables that can't be read any more: it costs the one request, and nobody else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from rows import claimed, found
from waiting import wait_until

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.webhooks import Webhooks
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database, value_of
from soundlora.server.store.deliveries import Deliveries
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import deliveries
from soundlora.server.store.tables import requests as table
from soundlora.server.work.local import LocalExecutor

TEXTS = ["", "{", '{"training_data_url": "https://', "nul", "\x01\x02", "{} {}", "]", "\ufffd"]
FINISH = """
import os, sys
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.settings import Settings
request_id, owner = sys.argv[1:]
requests = Requests(Database(Settings.from_json(os.environ["SOUNDLORA_WORKER"]).database))
requests.finish(request_id, owner, Outcome(200, {"done": True}))
"""


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


def damage(database: Database, request_id: str, text: str, *columns: str) -> None:
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == request_id).values(dict.fromkeys(columns, text)))


@pytest.mark.parametrize("text", TEXTS)
def test_a_request_without_its_input_ends_by_itself_and_the_next_one_is_taken(requests: Requests, text: str) -> None:
    lost, whole = (requests.submit("train", {"n": number}, webhook_url="https://a.example").id for number in range(2))
    damage(requests.database, lost, text, "input")
    request, _ = claimed(requests)
    assert (request.id, request.input) == (whole, {"n": 1})
    row = found(requests, lost)
    assert (row.state, row.status_code, row.error_type, row.units) == ("completed", 500, "internal_error", 0)
    assert row.error == row.response["detail"]
    assert "has lost the input of this request. Send the request again." in str(row.error)
    assert [line.message for line in requests.log_lines(lost)] == [row.error]
    assert requests.claim() is None
    assert Deliveries(requests.database).state(lost) == ("waiting", 0, None)


def test_null_is_no_damage(requests: Requests) -> None:
    """It is a wrong input, which the worker refuses as such."""
    request = requests.submit("train", None)
    assert claimed(requests)[0].id == request.id


def test_many_damaged_ones_in_a_row_hold_nobody_up(requests: Requests) -> None:
    ids = [requests.submit("train", {}).id for _ in range(20)]
    for id in ids:
        damage(requests.database, id, "{", "input")
    assert requests.claim() is None
    assert {found(requests, id).state for id in ids} == {"completed"}


@pytest.fixture
def executor(tmp_path: Path, requests: Requests) -> Iterator[LocalExecutor]:
    settings = Settings(data_dir=tmp_path, database_url=requests.database.url)
    executor = LocalExecutor(settings, requests, (sys.executable, "-c", FINISH))
    yield executor
    executor.stop()


def test_the_executor_goes_on_after_a_damaged_request(requests: Requests, executor: LocalExecutor) -> None:
    first, lost, last = (requests.submit("train", {"n": number}).id for number in range(3))
    damage(requests.database, lost, "{", "input")
    executor.start()
    wait_until(lambda: all(found(requests, id).state == "completed" for id in (first, lost, last)))
    assert [found(requests, id).status_code for id in (first, lost, last)] == [200, 500, 200]


def test_the_executor_goes_on_after_an_error_that_nobody_has_thought_of(
    requests: Requests, executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    errors = [ValueError("not thought of")]
    claim = requests.claim

    def fails_once(*which: Any, **how: Any) -> Any:
        if errors:
            raise errors.pop()
        return claim(*which, **how)

    monkeypatch.setattr(requests, "claim", fails_once)
    id = requests.submit("train", {}).id
    executor.start()
    wait_until(lambda: found(requests, id).state == "completed")
    assert "not thought of" in capfd.readouterr().err


@pytest.mark.parametrize("text", TEXTS)
def test_lists_and_answers_leave_out_what_is_lost(tmp_path: Path, database: Database, text: str) -> None:
    app = create_app(Settings(data_dir=tmp_path, database_url=database.url), database=database, executor=False)
    requests: Requests = app.state.service.requests
    client = TestClient(app, "http://localhost", client=("127.0.0.1", 5000), raise_server_exceptions=False)
    ids = [requests.submit(TRAINING, {"n": number}).id for number in range(3)]
    for id in ids[:2]:
        _, owner = claimed(requests)
        requests.beat(id, owner, progress={"steps_per_second": 1.0})
        requests.finish(id, owner, Outcome(200, {"n": 1}))
    _, owner = claimed(requests)
    requests.beat(ids[2], owner, progress={"steps_per_second": 1.0})
    damage(database, ids[0], text, "input", "progress", "response")
    damage(database, ids[2], text, "progress")
    for path in (f"/v1/runs/{ids[0]}", f"/v1/runs/{ids[0]}/events", f"/v1/runs/{ids[2]}", "/metrics", "/v1/runs"):
        assert client.get(path).status_code == 200, path
    listed = client.get("/v1/models/requests/search?expand=payloads").json()["items"]
    assert [each["json_input"] for each in listed] == [{"n": 2}, {"n": 1}, None]
    answer = client.get(f"/{TRAINING}/requests/{ids[0]}")
    assert (answer.status_code, answer.headers["x-fal-error-type"]) == (500, "internal_error")
    assert answer.json()["detail"] == "The server's database is damaged: it has lost the result of this request."
    assert client.get(f"/{TRAINING}/requests/{ids[1]}").json() == {"n": 1}


@pytest.mark.parametrize("text", TEXTS)
def test_a_webhook_without_its_body_is_given_up_and_the_others_go_on(database: Database, text: str) -> None:
    requests, due = Requests(database), Deliveries(database)
    first, second = (requests.submit("train", {}, webhook_url="https://a.example").id for _ in range(2))
    for id in (first, second):
        _, owner = claimed(requests)
        requests.finish(id, owner, Outcome(200, {}))
    with database.write() as connection:
        connection.execute(sa.update(deliveries).where(deliveries.c.request_id == first).values(body=text))
    sender = Webhooks(Settings(), database)
    taken = [due.claim(), due.claim()]
    assert {each.request_id for each in taken if each is not None} == {first, second}
    (damaged,) = [each for each in taken if each is not None and each.request_id == first]
    assert damaged.body is None
    assert sender._send(damaged) == ("The server's database is damaged: it has lost what was to be sent.", True)
    (whole,) = [each for each in taken if each is not None and each.request_id == second]
    assert whole.body is not None
    assert whole.body["status"] == "OK"


def test_what_is_whole_is_read() -> None:
    assert [value_of(text) for text in ('{"a": 1}', "[]", "0", "null", None)] == [{"a": 1}, [], 0, None, None]
