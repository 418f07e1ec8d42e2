"""Webhooks, from the end of a request to a receiver that checks them."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from idle_server import IdleServer, idle_server
from proxy_server import proxying
from waiting import wait_until
from webhook_receiver import Receiver, receiving, verify

from soundlora.net import guard
from soundlora.server.http import webhooks as webhooks_module
from soundlora.server.store import deliveries as deliveries_module
from soundlora.server.store.deliveries import Deliveries
from soundlora.server.store.finish import Outcome

FILE = {"url": "/files/0f/lora.safetensors", "file_name": "lora.safetensors"}
OK = Outcome(200, {"lora_file": FILE, "previews": [{"file": FILE}]}, units=100)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks_module, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(deliveries_module, "pause", lambda attempt: 0.01)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextlib.contextmanager
def serve(folder: Path, **settings: Any) -> Iterator[IdleServer]:
    with idle_server(folder, **{"private_hosts": ("127.0.0.1",)} | settings) as server:
        yield server


def settled(server: IdleServer, request_id: str) -> tuple[str, int, str | None]:
    """The delivery's state once it is no longer waiting."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = Deliveries(server.service.database).state(request_id)
        if state is not None and state[0] != "waiting":
            return state
        time.sleep(0.01)
    raise AssertionError(f"still {state}")


def test_a_result_arrives_signed_with_whole_addresses(tmp_path: Path, receiver: Receiver) -> None:
    with serve(tmp_path) as server:
        request_id = server.done(OK, key_id="k", webhook_url=receiver.url, base_url="https://sound.example")
        (received,) = receiver.wait(1)
        keys = server.get("/.well-known/jwks.json")["keys"]
        assert settled(server, request_id) == ("delivered", 1, None)

    file = FILE | {"url": "https://sound.example/files/0f/lora.safetensors"}
    payload = {"lora_file": file, "previews": [{"file": file}]}
    assert received.json == {
        "request_id": request_id,
        "gateway_request_id": request_id,
        "status": "OK",
        "payload": payload,
    }
    assert received.headers["X-Fal-Webhook-User-Id"] == "k"
    assert received.headers["X-Fal-Webhook-Request-Id"] == request_id
    assert received.headers["Content-Type"] == "application/json"
    assert verify(received.headers, received.body, keys, received.at)


def test_a_bad_request_over_http_arrives_too(tmp_path: Path, receiver: Receiver) -> None:
    with serve(tmp_path) as server:
        answer = server.client.post(
            "/fal-ai/ltx23-trainer-v2/t2a", params={"fal_webhook": receiver.url}, json={"training_data_url": 3}
        )
        (received,) = receiver.wait(1)
        keys = server.get("/.well-known/jwks.json")["keys"]

    assert received.json["request_id"] == answer.json()["gateway_request_id"]
    assert received.json["status"] == "ERROR"
    assert received.json["error"] == "Invalid status code: 422"
    assert received.json["payload"]["detail"][0]["loc"] == ["body", "training_data_url"]
    assert verify(received.headers, received.body, keys, received.at)


def test_the_address_of_the_submit_is_the_one_in_the_payload(tmp_path: Path, receiver: Receiver) -> None:
    with serve(tmp_path) as server:
        server.client.post(
            "/fal-ai/ltx23-trainer-v2/t2a",
            params={"fal_webhook": receiver.url},
            json={"training_data_url": "https://example.com/a.zip"},
            headers={"Host": "studio.localhost:8000"},
        )
        request_id = server.service.requests.queued()[0]
        server.service.requests.finish(request_id, server.start(), OK)
        (received,) = receiver.wait(1)

    assert received.json["payload"]["lora_file"]["url"] == "http://studio.localhost:8000/files/0f/lora.safetensors"


def test_it_is_sent_again_until_it_is_taken(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500, 404, 429]
    with serve(tmp_path, public_url="https://sound.example/") as server:
        request_id = server.done(OK, webhook_url=receiver.url, base_url="http://127.0.0.1:8420")
        received = receiver.wait(4)
        assert settled(server, request_id) == ("delivered", 4, None)

    assert len({each.body for each in received}) == 1
    assert received[0].json["payload"]["lora_file"]["url"] == "https://sound.example/files/0f/lora.safetensors"


def test_a_restarted_server_sends_what_the_last_one_could_not(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries_module, "pause", lambda attempt: 1.0)
    with serve(tmp_path) as server:
        receiver.statuses = [503]
        request_id = server.done(OK, webhook_url=receiver.url)
        receiver.wait(1)
        while (state := Deliveries(server.service.database).state(request_id)) == ("waiting", 1, None):
            time.sleep(0.01)
        assert state is not None
        assert state[2] is not None
        assert "answered with status 503" in state[2]
        keys = server.get("/.well-known/jwks.json")["keys"]

    with serve(tmp_path) as server:
        second = receiver.wait(2)[1]
        assert settled(server, request_id) == ("delivered", 2, None)
        assert server.get("/.well-known/jwks.json")["keys"] == keys
    assert verify(second.headers, second.body, keys, second.at)


def test_redirects_are_not_followed(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses, receiver.location = [307], receiver.url
    with serve(tmp_path) as server:
        request_id = server.done(OK, webhook_url=receiver.url)
        state, attempts, error = settled(server, request_id)

    assert (state, attempts) == ("failed", 1)
    assert error == f"{receiver.url} answered with status 307."
    assert len(receiver.received) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001"])
def test_private_addresses_are_refused_unless_allowed(tmp_path: Path, receiver: Receiver, host: str) -> None:
    with serve(tmp_path, private_hosts=()) as server:
        request_id = server.done(OK, webhook_url=receiver.url.replace("127.0.0.1", host))
        state, attempts, error = settled(server, request_id)

    assert (state, attempts) == ("failed", 1)
    assert error is not None
    assert "is not a public one" in error
    assert receiver.received == []


@pytest.mark.parametrize("url", ["http://exa mple/", "ftp://example.com/", "http://[::1", "nothing", "http://a:99999/"])
def test_what_is_no_address_fails_without_harm(tmp_path: Path, receiver: Receiver, url: str) -> None:
    with serve(tmp_path) as server:
        hopeless = server.done(OK, webhook_url=url)
        good = server.done(OK, webhook_url=receiver.url)
        assert settled(server, good)[0] == "delivered"
        while Deliveries(server.service.database).state(hopeless) == ("waiting", 1, None):
            time.sleep(0.01)
        state = Deliveries(server.service.database).state(hopeless)

    assert state is not None
    assert state[2]


def test_a_receiver_that_trickles_is_cut_off(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte begins the client's own limit anew; only the limit of the whole ends this."""
    monkeypatch.setattr(deliveries_module, "FIRST_SECONDS", 0.4)
    monkeypatch.setattr(deliveries_module, "RETRY_SECONDS", 20.0)
    cut = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        if len(receiver.received) > 1:
            return
        try:
            for _ in range(200):
                handler.wfile.write(b"H")
                handler.wfile.flush()
                time.sleep(0.05)
        finally:
            cut.set()

    receiver.before = trickle
    with serve(tmp_path) as server:
        request_id = server.done(OK, webhook_url=receiver.url)
        assert settled(server, request_id) == ("delivered", 2, None)

    assert cut.wait(5)  # the whole trickle would take 10 seconds


def test_a_slow_receiver_holds_up_no_other(tmp_path: Path, receiver: Receiver) -> None:
    with receiving() as slow, serve(tmp_path) as server:
        slow.before = lambda handler: time.sleep(3)
        waits = server.done(OK, webhook_url=slow.url)
        quick = server.done(OK, webhook_url=receiver.url)
        assert settled(server, quick)[0] == "delivered"
        state = Deliveries(server.service.database).state(waits)
        assert state is not None
        assert state[0] == "waiting"


def test_deleted_payloads_are_not_sent(tmp_path: Path) -> None:
    with receiving() as receiver:
        gone = receiver.url
    with serve(tmp_path) as server:
        request_id = server.done(OK, webhook_url=gone)
        answer = server.client.delete(f"/v1/models/requests/{request_id}/payloads")
        assert answer.status_code == 200
        state, _, error = settled(server, request_id)

    assert (state, error) == ("failed", "The payloads of the request were deleted.")


def test_webhooks_go_through_the_operators_proxy(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed as ever, and to addresses alone that may be reached."""
    found = {"hooks.example": "93.184.216.34", "private.example": "10.0.0.1"}
    monkeypatch.setattr(guard, "_look_up", lambda host: [ipaddress.ip_address(found[host])])
    with proxying() as proxy, serve(tmp_path, private_hosts=(), fetch_proxy=proxy.url) as server:
        proxy.to = ("127.0.0.1", int(receiver.url.split(":")[2].split("/")[0]))
        request_id = server.done(OK, webhook_url="http://hooks.example/hook", base_url="https://sound.example")
        (received,) = receiver.wait(1)
        keys = server.get("/.well-known/jwks.json")["keys"]
        assert settled(server, request_id) == ("delivered", 1, None)
        hidden = server.done(OK, webhook_url="http://private.example/hook")
        assert settled(server, hidden)[0] == "failed"
    assert verify(received.headers, received.body, keys, time.time())
    assert received.headers["Host"] == "hooks.example"
    assert proxy.asked == [("POST", "http://93.184.216.34/hook")]


def test_a_slow_receiver_is_cut_off_behind_a_proxy_too(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_look_up", lambda host: [ipaddress.ip_address("93.184.216.34")])
    monkeypatch.setattr(deliveries_module, "FIRST_SECONDS", 0.3)
    over = threading.Event()

    def wait(handler: object) -> None:
        over.wait(20)

    receiver.before = wait
    with proxying() as proxy, serve(tmp_path, private_hosts=(), fetch_proxy=proxy.url) as server:
        proxy.to = ("127.0.0.1", int(receiver.url.split(":")[2].split("/")[0]))
        request_id = server.done(OK, webhook_url="http://hooks.example/hook")
        wait_until(lambda: (Deliveries(server.service.database).state(request_id) or ("", 0, None))[2])
        over.set()
        assert settled(server, request_id)[0] == "delivered"
