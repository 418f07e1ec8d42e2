"""What a key may take: told to it, and kept at every submit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome

STEPS: dict[str, Any] = {"training_data_url": "https://example.com/clips.zip", "number_of_steps": 1000}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, max_running_per_key=4, max_queue_per_key=9, budget_per_key=2500)


def as_key(service: Service, **limits: Any) -> dict[str, str]:
    key, secret = service.keys.create("studio")
    if limits:
        service.keys.change(key.id, limits)
    return {"Authorization": f"Key {secret}"}


def test_a_key_is_told_its_limits_and_what_it_takes(client: TestClient, service: Service) -> None:
    mine, other = as_key(service, weight=2.0, max_running=1), as_key(service, budget=0, max_queue=-1)
    for _ in range(2):
        assert client.post(f"/{TRAINING}", json=STEPS, headers=mine).status_code == 200
    request = service.requests.claim()
    assert request is not None
    assert request.owner is not None
    service.requests.finish(request.id, request.owner, Outcome(200, {}, units=1000))
    assert service.requests.claim() is not None
    found = client.get("/v1/limits", headers=mine).json()
    assert found.pop("seconds_last_hour") >= 0
    assert found == {
        "max_running": 1, "max_waiting": 9, "budget": 2500, "weight": 2.0,
        "running": 1, "waiting": 0, "used_this_month": 1000, "asked_for": 1000,
    }  # fmt: skip
    theirs = client.get("/v1/limits", headers=other).json()
    assert [theirs[name] for name in ("max_running", "max_waiting", "budget")] == [4, None, None]
    assert [theirs[name] for name in ("running", "used_this_month", "asked_for")] == [0, 0, 0]
    assert client.get("/v1/limits").status_code == 401


def test_beyond_its_budget_a_key_submits_nothing_that_costs(client: TestClient, service: Service) -> None:
    mine = as_key(service)
    waiting = [client.post(f"/{TRAINING}", json=STEPS, headers=mine).json()["request_id"] for _ in range(2)]
    answer = client.post(f"/{TRAINING}", json=STEPS, headers=mine)
    assert (answer.status_code, answer.json()["error_type"]) == (403, "exhausted_balance")
    assert answer.headers["x-fal-retryable"] == "false"
    said = answer.json()["detail"]
    assert said.startswith("User is locked. Reason: Exhausted balance.")
    assert (
        "2500 units a month; 0 are used, 2000 belong to requests that wait or run, and this one asks for 1000" in said
    )
    assert client.post(f"/{TRAINING}", json=STEPS | {"number_of_steps": 500}, headers=mine).status_code == 200
    assert client.post(f"/{GENERATION}", json={"prompt": "rain"}, headers=mine).status_code == 200  # is free
    assert client.post(f"/{TRAINING}", json={}, headers=mine).json()["request_id"]  # ends at once with its 422
    service.requests.cancel(waiting[0])
    assert client.post(f"/{TRAINING}", json=STEPS, headers=mine).status_code == 200


def test_a_raised_budget_holds_within_a_second(client: TestClient, service: Service) -> None:
    key, secret = service.keys.create("studio")
    mine = {"Authorization": f"Key {secret}"}
    service.keys.change(key.id, {"budget": 10})
    assert client.post(f"/{TRAINING}", json=STEPS, headers=mine).status_code == 403
    service.keys.change(key.id, {"budget": 5000})
    service.authenticator._read_at = -10.0
    assert client.post(f"/{TRAINING}", json=STEPS, headers=mine).status_code == 200


def test_everybody_together_has_the_limits_of_a_server_without_keys(settings: Settings) -> None:
    with TestClient(create_app(settings, executor=False), "http://localhost") as client:
        assert client.get("/v1/limits").json()["max_waiting"] == 9
        codes = [client.post(f"/{TRAINING}", json=STEPS).status_code for _ in range(3)]
        assert codes == [200, 200, 403]
