"""Submit, result, cancel and run, as the protocol has them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from live_server import working

from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome, infrastructure_error
from soundlora.server.store.requests import Requests

INPUT = {"training_data_url": "https://example.com/clips.zip", "number_of_steps": 100}
RESULT = {
    "lora_file": {"url": "/files/0a/lora.safetensors", "file_name": "lora.safetensors"},
    "previews": [{"url": "/files/0b/preview.wav"}],
    "prompt": "/files/ is no address here",
}


def submit(client: TestClient, payload: Any = INPUT, endpoint: str = TRAINING, **more: Any) -> dict[str, Any]:
    answer = client.post(f"/{endpoint}", json=payload, **more)
    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body, dict)
    return body


def finish(requests: Requests, outcome: Outcome) -> None:
    request = requests.claim()
    assert request is not None
    assert request.owner is not None
    requests.finish(request.id, request.owner, outcome)


def test_a_name_that_no_file_can_have_is_refused_when_it_is_sent(client: TestClient) -> None:
    id = submit(client, INPUT | {"name": "///"})["request_id"]
    answer = client.get(f"/{TRAINING.rpartition('/')[0]}/requests/{id}")
    assert answer.status_code == 422
    (entry,) = answer.json()["detail"]
    assert entry["loc"] == ["body", "name"]
    assert entry["msg"] == ("name is '///', but it must have a letter or a digit, since the LoRA's file is called so.")
    assert entry["type"] == "value_error"


def test_a_submit_is_answered_with_where_to_ask(client: TestClient) -> None:
    answer = client.post(f"/{TRAINING}", json=INPUT)
    body = answer.json()
    id = body["request_id"]
    request = f"http://localhost/fal-ai/ltx23-trainer-v2/requests/{id}"
    assert body == {
        "status": "IN_QUEUE",
        "request_id": id,
        "response_url": request,
        "status_url": f"{request}/status",
        "cancel_url": f"{request}/cancel",
        "queue_position": 0,
        "logs": None,
        "metrics": {},
    }
    assert answer.headers["x-fal-request-id"] == id
    assert answer.headers["x-fal-endpoint"] == TRAINING
    assert submit(client)["queue_position"] == 1


@pytest.mark.parametrize("endpoint", [GENERATION, GENERATION_WITH_LORA])
def test_generation_is_on_the_same_queue(client: TestClient, endpoint: str) -> None:
    submit(client)
    body = submit(client, {"prompt": "rain"}, endpoint)
    assert body["queue_position"] == 1
    assert "/fal-ai/ltx-2.3-quality/requests/" in body["status_url"]


@pytest.mark.parametrize("path", ["", "/t2a"])
@pytest.mark.parametrize("suffix", ["", "/response"])
def test_a_result_replays_what_the_run_answered(client: TestClient, service: Service, path: str, suffix: str) -> None:
    id = submit(client)["request_id"]
    url = f"/fal-ai/ltx23-trainer-v2{path}/requests/{id}{suffix}"
    early = client.get(url)
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})
    assert "retry-after" in early.headers
    finish(service.requests, Outcome(200, RESULT, units=100))
    answer = client.get(url)
    assert answer.status_code == 200
    assert answer.json() == {
        "lora_file": {"url": "http://localhost/files/0a/lora.safetensors", "file_name": "lora.safetensors"},
        "previews": [{"url": "http://localhost/files/0b/preview.wav"}],
        "prompt": "/files/ is no address here",
    }
    assert answer.headers["x-fal-billable-units"] == "100"
    assert answer.headers["x-fal-request-id"] == id
    assert "x-fal-error-type" not in answer.headers


def test_a_wrong_input_is_accepted_and_its_422_is_the_result(client: TestClient) -> None:
    body = submit(client, {"rank": 7})
    status = client.get(body["status_url"])
    assert (status.status_code, status.json()["status"]) == (200, "COMPLETED")
    assert status.json()["error_type"] == "missing"
    answer = client.get(body["response_url"])
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [["body", "training_data_url"], ["body", "rank"]]
    assert answer.headers["x-fal-error-type"] == "missing"
    assert answer.headers["x-fal-retryable"] == "false"
    assert answer.headers["x-fal-billable-units"] == "0"


@pytest.mark.parametrize("payload", [[], "text", 5, True])
def test_json_that_is_no_object_is_a_wrong_input_too(client: TestClient, payload: Any) -> None:
    answer = client.get(submit(client, payload)["response_url"])
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body"])


def test_an_empty_body_is_an_empty_input(client: TestClient) -> None:
    body = client.post(f"/{TRAINING}").json()
    assert client.get(body["response_url"]).json()["detail"][0]["type"] == "missing"


def test_text_that_tables_refuse_is_accepted_like_any_other(client: TestClient, service: Service) -> None:
    raw = rb'{"training_data_url": "https://example.com/\u0000\ud800", "trigger_phrase": "\ud800\u0000"}'
    body = client.post(f"/{TRAINING}", content=raw).json()
    found = service.requests.find(body["request_id"])
    assert found is not None
    assert found.input == json.loads(raw)
    wrong = client.post(f"/{TRAINING}", content=rb'{"rank": "\ud800\u0000"}').json()
    assert client.get(wrong["response_url"]).status_code == 422
    assert client.get(wrong["status_url"]).status_code == 200


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (infrastructure_error(504, "request_timeout", "Request timed out"), "x-fal-request-timeout-type", "user"),
        (infrastructure_error(503, "runner_disconnected", "gone"), "x-fal-retryable", "true"),
        (Outcome(500, {"detail": []}, error_type="internal_server_error"), "x-fal-error-type", "internal_server_error"),
    ],
)
def test_errors_say_what_they_are(
    client: TestClient, service: Service, error: Outcome, header: str, value: str
) -> None:
    body = submit(client)
    finish(service.requests, error)
    answer = client.get(body["response_url"])
    assert (answer.status_code, answer.json()) == (error.status_code, error.response)
    assert answer.headers[header] == value
    assert answer.headers["x-fal-request-id"] == body["request_id"]
    assert answer.headers["x-fal-billable-units"] == "0"


def test_cancelling_is_seen_at_once(client: TestClient, service: Service) -> None:
    body = submit(client)
    assert client.get(body["status_url"]).json()["status"] == "IN_QUEUE"
    answer = client.put(body["cancel_url"])
    assert (answer.status_code, answer.json()) == (200, {"status": "OK", "success": True})
    status = client.get(body["status_url"])
    assert (status.status_code, status.json()["error_type"]) == (200, "client_cancelled")
    result = client.get(body["response_url"])
    assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")
    again = client.put(body["cancel_url"])
    assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED", "success": False})


def test_what_runs_is_asked_to_stop(client: TestClient, service: Service) -> None:
    body = submit(client)
    request = service.requests.claim()
    assert request is not None
    assert request.owner is not None
    answer = client.put(body["cancel_url"])
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED", "success": True})
    assert service.requests.beat(request.id, request.owner).cancel
    assert client.get(body["status_url"]).json()["status"] == "IN_PROGRESS"


UNKNOWN = "00000000-0000-0000-0000-000000000000"


def test_what_is_not_there_is_404(client: TestClient) -> None:
    app = "/fal-ai/ltx23-trainer-v2"
    for id in (UNKNOWN, "x", "x" * 36, "'; DROP TABLE requests"):
        for suffix in ("", "/status", "/status/stream", "/response"):
            assert client.get(f"{app}/requests/{id}{suffix}").status_code == 404
        cancelled = client.put(f"{app}/requests/{id}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (404, "NOT_FOUND")
    other = submit(client)["request_id"]
    assert client.get(f"/fal-ai/ltx-2.3-quality/requests/{other}/status").status_code == 404
    assert client.get(f"/fal-ai/other/requests/{other}/status").status_code == 404


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/fal-ai/ltx23-trainer-v2/v2a", "Path /v2a not found"),
        ("/fal-ai/flux/dev", "Application 'fal-ai/flux' not found"),
        ("/somebody/else", "Path /somebody/else not found"),
        ("/", "Path / not found"),
    ],
)
def test_other_endpoints_are_404(client: TestClient, path: str, detail: str) -> None:
    answer = client.post(path, json={})
    assert answer.status_code in ((404, 405) if path == "/" else (404,))
    if answer.status_code == 404:
        assert answer.json() == {"detail": detail}


def test_a_webhook_is_kept_with_the_request(client: TestClient, service: Service) -> None:
    body = submit(client, params={"fal_webhook": "https://example.com/hook?a=1&b=2"})
    assert body["gateway_request_id"] == body["request_id"]


def test_low_priority_waits_for_normal(client: TestClient, service: Service) -> None:
    low = submit(client, headers={"X-Fal-Queue-Priority": "low"})
    normal = submit(client, headers={"x-fal-queue-priority": "normal"})
    assert normal["queue_position"] == 0
    assert service.requests.queued() == [normal["request_id"], low["request_id"]]


def test_what_has_not_started_in_time_ends_with_504_of_the_users(client: TestClient, service: Service) -> None:
    body = submit(client, headers={"X-Fal-Request-Timeout": "0.001"})
    threading.Event().wait(0.01)
    assert service.requests.start_seconds()[body["request_id"]] < 0
    assert service.requests.end_unstarted([body["request_id"]]) == 1
    answer = client.get(body["response_url"])
    assert (answer.status_code, answer.headers["x-fal-request-timeout-type"]) == (504, "user")
    assert answer.json()["error_type"] == "request_timeout"


def test_wishes_reach_the_table(client: TestClient, service: Service) -> None:
    lifecycle = json.dumps({"expiration_duration_seconds": 60})
    id = submit(client, headers={"X-Fal-No-Retry": "1", "X-Fal-Object-Lifecycle-Preference": lifecycle})["request_id"]
    found = service.requests.find(id)
    assert found is not None
    assert (found.no_retry, found.file_seconds) == (True, 60.0)


def test_a_full_queue_is_429_for_the_time_being(settings: Settings) -> None:
    with TestClient(create_app(replace(settings, max_queue=2), executor=False), "http://localhost") as client:
        first = submit(client)
        submit(client)
        answer = client.post(f"/{TRAINING}", json=INPUT)
        assert (answer.status_code, answer.json()["error_type"]) == (429, "concurrent_requests_limit")
        assert "retry-after" in answer.headers
        assert submit(client, {})["request_id"]  # what ends at once takes no place
        client.put(first["cancel_url"])
        submit(client)


def test_a_key_has_its_own_limit(settings: Settings) -> None:
    app = create_app(replace(settings, max_queue_per_key=1), executor=False)
    keys = app.state.service.keys
    secrets = {name: keys.create(name, most)[1] for name, most in (("small", 0), ("large", 2))}
    with TestClient(app, "http://localhost") as client:
        for name, most in (("small", 1), ("large", 2)):
            headers = {"Authorization": f"Key {secrets[name]}"}
            codes = [client.post(f"/{TRAINING}", json=INPUT, headers=headers).status_code for _ in range(most + 1)]
            assert codes == [200] * most + [429]


def test_a_client_may_refuse_to_wait_in_a_long_queue(client: TestClient) -> None:
    submit(client)
    submit(client)
    answer = client.post(f"/{TRAINING}", json=INPUT, params={"fal_max_queue_length": 1})
    assert answer.status_code == 429
    submit(client, params={"fal_max_queue_length": 2})
    submit(client, {"prompt": "x"}, GENERATION, params={"fal_max_queue_length": 0})


def test_limits_hold_when_many_submit_at_once(settings: Settings) -> None:
    app = create_app(replace(settings, max_queue=5), executor=False)
    codes: list[int] = []
    with TestClient(app, "http://localhost") as client:
        threads = [
            threading.Thread(target=lambda: codes.append(client.post(f"/{TRAINING}", json=INPUT).status_code))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(codes) == [200] * 5 + [429] * 7


@pytest.mark.parametrize("host", ["localhost", "fal.run"])
def test_run_answers_with_the_result(app: FastAPI, service: Service, host: str) -> None:
    path = f"/{TRAINING}" if host == "fal.run" else f"/run/{TRAINING}"
    with (
        TestClient(app, base_url=f"https://{host}") as client,
        working(service.requests, lambda request, beat: Outcome(200, RESULT, units=100)),
    ):
        answer = client.post(path, json=INPUT)
        assert (answer.status_code, answer.headers["x-fal-billable-units"]) == (200, "100")
        assert answer.json()["lora_file"]["url"] == f"https://{host}/files/0a/lora.safetensors"
        assert service.requests.find(answer.headers["x-fal-request-id"]) is not None
        wrong = client.post(path, json={})
        assert (wrong.status_code, wrong.json()["detail"][0]["type"]) == (422, "missing")


def test_a_server_that_stops_lets_nobody_wait(client: TestClient, service: Service) -> None:
    service.closing = True
    answer = client.post(f"/run/{TRAINING}", json=INPUT)
    assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
    assert service.requests.queued() == [answer.headers["x-fal-request-id"]]


def test_deleted_payloads_are_gone(client: TestClient, service: Service) -> None:
    body = submit(client, {})
    service.requests.delete_payloads(body["request_id"])
    answer = client.get(body["response_url"])
    assert (answer.status_code, answer.headers["x-fal-request-id"]) == (404, body["request_id"])


def test_the_public_address_is_in_every_answer(settings: Settings) -> None:
    app = create_app(replace(settings, public_url="https://sound.example/"), executor=False)
    with TestClient(app, "http://localhost") as client:
        body = submit(client)
        assert body["status_url"].startswith("https://sound.example/fal-ai/ltx23-trainer-v2/requests/")
        finish(app.state.service.requests, Outcome(200, RESULT))
        path = body["response_url"].removeprefix("https://sound.example")
        assert client.get(path).json()["lora_file"]["url"] == "https://sound.example/files/0a/lora.safetensors"
