"""The status, once and as a stream of events."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http import status, status_cache
from soundlora.server.http.state import Service
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import State, read_states

URL = "/fal-ai/ltx23-trainer-v2/requests"
INPUT = {"training_data_url": "https://example.com/clips.zip"}


def submit(client: TestClient) -> str:
    return str(client.post(f"/{TRAINING}", json=INPUT).json()["request_id"])


def claim(requests: Requests) -> tuple[str, str]:
    request = requests.claim()
    assert request is not None
    assert request.owner is not None
    return request.id, request.owner


def until(client: TestClient, url: str, wanted: str) -> dict[str, Any]:
    """The status once it is `wanted`; another process's writes are seen a moment later."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        body: dict[str, Any] = client.get(url).json()
        if body["status"] == wanted:
            return body
        time.sleep(0.02)
    raise AssertionError(f"the status never was {wanted}")


@pytest.mark.parametrize("path", ["/fal-ai/ltx23-trainer-v2", "/fal-ai/ltx23-trainer-v2/t2a"])
def test_a_status_follows_the_request(client: TestClient, service: Service, path: str) -> None:
    client.post(f"/{TRAINING}", json=INPUT)
    id = submit(client)
    url = f"{path}/requests/{id}/status"
    answer = client.get(url)
    base = f"http://localhost{URL}/{id}"
    assert answer.status_code == 202
    assert answer.headers["x-fal-request-id"] == id
    assert answer.json() == {
        "status": "IN_QUEUE",
        "request_id": id,
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "queue_position": 1,
        "logs": None,
        "metrics": {},
    }
    claim(service.requests)
    _, owner = claim(service.requests)
    running = until(client, url, "IN_PROGRESS")
    assert (running["logs"], running["metrics"]) == (None, {})
    assert "queue_position" not in running
    assert client.get(url).status_code == 202
    service.requests.finish(id, owner, Outcome(200, {}))
    done = until(client, url, "COMPLETED")
    assert done["metrics"]["inference_time"] >= 0
    assert "error" not in done
    assert client.get(url).status_code == 200


def test_places_are_right_for_few_and_for_many_askers(client: TestClient, service: Service) -> None:
    ids = [submit(client) for _ in range(30)]

    async def places(asked: Sequence[str]) -> list[int]:
        states = await asyncio.gather(*(service.status_cache.state(id) for id in asked))
        return [service.status_cache.position(state) for state in states if state is not None]

    for asked in (ids, ids[20:23], ids[10:]):
        assert asyncio.run(places(asked)) == [ids.index(id) for id in asked]
        service.status_cache.changed(ids[0])
    claim(service.requests)
    time.sleep(2 * status_cache.FRESH_SECONDS)
    assert asyncio.run(places(ids[5:7])) == [4, 5]
    time.sleep(2 * status_cache.FRESH_SECONDS)
    assert asyncio.run(places(ids[5:25])) == list(range(4, 24))


def test_a_failure_is_completed_with_its_error(client: TestClient, service: Service) -> None:
    id = submit(client)
    _, owner = claim(service.requests)
    service.requests.finish(id, owner, Outcome(500, {}, error="out of memory", error_type="internal_server_error"))
    body = until(client, f"{URL}/{id}/status", "COMPLETED")
    assert (body["error"], body["error_type"]) == ("out of memory", "internal_server_error")


@pytest.mark.parametrize("word", ["1", "true"])
def test_polls_get_all_lines_so_far(client: TestClient, service: Service, word: str) -> None:
    id = submit(client)
    url = f"{URL}/{id}/status?logs={word}"
    assert client.get(url).json()["logs"] == []
    _, owner = claim(service.requests)
    service.requests.beat(id, owner, lines=[(0.5, "INFO", 'one "line"\n')])
    until(client, url, "IN_PROGRESS")
    service.requests.beat(id, owner, lines=[(1.5, "WARN", "two")])
    service.requests.finish(id, owner, Outcome(200, {}))
    assert until(client, url, "COMPLETED")["logs"] == [
        {
            "message": 'one "line"\n',
            "timestamp": "1970-01-01T00:00:00.500000Z",
            "level": "INFO",
            "source": "run",
            "labels": {"level": "INFO"},
        },
        {
            "message": "two",
            "timestamp": "1970-01-01T00:00:01.500000Z",
            "level": "WARN",
            "source": "run",
            "labels": {"level": "WARN"},
        },
    ]
    assert client.get(f"{URL}/{id}/status?logs=false").json()["logs"] is None


def events(text: str) -> list[dict[str, Any]]:
    blocks = [block for block in text.split("\n\n") if block]
    return [json.loads(block.removeprefix("data: ")) for block in blocks if not block.startswith(":")]


def test_a_stream_tells_every_change_once_and_ends(client: TestClient, service: Service) -> None:
    id = submit(client)

    def work() -> None:
        _, owner = claim(service.requests)
        for n in range(3):
            time.sleep(0.25)
            service.requests.beat(id, owner, lines=[(float(n), "INFO", f"line {n}")])
        service.requests.finish(id, owner, Outcome(200, {}))

    thread = threading.Timer(0.4, work)
    thread.start()
    answer = client.get(f"{URL}/{id}/status/stream?logs=1")
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    states = [event["status"] for event in told]
    assert states == sorted(states, key=["IN_QUEUE", "IN_PROGRESS", "COMPLETED"].index)
    assert (states[0], states[-1], states.count("COMPLETED")) == ("IN_QUEUE", "COMPLETED", 1)
    assert "IN_PROGRESS" in states
    assert [line["message"] for event in told for line in event["logs"]] == ["line 0", "line 1", "line 2"]


def test_a_stream_of_what_has_ended_is_one_event(client: TestClient, service: Service) -> None:
    id = submit(client)
    client.put(f"{URL}/{id}/cancel")
    (event,) = events(client.get(f"{URL}/{id}/status/stream").text)
    assert (event["status"], event["error_type"], event["logs"]) == ("COMPLETED", "client_cancelled", None)


def test_a_quiet_stream_is_kept_alive(client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "PING_SECONDS", 0.05)
    id = submit(client)
    thread = threading.Timer(0.6, service.requests.cancel, [id])
    thread.start()
    text = client.get(f"{URL}/{id}/status/stream").text
    thread.join()
    assert ": ping\n\n" in text
    assert [event["status"] for event in events(text)] == ["IN_QUEUE", "COMPLETED"]


def test_streams_end_when_the_server_stops(client: TestClient, service: Service) -> None:
    id = submit(client)
    thread = threading.Timer(0.3, setattr, [service, "closing", True])
    thread.start()
    assert [event["status"] for event in events(client.get(f"{URL}/{id}/status/stream").text)] == ["IN_QUEUE"]
    thread.join()


def test_many_polls_are_a_few_queries(app: FastAPI, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(database: Database, ids: Sequence[str]) -> dict[str, State]:
        asked.append(len(ids))
        return read_states(database, ids)

    monkeypatch.setattr(status_cache, "read_states", counted)
    monkeypatch.setattr(status_cache, "FRESH_SECONDS", 60.0)
    with TestClient(app, "http://localhost") as client:
        ids = [submit(client) for _ in range(3)]
        for _ in range(20):
            for id in ids:
                assert client.get(f"{URL}/{id}/status").status_code == 202
    assert len(asked) <= 3


def test_who_asks_while_the_database_is_slow_is_answered(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes while another question takes its time has waited long when it is their turn."""
    ids = [submit(client) for _ in range(2)]
    asked: list[Sequence[str]] = []

    def slow(database: Database, wanted: Sequence[str]) -> dict[str, State]:
        asked.append(wanted)
        if len(asked) == 1:
            time.sleep(2 * status_cache.FRESH_SECONDS + 1.5)
        return read_states(database, wanted)

    monkeypatch.setattr(status_cache, "read_states", slow)

    async def both() -> list[State | None]:
        first = asyncio.create_task(service.status_cache.state(ids[0]))
        await asyncio.sleep(0.1)
        return list(await asyncio.wait_for(asyncio.gather(first, service.status_cache.state(ids[1])), 20))

    states = asyncio.run(both())
    assert [state.id for state in states if state is not None] == ids
    assert len(asked) == 2


def test_made_up_ids_are_answered_and_leave_nothing(service: Service, client: TestClient) -> None:
    async def ask() -> list[State | None]:
        wanted = [service.status_cache.state("00000000-0000-0000-0000-000000000000") for _ in range(3)]
        return list(await asyncio.wait_for(asyncio.gather(*wanted), 20))

    assert asyncio.run(ask()) == [None] * 3
    assert service.status_cache._entries == {}


def test_news_of_many_runs_leave_the_event_loop_to_others(client: TestClient, service: Service) -> None:
    ids = [submit(client) for _ in range(40)]
    cache = service.status_cache
    order: list[str] = []

    async def watch(id: str) -> None:
        state = await cache.state(id)
        assert state is not None
        await cache.change(state, cache.position(state), 20)
        order.append("watcher")

    async def others() -> None:
        while order.count("watcher") < len(ids):
            await asyncio.sleep(0)
            if order.count("watcher"):
                order.append("other")

    async def all_of_them() -> None:
        watchers = [asyncio.create_task(watch(id)) for id in ids]
        while sum(entry.watched for entry in cache._entries.values()) < len(ids):
            await asyncio.sleep(0.01)
        for id in ids:
            service.requests.cancel(id)
        await asyncio.gather(others(), *watchers)

    asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert order.index("other") < 10
    assert order.count("other") >= 10
