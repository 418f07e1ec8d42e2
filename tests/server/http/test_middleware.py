"""CORS, the names of the official hosts, and fal's proxy contract."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from soundlora.errors import InputError
from soundlora.server.endpoints import TRAINING
from soundlora.server.http import auth
from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings

INPUT = {"training_data_url": "https://example.com/clips.zip"}
PROXY = "/api/fal/proxy"


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_FRESH_SECONDS", 0.0001)


@pytest.mark.parametrize("path", [f"/{TRAINING}", "/nothing/here", "/health"])
def test_browsers_may_read_every_answer(client: TestClient, service: Service, path: str) -> None:
    """Without keys the page that may ask is named; whoever has a key may ask from any page."""
    answer = client.get(path, headers={"Origin": "http://localhost:3000"})
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-expose-headers"] == "*"
    assert "access-control-allow-origin" not in client.get(path).headers
    service.keys.create("me")
    time.sleep(0.01)
    answer = client.get(path, headers={"Origin": "https://studio.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_preflight_is_granted_what_it_asks(client: TestClient) -> None:
    answer = client.options(
        f"/{TRAINING}",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization,x-fal-queue-priority",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization,x-fal-queue-priority"


def test_the_proxy_goes_to_the_queue_and_answers_with_its_own_address(client: TestClient, service: Service) -> None:
    target = {"x-fal-target-url": f"https://queue.fal.run/{TRAINING}?fal_webhook=https%3A%2F%2Fexample.com%2Fa%3Fb"}
    answer = client.post(PROXY, json=INPUT, headers=target)
    body = answer.json()
    assert (answer.status_code, body["gateway_request_id"]) == (200, body["request_id"])
    assert body["status_url"].startswith("http://localhost/fal-ai/ltx23-trainer-v2/requests/")
    assert service.requests.queued() == [body["request_id"]]
    request = f"https://queue.fal.run/fal-ai/ltx23-trainer-v2/requests/{body['request_id']}"
    status = client.get(PROXY, headers={"x-fal-target-url": f"{request}/status?logs=1"})
    assert (status.status_code, status.json()["logs"]) == (202, [])
    assert client.put(PROXY, headers={"x-fal-target-url": f"{request}/cancel"}).json()["status"] == "OK"
    result = client.get(PROXY, headers={"x-fal-target-url": request})
    assert (result.status_code, result.headers["x-fal-error-type"]) == (499, "client_cancelled")


def test_the_proxy_runs_what_is_meant_for_fal_run(client: TestClient) -> None:
    answer = client.post(PROXY, json={}, headers={"x-fal-target-url": f"https://fal.run/{TRAINING}"})
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "missing")


@pytest.mark.parametrize(
    ("method", "target", "content_type", "code"),
    [
        ("POST", None, "application/json", 400),
        ("POST", "https://[1", "application/json", 400),
        ("POST", "https://rest.fal.ai/api/fal/proxy", "application/json", 400),
        ("POST", f"https://evil.example/{TRAINING}", "application/json", 412),
        ("POST", f"https://queue.fal.run.evil.example/{TRAINING}", "application/json", 412),
        ("POST", f"https://notfal.run/{TRAINING}", "application/json", 412),
        ("POST", f"ftp://queue.fal.run/{TRAINING}", "application/json", 412),
        ("POST", f"https://queue.fal.run/{TRAINING}", "text/plain", 415),
        ("DELETE", f"https://queue.fal.run/{TRAINING}", "application/json", 405),
        ("POST", "https://queue.fal.run/fal-ai/flux/dev", "application/json", 404),
    ],
)
def test_the_proxy_refuses_what_the_contract_forbids(
    client: TestClient, service: Service, method: str, target: str | None, content_type: str, code: int
) -> None:
    headers = {"content-type": content_type} | ({"x-fal-target-url": target} if target else {})
    answer = client.request(method, PROXY, content=b"{}", headers=headers)
    assert answer.status_code == code
    assert answer.json()["detail"]
    assert service.requests.queued() == []


@pytest.mark.parametrize("host", ["queue.fal.run", "rest.fal.ai", "localhost"])
def test_other_names_reach_the_queue(app: FastAPI, host: str) -> None:
    with TestClient(app, base_url=f"https://{host}") as client:
        body = client.post(f"/{TRAINING}", json=INPUT).json()
        assert body["status_url"].startswith(f"https://{host}/fal-ai/")


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        (("127.0.0.1",), "https://localhost:9000"),
        (("127.0.0.0/8",), "https://localhost:9000"),
        ((), "http://localhost"),
    ],
)
def test_a_reverse_proxy_that_is_trusted_says_what_it_has_seen(
    settings: Settings, trusted: tuple[str, ...], address: str
) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "localhost:9000, inner"}
    app = create_app(replace(settings, trusted_proxies=trusted), executor=False)
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        body = client.post(f"/{TRAINING}", json=INPUT, headers=headers).json()
    assert body["response_url"].startswith(f"{address}/fal-ai/")


def test_a_proxy_is_named_by_its_address(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"SOUNDLORA_TRUSTED_PROXIES names 'proxy\.example'; write addresses"):
        create_app(replace(settings, trusted_proxies=("proxy.example",)), executor=False)
