"""Who may come in, and what they see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http import auth
from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings

INPUT = {"training_data_url": "https://example.com/clips.zip"}


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_FRESH_SECONDS", 0.0001)


@pytest.mark.parametrize("scheme", ["Key", "Bearer", "key"])
def test_a_key_opens_the_door(client: TestClient, service: Service, scheme: str) -> None:
    _, secret = service.keys.create("me")
    assert client.post(f"/{TRAINING}", json=INPUT).status_code == 401
    headers = {"Authorization": f"{scheme} {secret}"}
    assert client.post(f"/{TRAINING}", json=INPUT, headers=headers).status_code == 200


@pytest.mark.parametrize("value", ["", "Key", "Key ", "Basic abc", "Key x:y", "Key \xff", "Key " + "x" * 5000])
def test_nothing_else_does(client: TestClient, service: Service, value: str) -> None:
    service.keys.create("me")
    headers = [(b"Authorization", value.encode("latin-1"))]
    answer = client.post(f"/{TRAINING}", json=INPUT, headers=headers)
    assert answer.status_code == 401
    assert isinstance(answer.json()["detail"], str)
    assert service.requests.queued() == []


def test_everybody_sees_their_own_requests_only(client: TestClient, service: Service) -> None:
    mine = {"Authorization": f"Key {service.keys.create('me')[1]}"}
    yours = {"Authorization": f"Key {service.keys.create('you')[1]}"}
    body = client.post(f"/{TRAINING}", json=INPUT, headers=mine).json()
    for url in (body["status_url"], body["status_url"] + "/stream", body["response_url"]):
        assert client.get(url, headers=yours).status_code == 404
        assert client.get(url).status_code == 401
    assert client.put(body["cancel_url"], headers=yours).status_code == 404
    assert client.get(body["status_url"], headers=mine).status_code == 202


def test_revoking_the_last_key_closes_the_door(client: TestClient, service: Service) -> None:
    key, secret = service.keys.create("me")
    headers = {"Authorization": f"Key {secret}"}
    assert client.post(f"/{TRAINING}", json=INPUT, headers=headers).status_code == 200
    service.keys.revoke(key.id)
    assert client.post(f"/{TRAINING}", json=INPUT, headers=headers).status_code == 401
    assert client.post(f"/{TRAINING}", json=INPUT).status_code == 401


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Authorization": "Key anything"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "queue.fal.run"}, 200),
        ({"Host": "192.168.1.5:8420"}, 200),
        ({"X-Forwarded-For": "203.0.113.9"}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, 200),
    ],
)
def test_without_keys_this_machine_alone_may_ask(client: TestClient, headers: dict[str, str], code: int) -> None:
    assert client.post(f"/{TRAINING}", json=INPUT, headers=headers).status_code == code


def test_others_are_let_in_when_the_settings_say_so(settings: Settings) -> None:
    for allowed, code in ((False, 403), (True, 200)):
        app: FastAPI = create_app(replace(settings, host="0.0.0.0", allow_anonymous=allowed), executor=False)
        with TestClient(app, "http://localhost", client=("203.0.113.9", 5000)) as client:
            assert client.post(f"/{TRAINING}", json=INPUT).status_code == code
