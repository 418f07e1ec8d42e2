"""Headers, query and body of a submit: what is taken, and the sentence for what is not."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http import submission
from soundlora.server.http.state import Service

URL = f"/{TRAINING}"


@pytest.mark.parametrize(
    ("headers", "params", "named"),
    [
        ({"X-Fal-Queue-Priority": "urgent"}, {}, "X-Fal-Queue-Priority"),
        ({"X-Fal-Request-Timeout": "soon"}, {}, "X-Fal-Request-Timeout"),
        ({"X-Fal-Request-Timeout": "-1"}, {}, "X-Fal-Request-Timeout"),
        ({"X-Fal-Request-Timeout": "nan"}, {}, "X-Fal-Request-Timeout"),
        ({"X-Fal-Request-Timeout": "inf"}, {}, "X-Fal-Request-Timeout"),
        ({"X-Fal-Object-Lifecycle-Preference": "{"}, {}, "X-Fal-Object-Lifecycle-Preference"),
        (
            {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": true}'},
            {},
            "expiration_duration_seconds",
        ),
        ({}, {"fal_webhook": "ftp://example.com"}, "fal_webhook"),
        ({}, {"fal_webhook": "https://[1"}, "fal_webhook"),
        ({}, {"fal_webhook": "https://example.com:99999/"}, "fal_webhook"),
        ({}, {"fal_webhook": "https://example.com/" + "x" * 3000}, "fal_webhook"),
        ({}, {"fal_max_queue_length": "-1"}, "fal_max_queue_length"),
        ({}, {"fal_max_queue_length": "²"}, "fal_max_queue_length"),
        ({}, {"priority": "high"}, "X-Fal-Queue-Priority"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(
    client: TestClient, service: Service, headers: dict[str, str], params: dict[str, str], named: str
) -> None:
    answer = client.post(URL, json={"training_data_url": "x"}, headers=headers, params=params)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    assert named in answer.json()["detail"]
    assert answer.headers["x-fal-error-type"] == "bad_request"
    assert service.requests.queued() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Fal-Object-Lifecycle-Preference": "null"},
        {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": null}'},
        {"X-Fal-Request-Timeout": "1e300"},
        {"X-Fal-Runner-Hint": "x", "X-Fal-Retry-Config": "{}", "x-app-fal-disable-fallback": "1"},
    ],
)
def test_wishes_without_a_meaning_here_do_no_harm(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(URL, json={"training_data_url": "x"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"training_data_url=x",
        b"\xff\xfe",
        b'{"learning_rate": NaN}',
        b'{"learning_rate": -Infinity}',
        b'{"learning_rate": 1e999}',
        b'{"number_of_steps": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_refused(client: TestClient, service: Service, body: bytes) -> None:
    answer = client.post(URL, content=body)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    assert answer.json()["detail"].startswith("The body is n")
    assert service.requests.queued() == []


def test_a_data_uri_of_megabytes_is_taken(client: TestClient, service: Service) -> None:
    uri = "data:application/zip;base64," + "A" * 5_000_000
    body = client.post(URL, json={"training_data_url": uri}).json()
    found = service.requests.find(body["request_id"])
    assert found is not None
    assert found.input == {"training_data_url": uri}


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_have_a_limit(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setattr(submission, "MAX_BODY_BYTES", 1024**2)
    body = b'{"training_data_url": "' + b"x" * 1024**2 + b'"}'
    answer = client.post(URL, content=body if announced else iter([body[:1000], body[1000:]]))
    assert answer.status_code == 413
    assert "1 MiB" in answer.json()["detail"]
    assert service.requests.queued() == []
