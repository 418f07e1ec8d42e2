"""The life of a request, on SQLite and on Postgres: what must hold whoever dies, and whoever asks at the same time."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa
from rows import claimed, found

from soundlora.server.store.beats import Asked, LostLeaseError
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome, cancelled
from soundlora.server.store.listing import curves
from soundlora.server.store.requests import MAX_ATTEMPTS, Requests
from soundlora.server.store.states import read_states
from soundlora.server.store.tables import deliveries, ledger
from soundlora.server.store.tables import requests as table

NOTHING = Asked(cancel=False, stop=False, beat=0)
OK = Outcome(200, {"lora_file": {"url": "/files/1/lora"}}, units=2000)
WRONG = Outcome(422, {"detail": [{"type": "missing"}]}, error="wrong", error_type="missing")


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


def rows(database: Database, table: sa.Table) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.select(table)))


def test_a_request_goes_from_the_queue_to_a_worker_to_its_result(database: Database, requests: Requests) -> None:
    submitted = requests.submit("train", {"rank": 32, "prompt": "žluťoučký 🐎"}, key_id="me", summary="A Horse")
    assert (submitted.state, submitted.attempts, submitted.started_at) == ("queued", 0, None)
    assert submitted.input == {"rank": 32, "prompt": "žluťoučký 🐎"}
    running, owner = claimed(requests)
    assert (running.id, running.state, running.attempts) == (submitted.id, "running", 1)
    requests.finish(running.id, owner, OK)
    done = found(requests, running.id)
    assert (done.state, done.status_code, done.response, done.units) == ("completed", 200, OK.response, 2000)
    assert done.owner is None
    assert done.started_at is not None
    assert done.ended_at is not None
    assert done.created_at <= done.started_at <= done.ended_at
    assert requests.claim() is None


def test_the_next_one_is_the_oldest_of_the_highest_priority(requests: Requests) -> None:
    ids = [
        requests.submit("train", n, priority=priority).id
        for n, priority in enumerate(["low", "normal", "low", "normal"])
    ]
    expected = [ids[1], ids[3], ids[0], ids[2]]
    assert requests.queued() == expected
    assert [requests.ahead(id) for id in expected] == [0, 1, 2, 3]
    assert [claimed(requests)[0].id for _ in ids] == expected


def test_a_worker_may_take_some_endpoints_only(requests: Requests) -> None:
    requests.submit("train", {})
    other = requests.submit("generate", {})
    found = requests.claim(["generate"])
    assert found is not None
    assert found.id == other.id
    assert requests.claim(["generate"]) is None
    requests.submit("generate", {})
    rest = requests.claim(but=["generate"])
    assert rest is not None
    assert rest.endpoint == "train"
    assert requests.claim(but=["generate"]) is None


def test_counts_are_by_endpoint_and_by_key(requests: Requests) -> None:
    requests.submit("train", {}, key_id="a")
    requests.submit("train", {}, key_id="b")
    requests.submit("generate", {}, key_id="b")
    requests.submit("train", {}, key_id="b", outcome=WRONG)
    assert requests.count_queued() == 3
    assert requests.count_queued(endpoint="train") == 2
    assert requests.count_queued(key_id="b") == 2
    assert requests.count_queued(endpoint="train", key_id="b") == 1


def test_one_request_has_one_owner_however_many_workers_ask(requests: Requests) -> None:
    ids = {requests.submit("train", n).id for n in range(12)}
    taken: list[str] = []

    def work() -> None:
        while (request := requests.claim()) is not None:
            taken.append(request.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 12
    assert set(taken) == ids


def test_who_has_lost_the_lease_changes_nothing_any_more(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}).id
    _, old = claimed(requests)
    requests.release(id, old, lost=True, reason="silent")
    _, new = claimed(requests)
    assert old != new
    with pytest.raises(LostLeaseError):
        requests.beat(id, old, progress={"step": 1}, lines=[(0.0, "INFO", "from the grave")])
    with pytest.raises(LostLeaseError):
        requests.finish(id, old, OK)
    requests.release(id, old, lost=True, reason="again")
    now = found(requests, id)
    assert (now.state, now.owner, now.progress) == ("running", new, None)
    assert [line.message for line in requests.log_lines(id)] == ["silent"]
    assert rows(database, ledger) == []


def test_a_line_of_any_text_is_written(requests: Requests) -> None:
    requests.submit("train", {})
    request, owner = claimed(requests)
    requests.beat(request.id, owner, lines=[(0.0, "INFO", "a\0b"), (0.0, "INFO", "half a pair: \ud83d")])
    assert [line.message for line in requests.log_lines(request.id)] == ["ab", "half a pair: ?"]


def test_a_beat_that_is_repeated_writes_nothing_twice(requests: Requests) -> None:
    requests.submit("train", {})
    request, owner = claimed(requests)
    one, two = (0.0, "INFO", "one"), (1.0, "INFO", "two")
    for _ in range(2):  # the answer to the first was lost
        assert requests.beat(request.id, owner, lines=[one], number=request.beat + 1).beat == request.beat + 1
    requests.beat(request.id, owner, lines=[two], number=request.beat + 2)
    assert [line.message for line in requests.log_lines(request.id)] == ["one", "two"]
    with pytest.raises(LostLeaseError):
        requests.beat(request.id, owner, lines=[one], number=request.beat + 1)


def test_beats_pass_on_progress_lines_and_curves(requests: Requests) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    ((running, by, before),) = requests.held()
    assert (running, by) == (id, owner)
    one, two = (1.0, "INFO", "one"), (2.0, "WARN", "two")
    assert requests.beat(id, owner, progress={"step": 1}, lines=[one], curve=[(1, "loss", 0.5)]) == NOTHING
    assert requests.beat(id, owner, lines=[two], curve=[(2, "loss", 0.25), (1, "loss", 0.4)]) == NOTHING
    assert requests.held() == [(id, owner, before + 2)]
    assert found(requests, id).progress == {"step": 1}
    first, second = requests.log_lines(id)
    assert (first.at, first.level, first.message) == (1.0, "INFO", "one")
    assert requests.log_lines(id, after=first.number) == [second]
    assert requests.log_lines(id, after=second.number) == []
    assert curves(requests.points(id))["loss"] == [(1, 0.4), (2, 0.25)]
    first_point, *later = requests.points(id)
    assert (first_point.step, first_point.name, first_point.value) == (1, "loss", 0.5)
    assert requests.points(id, after=first_point.number) == later
    assert read_states(requests.database, [id])[id].progress == {"step": 1}


def test_a_worker_stopped_in_good_order_costs_no_attempt(requests: Requests) -> None:
    id = requests.submit("train", {}, no_retry=True).id
    for _ in range(MAX_ATTEMPTS + 2):
        _, owner = claimed(requests)
        requests.release(id, owner, lost=False, reason="the server stops")
    waiting = found(requests, id)
    assert (waiting.state, waiting.attempts) == ("queued", 0)
    assert waiting.started_at is not None


def test_after_so_many_lost_workers_a_request_fails(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}).id
    for attempt in range(1, MAX_ATTEMPTS + 1):
        request, owner = claimed(requests)
        assert request.attempts == attempt
        requests.release(id, owner, lost=True, reason=f"killed {attempt}")
    failed = found(requests, id)
    assert (failed.state, failed.status_code, failed.error_type, failed.units) == (
        "completed", 503, "runner_disconnected", 0,
    )  # fmt: skip
    assert failed.error == f"killed {MAX_ATTEMPTS}"
    assert [(row.request_id, row.units) for row in rows(database, ledger)] == [(id, 0)]


def test_without_retry_one_lost_worker_is_the_end(requests: Requests) -> None:
    id = requests.submit("train", {}, no_retry=True).id
    _, owner = claimed(requests)
    requests.release(id, owner, lost=True, reason="killed")
    assert found(requests, id).status_code == 503


def test_cancelling_what_waits_ends_it(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}).id
    assert requests.cancel(id) == "OK"
    ended = found(requests, id)
    assert (ended.state, ended.status_code, ended.error_type) == ("completed", 499, "client_cancelled")
    assert requests.claim() is None
    assert requests.cancel(id) == "ALREADY_COMPLETED"
    assert len(rows(database, ledger)) == 1


def test_cancelling_what_runs_asks_the_worker(requests: Requests) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    assert not requests.beat(id, owner).cancel
    assert requests.cancel(id) == "CANCELLATION_REQUESTED"
    assert requests.cancel(id) == "CANCELLATION_REQUESTED"
    assert found(requests, id).state == "running"
    assert requests.beat(id, owner).cancel
    requests.finish(id, owner, cancelled())
    assert found(requests, id).status_code == 499
    assert requests.cancel(id) == "ALREADY_COMPLETED"


def test_a_finished_run_is_not_taken_away_by_a_late_cancel(requests: Requests) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    requests.cancel(id)
    requests.finish(id, owner, OK)
    assert (found(requests, id).status_code, found(requests, id).units) == (200, 2000)


@pytest.mark.parametrize("lost", [True, False])
def test_what_was_to_be_cancelled_does_not_go_back_to_the_queue(requests: Requests, lost: bool) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    requests.cancel(id)
    requests.release(id, owner, lost=lost, reason="gone")
    assert (found(requests, id).state, found(requests, id).status_code) == ("completed", 499)


def test_cancelling_what_went_back_to_the_queue_ends_it(requests: Requests) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    requests.release(id, owner, lost=True, reason="gone")
    assert requests.cancel(id) == "OK"
    assert requests.claim() is None


def test_nobody_can_cancel_what_is_not_there(requests: Requests) -> None:
    assert requests.cancel("00000000-0000-0000-0000-000000000000") == "NOT_FOUND"


def test_of_many_that_end_a_request_one_does(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}, webhook_url="https://example.com/hook").id
    _, owner = claimed(requests)
    refused: list[int] = []

    def finish(n: int) -> None:
        try:
            requests.finish(id, owner, Outcome(200, {"n": n}, units=n))
        except LostLeaseError:
            refused.append(n)

    threads = [threading.Thread(target=finish, args=(n,)) for n in range(6)]
    threads += [threading.Thread(target=requests.release, args=(id, owner), kwargs={"lost": True, "reason": "x"})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = found(requests, id)
    if ended.state == "queued":  # the release came first
        assert len(refused) == 6
        assert rows(database, ledger) == rows(database, deliveries) == []
        return
    (line,) = rows(database, ledger)
    (due,) = rows(database, deliveries)
    assert len(refused) == 5
    assert ended.response == {"n": line.units}
    assert json.loads(due.body)["payload"] == ended.response


def test_the_ledger_has_one_line_a_request_at_the_price_of_its_endpoint(database: Database) -> None:
    requests = Requests(database, {"train": 2_200_000})
    train = requests.submit("train", {}, key_id="me").id
    requests.finish(train, claimed(requests)[1], OK)
    wrong = requests.submit("generate", {}, key_id="you", outcome=WRONG).id
    lines = {row.request_id: (row.endpoint, row.key_id, row.units, row.unit_nano_usd) for row in rows(database, ledger)}
    assert lines == {train: ("train", "me", 2000, 2_200_000), wrong: ("generate", "you", 0, 0)}


def test_a_wrong_request_is_accepted_and_ends_at_once(database: Database, requests: Requests) -> None:
    ended = requests.submit("train", {"rank": 7}, webhook_url="https://example.com/hook", outcome=WRONG)
    assert (ended.state, ended.status_code, ended.started_at) == ("completed", 422, None)
    assert ended.response == WRONG.response
    assert requests.claim() is None
    (due,) = rows(database, deliveries)
    assert json.loads(due.body) == {
        "request_id": ended.id,
        "gateway_request_id": ended.id,
        "status": "ERROR",
        "error": "Invalid status code: 422",
        "payload": WRONG.response,
    }


def test_a_webhook_is_due_with_the_result_and_not_before(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}, webhook_url="https://example.com/hook").id
    _, owner = claimed(requests)
    assert rows(database, deliveries) == []
    requests.finish(id, owner, OK)
    (due,) = rows(database, deliveries)
    assert (due.request_id, due.url, due.state, due.attempts) == (id, "https://example.com/hook", "waiting", 0)
    assert json.loads(due.body)["status"] == "OK"


def test_what_does_not_start_in_time_ends_with_504(database: Database, requests: Requests) -> None:
    late = requests.submit("train", {}, start_seconds=0.01).id
    patient = requests.submit("train", {}, start_seconds=1000).id
    time.sleep(0.02)
    left = requests.start_seconds()
    assert left[late] < 0
    assert 900 < left[patient] < 1000
    assert requests.end_unstarted([late]) == 1
    assert requests.end_unstarted([late]) == 0
    ended = found(requests, late)
    assert (ended.status_code, ended.error_type, ended.error) == (504, "request_timeout", "Request timed out")
    assert [row.request_id for row in rows(database, ledger)] == [late]
    assert requests.queued() == [patient]


def test_who_waits_without_a_deadline_is_not_read_for_one(database: Database, requests: Requests) -> None:
    """The executor asks twice a second, however long the queue is."""
    waiting = {
        "endpoint": "train",
        "key_id": "",
        "state": "queued",
        "priority": 0,
        "input": "{}",
        "summary": "",
        "keep_payloads": True,
        "base_url": "",
        "created_at": 0.0,
        "no_retry": False,
        "attempts": 0,
        "beat": 0,
        "cancel_asked": False,
    }
    with database.write() as connection:
        connection.execute(sa.insert(table), [waiting | {"id": f"{number:036}"} for number in range(2000)])
    due = requests.submit("train", {}, start_seconds=1000).id
    with database.write() as connection:
        connection.execute(sa.text("ANALYZE"))
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    assert list(requests.start_seconds()) == [due]
    sa.event.remove(database.engine, "before_cursor_execute", note)
    (select,) = [each for each in asked if each[0].startswith("SELECT")]
    explain = "EXPLAIN QUERY PLAN " if database.engine.dialect.name == "sqlite" else "EXPLAIN "
    with database.read() as connection:
        plan = str(connection.exec_driver_sql(explain + select[0], select[1]).all())
    assert "requests_deadlines" in plan
    assert "requests_waiting" not in plan


def test_what_has_started_once_has_started_in_time(requests: Requests) -> None:
    id = requests.submit("train", {}, start_seconds=0.01).id
    _, owner = claimed(requests)
    requests.release(id, owner, lost=True, reason="killed")
    time.sleep(0.02)
    assert requests.start_seconds() == {}
    assert requests.queued() == [id]


def test_deleted_payloads_leave_the_ledger(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {"secret": 1}, summary="secret").id
    _, owner = claimed(requests)
    requests.beat(id, owner, progress={"step": 1}, lines=[(1.0, "INFO", "secret")], curve=[(1, "loss", 1.0)])
    assert requests.delete_payloads(id) == []
    assert found(requests, id).input == {"secret": 1}  # still runs
    requests.finish(id, owner, OK)
    requests.delete_payloads(id)
    gone = found(requests, id)
    assert (gone.input, gone.response, gone.progress, gone.units) == (None, None, None, 2000)
    assert (requests.log_lines(id), requests.points(id)) == ([], [])
    assert len(rows(database, ledger)) == 1


def test_a_failed_write_leaves_no_half_of_it(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    with database.write() as connection:
        connection.execute(
            sa.insert(ledger).values(request_id=id, endpoint="x", key_id="", at=0.0, units=0, unit_nano_usd=0)
        )
    with pytest.raises(sa.exc.IntegrityError):
        requests.finish(id, owner, OK)
    assert (found(requests, id).state, found(requests, id).response) == ("running", None)


def test_many_are_found_at_once(requests: Requests) -> None:
    ids = [requests.submit("train", n).id for n in range(3)]
    assert {each.id for each in requests.find_many([*ids[:2], "nobody"])} == set(ids[:2])
    assert requests.find("nobody") is None


def test_payloads_that_are_not_to_be_kept_go_once_their_time_is_over(requests: Requests) -> None:
    kept = requests.submit("train", {"a": 1}, outcome=Outcome(200, {"b": 1}))
    unkept = requests.submit("train", {"a": 2}, keep_payloads=False, outcome=Outcome(200, {"b": 2}))
    assert unkept.ended_at is not None
    assert requests.forget_unkept(unkept.ended_at) == 0
    assert requests.forget_unkept(unkept.ended_at + 1) == 1
    assert (found(requests, unkept.id).input, found(requests, unkept.id).response) == (None, None)
    assert found(requests, kept.id).response == {"b": 1}
    assert requests.forget_unkept(unkept.ended_at + 1) == 0
