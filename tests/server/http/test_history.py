"""History, usage and bills over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from idle_server import ADDRESS, IdleServer, idle_server

from soundlora.net.storage import StorageError
from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.store.finish import Outcome, infrastructure_error

OK = Outcome(200, {"lora_file": {"url": "/files/0f/a.safetensors"}}, units=2000)
WRONG = Outcome(422, {"detail": []})
BROKEN = infrastructure_error(503, "runner_disconnected", "gone")
HISTORY = "/v1/models/requests/by-endpoint"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IdleServer]:
    with idle_server(tmp_path) as server:
        yield server


def history(server: IdleServer, **query: Any) -> Any:
    return server.get(HISTORY, params={"endpoint_id": TRAINING} | query)


def test_an_item_says_when_and_how_it_ended(server: IdleServer) -> None:
    before = datetime.now(UTC)
    request_id = server.done(OK)

    (item,) = history(server)["items"]

    times = [datetime.fromisoformat(item.pop(name)) for name in ("sent_at", "started_at", "ended_at")]
    assert before <= times[0] <= times[1] <= times[2] <= datetime.now(UTC)
    assert item.pop("duration") == pytest.approx((times[2] - times[1]).total_seconds(), abs=1e-4)
    assert item == {
        "request_id": request_id,
        "endpoint_id": TRAINING,
        "status_code": 200,
        "billable_units": 2000,
        "json_input": None,
        "json_output": None,
    }


def test_payloads_have_whole_addresses(server: IdleServer) -> None:
    server.done(OK)

    (item,) = history(server, expand="payloads")["items"]

    assert item["json_input"] == {"trigger_phrase": "rain"}
    assert item["json_output"] == {"lora_file": {"url": f"{ADDRESS}/files/0f/a.safetensors"}}


def test_pages_lead_through_all_of_it(server: IdleServer) -> None:
    made = [server.done(OK) for _ in range(5)]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    for more in (True, True, False):
        page = history(server, **query)
        found += [item["request_id"] for item in page["items"]]
        assert page["has_more"] is more
        query["cursor"] = page["next_cursor"]

    assert found == made[::-1]
    assert query["cursor"] is None


def test_filters(server: IdleServer) -> None:
    good, wrong, broken = server.done(OK), server.done(WRONG), server.done(BROKEN)
    other = server.done(OK, GENERATION)
    now = datetime.now(UTC)

    def ids(**query: Any) -> list[str]:
        return [item["request_id"] for item in history(server, **query)["items"]]

    assert ids() == [broken, wrong, good]
    assert ids(status="success") == [good]
    assert ids(status="user_error") == [wrong]
    assert ids(status="error") == [broken]
    assert ids(request_id=wrong.upper()) == [wrong]
    assert ids(start=(now - timedelta(minutes=1)).isoformat()) == [broken, wrong, good]
    assert ids(end=(now - timedelta(minutes=1)).isoformat()) == []
    assert ids(start="9999-12-31T23:59:59-12:00", end="0001-01-01T00:00:00+12:00") == []
    assert ids(endpoint_id=[TRAINING, GENERATION]) == [other, broken, wrong, good]
    assert ids(endpoint_id=f"{TRAINING},{GENERATION}") == [other, broken, wrong, good]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"endpoint_id": ""}, "endpoint_id is missing"),
        ({"limit": 101}, "limit: Input should be less than or equal to 100"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"cursor": "abc"}, "cursor is 'abc', but it must be the next_cursor"),
        ({"start": "yesterday"}, "start: Input should be a valid datetime"),
        ({"status": "failed"}, "status: Input should be 'success', 'error' or 'user_error'"),
        ({"request_id": "7"}, "request_id: Input should be a valid UUID"),
        ({"sort_by": "price"}, "sort_by: Input should be"),
        ({"expand": "all"}, "expand.0: Input should be"),
    ],
)
def test_wrong_questions_get_the_documented_error(server: IdleServer, query: dict[str, Any], sentence: str) -> None:
    answer = server.client.get(HISTORY, params={"endpoint_id": TRAINING} | query)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "docs_url", "request_id"}
    assert error["type"] == "validation_error"
    assert error["message"].startswith(sentence)


def test_search_finds_what_runs_too(server: IdleServer) -> None:
    ended = server.done(OK, summary="Rain on tin")
    waits = server.submit(summary="rain \\ hail")

    found = server.get("/v1/models/requests/search", params={"query": "RAIN"})["items"]
    assert [item["request_id"] for item in found] == [waits, ended]
    assert (found[0]["ended_at"], found[0]["duration"], found[0]["status_code"]) == (None, None, None)
    assert server.get("/v1/models/requests/search", params={"query": "%"})["items"] == []
    found = server.get("/v1/models/requests/search", params={"query": "\\ ha"})["items"]
    assert [item["request_id"] for item in found] == [waits]


def add_file(server: IdleServer, tmp_path: Path, request_id: str) -> str:
    (tmp_path / "a").write_bytes(b"sound")
    return server.service.files.add(
        tmp_path / "a", name="a.wav", content_type="audio/wav", role="audio", key_id="", request_id=request_id
    ).path


def test_deleted_payloads_are_gone_from_the_disk_too(server: IdleServer, tmp_path: Path) -> None:
    request_id, other = server.done(OK), server.done(OK)
    path, kept = add_file(server, tmp_path, request_id), add_file(server, tmp_path, other)
    run_folder = server.service.settings.runs / request_id
    run_folder.mkdir(parents=True)
    (run_folder / "request.json").write_text("{}")

    answer = server.client.delete(f"/v1/models/requests/{request_id}/payloads")

    assert answer.json() == {"cdn_delete_results": [{"link": ADDRESS + path, "exception": None}]}
    assert server.client.get(path).status_code == 404
    assert server.client.get(kept).content == b"sound"
    assert list(server.service.storage.list(f"files/{path.split('/')[2]}")) == []
    assert not run_folder.exists()
    item = history(server, request_id=request_id, expand="payloads")["items"][0]
    assert (item["json_input"], item["json_output"], item["billable_units"]) == (None, None, 2000)
    assert [event["request_id"] for event in server.get("/v1/models/billing-events")["billing_events"]] == [
        other,
        request_id,
    ]


def test_nothing_is_forgotten_while_a_file_can_not_be_deleted(
    server: IdleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = server.done(OK)
    path = add_file(server, tmp_path, request_id)

    def away(key: str) -> None:
        raise StorageError("no route to S3")

    with monkeypatch.context() as patch:
        patch.setattr(server.service.storage, "delete", away)
        answer = server.client.delete(f"/v1/models/requests/{request_id}/payloads")
    assert answer.json() == {"cdn_delete_results": [{"link": ADDRESS + path, "exception": "no route to S3"}]}
    assert history(server, expand="payloads")["items"][0]["json_input"] is not None

    again = server.client.delete(f"/v1/models/requests/{request_id}/payloads")
    assert again.json()["cdn_delete_results"][0]["exception"] is None
    assert history(server, expand="payloads")["items"][0]["json_input"] is None


def test_payloads_of_what_has_not_ended_stay(server: IdleServer) -> None:
    request_id = server.submit()

    answer = server.client.delete(f"/v1/models/requests/{request_id}/payloads")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Request {request_id} has not ended yet; cancel it first."


def test_usage_and_bills_agree(server: IdleServer) -> None:
    server.done(OK), server.done(OK), server.done(WRONG), server.done(Outcome(200, {}), GENERATION)

    usage = server.get("/v1/models/usage", params={"expand": ["time_series", "summary"]})

    training = {
        "endpoint_id": TRAINING,
        "unit": "step",
        "quantity": 4000,
        "requests": 3,
        "cost": 8.8,
        "currency": "USD",
    }
    assert training in usage["summary"]
    assert sum(len(bucket["results"]) for bucket in usage["time_series"]) >= 2
    events = server.get("/v1/models/billing-events", params={"endpoint_id": TRAINING})["billing_events"]
    assert [event["cost_total"] for event in events] == [0.0, 4.4, 4.4]
    assert events[1] | {"request_id": "", "timestamp": ""} == {
        "request_id": "",
        "endpoint_id": TRAINING,
        "timestamp": "",
        "output_units": 2000,
        "unit_price": 0.0022,
        "percent_discount": 0.0,
        "cost_subtotal": 4.4,
        "cost_discount": 0.0,
        "cost_total": 4.4,
        "cost_estimate_nano_usd": 4_400_000_000,
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("timeframe", "beginnings"),
    [
        ("hour", ["2027-01-31T23:00:00Z", "2027-02-01T00:00:00Z", "2027-02-03T12:00:00Z"]),
        ("day", ["2027-01-31T00:00:00Z", "2027-02-01T00:00:00Z", "2027-02-03T00:00:00Z"]),
        ("week", ["2027-01-25T00:00:00Z", "2027-02-01T00:00:00Z"]),
        ("month", ["2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"]),
    ],
)
def test_usage_by_stretches_of_time(
    server: IdleServer, monkeypatch: pytest.MonkeyPatch, timeframe: str, beginnings: list[str]
) -> None:
    for moment in ("2027-01-31T23:59:59.9+00:00", "2027-02-01T00:00:00+00:00", "2027-02-03T12:30:00+00:00"):
        at = datetime.fromisoformat(moment).timestamp()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda at=at: at)
            server.done(OK)

    query = {"start": "2027-01-01", "end": "2027-03-01", "timeframe": timeframe}
    buckets = server.get("/v1/models/usage", params=query)["time_series"]

    assert [bucket["bucket"] for bucket in buckets] == beginnings
    assert sum(bucket["results"][0]["quantity"] for bucket in buckets) == 6000


def test_each_key_sees_its_own(server: IdleServer, tmp_path: Path) -> None:
    mine, secret = server.service.keys.create("mine")
    theirs, _ = server.service.keys.create("theirs")
    ours, foreign = server.done(OK, key_id=mine.id), server.done(OK, key_id=theirs.id)
    headers = {"Authorization": f"Key {secret}"}
    time.sleep(1.1)  # keys are read once a second

    def asked(path: str) -> Any:
        return server.get(path, headers=headers)

    assert [item["request_id"] for item in asked(f"{HISTORY}?endpoint_id={TRAINING}")["items"]] == [ours]
    assert asked(f"{HISTORY}?endpoint_id={TRAINING}&request_id={foreign}")["items"] == []
    assert [item["request_id"] for item in asked("/v1/models/requests/search")["items"]] == [ours]
    assert [event["request_id"] for event in asked("/v1/models/billing-events")["billing_events"]] == [ours]
    assert asked("/v1/models/usage?expand=summary")["summary"][0]["requests"] == 1
    answer = server.client.delete(f"/v1/models/requests/{foreign}/payloads", headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
    found = server.service.requests.find(foreign)
    assert found is not None
    assert found.input is not None

    for path in (HISTORY, "/v1/models/billing-events", "/v1/meta", "/v1/models"):
        answer = server.client.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authorization_error")
