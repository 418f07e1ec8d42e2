"""What those see who watch a run, and what their watching costs the database."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from waiting import wait_until

from soundlora.server.endpoints import TRAINING
from soundlora.server.http import runs, status_cache
from soundlora.server.http.run_view import Snapshot
from soundlora.server.http.state import Service
from soundlora.server.store.finish import Outcome
from soundlora.server.store.states import read_states

LOOK = 0.1
DONE = Outcome(200, {"lora_file": None}, units=100)


class Queries:
    """What was asked of the tables about a run, except by the thread that plays the worker."""

    def __init__(self, service: Service, id: str) -> None:
        self._engine, self._id = service.database.engine, id
        self._worker = threading.get_ident()
        self.asked: list[str] = []

    def __enter__(self) -> Queries:
        sa.event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        sa.event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        # A place is counted without naming the run.
        about = self._id in parameters or "count(*)" in statement
        if about and threading.get_ident() != self._worker:
            self.asked.append(" ".join(statement.split()))

    @property
    def looks(self) -> list[str]:
        """Whether anything is new at all, of every run that is asked for."""
        return [each for each in self.asked if "requests.id IN" in each and "requests.input" not in each]

    @property
    def details(self) -> list[str]:
        return [each for each in self.asked if each not in set(self.looks)]

    @property
    def rows(self) -> list[str]:
        """Whole ones, megabytes of input included."""
        return [each for each in self.details if "requests.input" in each]


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_cache, "LOOK_SECONDS", LOOK)


def begin(service: Service) -> tuple[str, str]:
    id = service.requests.submit(TRAINING, {"training_data_url": "data:x," + "y" * 200}).id
    claimed = service.requests.claim()
    assert claimed is not None
    assert claimed.owner is not None
    return id, claimed.owner


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


class Watching:
    """Some who watch a run, each in a thread, until it has ended."""

    def __init__(self, client: TestClient, service: Service, id: str, number: int) -> None:
        self.told: list[list[dict[str, Any]]] = []
        self._service, self._id = service, id
        self._threads = [threading.Thread(target=self._watch, args=(client, id)) for _ in range(number)]

    def _watch(self, client: TestClient, id: str) -> None:
        self.told.append(events(client.get(f"/v1/runs/{id}/events").text))

    def __enter__(self) -> Watching:
        for thread in self._threads:
            thread.start()
        self.until(lambda seen: True)
        time.sleep(2 * LOOK)  # the others follow
        return self

    def until(self, condition: Callable[[Snapshot], bool]) -> None:
        """Wait until they have seen what fulfils the condition."""

        def seen() -> bool:
            entry = self._service.status_cache._entries.get(self._id)
            return entry is not None and entry.view is not None and condition(entry.view)

        wait_until(seen)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # nobody will end the run
            self._service.closing = True
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("viewers", [1, 5])
def test_many_who_watch_a_run_cost_no_more_than_one(client: TestClient, service: Service, viewers: int) -> None:
    id, owner = begin(service)
    beats = 8
    began = time.monotonic()
    with Queries(service, id) as queries, Watching(client, service, id, viewers) as watching:
        for step in range(1, beats + 1):
            service.requests.beat(
                id, owner, progress={"step": step}, lines=[(0.0, "INFO", str(step))], curve=[(step, "loss", 1 / step)]
            )
            time.sleep(2 * LOOK)
        service.requests.finish(id, owner, DONE)
    took = time.monotonic() - began
    # Files, points and lines: once for the beginning, for each beat, and for the end, whoever looks. Its row is read at
    # the beginning and at the end, its mark at the beginning.
    assert len(queries.details) <= 3 * (beats + 2) + 3
    assert len(queries.rows) == 2
    # One more for each of them who comes, at most.
    assert len(queries.looks) <= took / LOOK + 1 + viewers
    for told in watching.told:
        assert [line["message"] for event in told for line in event.get("logs", [])] == [
            str(step) for step in range(1, beats + 1)
        ]
        assert (told[-1]["state"], told[-1]["outcome"], told[-1]["progress"]) == ("completed", "succeeded", None)


def test_a_step_costs_those_who_watch_no_read_of_their_own(client: TestClient, service: Service) -> None:
    id, owner = begin(service)
    with Watching(client, service, id, 3) as watching:
        with Queries(service, id) as queries:
            for step in range(1, 6):
                service.requests.beat(id, owner, progress={"step": step})
                wait_until(lambda step=step: _shown(service, id) == {"step": step})  # type: ignore[misc]
        service.requests.finish(id, owner, DONE)
    assert queries.details == []
    for told in watching.told:
        assert {"step": 5} in [event["progress"] for event in told if "progress" in event]


def _shown(service: Service, id: str) -> object:
    state = service.status_cache._entries[id].state
    return None if state is None else state.progress


@pytest.mark.parametrize("queued", [True, False])
def test_nothing_is_read_while_nothing_is_said(client: TestClient, service: Service, queued: bool) -> None:
    id, owner = begin(service)
    if queued:
        service.requests.release(id, owner, lost=False, reason="stopped")
    with Watching(client, service, id, 3) as watching:
        with Queries(service, id) as queries:
            wait_until(lambda: len(queries.looks) >= 6)
        service.requests.cancel(id)
        if not queued:
            service.requests.finish(id, owner, DONE)
    places = [each for each in queries.details if "count(*)" in each]
    assert len(queries.details) == len(places)
    assert (len(places) > 0) is queued  # how many wait before it changes without a word of its own
    assert [told[0]["position"] for told in watching.told] == [0 if queued else None] * 3


def test_curves_are_told_whole_at_first_and_then_what_is_new(client: TestClient, service: Service) -> None:
    id, owner = begin(service)
    service.requests.beat(id, owner, curve=[(2, "loss", 0.5), (1, "loss", 0.9), (0, "held_out", 0.8)])
    with Watching(client, service, id, 1) as watching:
        service.requests.beat(id, owner, curve=[(3, "loss", 0.4)])
        watching.until(lambda seen: len(seen.points) == 4)
        # A run that went on from an earlier checkpoint says some steps again.
        service.requests.beat(id, owner, curve=[(2, "loss", 0.45), (3, "loss", 0.35), (3, "held_out", 0.7)])
        watching.until(lambda seen: len(seen.points) == 7)
        service.requests.beat(id, owner, progress={"step": 3})
        wait_until(lambda: _shown(service, id) == {"step": 3})
        service.requests.finish(id, owner, DONE)
    (told,) = watching.told
    assert [event["curves"] for event in told if "curves" in event] == [
        {"loss": [[1, 0.9], [2, 0.5]], "held_out": [[0, 0.8]]},
        {"loss": [[3, 0.4]], "held_out": []},
        {"loss": [[2, 0.45], [3, 0.35]], "held_out": [[3, 0.7]]},
    ]
    (again,) = events(client.get(f"/v1/runs/{id}/events").text)
    assert again["curves"] == {"loss": [[1, 0.9], [2, 0.45], [3, 0.35]], "held_out": [[0, 0.8], [3, 0.7]]}
    assert client.get(f"/v1/runs/{id}").json()["curves"] == again["curves"]


def test_a_request_to_stop_is_seen_before_the_worker_says_a_word(client: TestClient, service: Service) -> None:
    id, owner = begin(service)
    with Watching(client, service, id, 1) as watching:
        service.requests.cancel(id)
        watching.until(lambda seen: bool(seen.fields["cancel_asked"]))
        service.requests.finish(id, owner, DONE)
    assert [event["cancel_asked"] for event in watching.told[0] if "cancel_asked" in event] == [False, True]


def test_previews_come_as_they_are_made(client: TestClient, service: Service, tmp_path: Path) -> None:
    id, owner = begin(service)
    with Watching(client, service, id, 1) as watching:
        for number, step in enumerate((0, 50), 1):
            path = tmp_path / f"step_{step:06d}_prompt_0.wav"
            path.write_bytes(b"sound")
            service.files.add(path, name=path.name, content_type="audio/wav", role="preview", key_id="", request_id=id)
            service.requests.beat(id, owner, made=True)
            watching.until(lambda seen, number=number: len(seen.fields["previews"]) == number)  # type: ignore[misc]
        service.requests.finish(id, owner, DONE)
    told = [[each["step"] for each in event["previews"]] for event in watching.told[0] if "previews" in event]
    assert told == [[], [0], [0, 50]]


def test_what_ends_while_it_is_read_is_told_to_its_end(client: TestClient, service: Service) -> None:
    """The row may be ahead of the state that a look began with: no line must be missing from the last event."""
    id, owner = begin(service)
    state = read_states(service.database, [id])[id]
    service.requests.beat(id, owner, lines=[(0.0, "INFO", "one")])
    service.requests.finish(id, owner, DONE)

    async def told() -> list[str]:
        return [each async for each in runs._changes(service, replace(state), 0, "http://testserver")]

    (event,) = events("".join(asyncio.run(told())))
    assert (event["state"], event["result"], event["progress"]) == ("completed", {"lora_file": None}, None)
    assert [line["message"] for line in event["logs"]] == ["one"]


@pytest.fixture
def watched(client: TestClient, service: Service) -> str:
    """A run that has ended, and that somebody has looked at just now."""
    id, owner = begin(service)
    service.requests.beat(id, owner, lines=[(0.0, "INFO", "secret")], curve=[(1, "loss", 0.5)])
    service.requests.finish(id, owner, DONE)
    assert "secret" in client.get(f"/v1/runs/{id}/events").text
    assert "secret" in client.get(f"/fal-ai/ltx23-trainer-v2/requests/{id}/status?logs=1").text
    return id


def test_what_was_deleted_is_not_told_from_memory(client: TestClient, watched: str) -> None:
    assert client.delete(f"/v1/models/requests/{watched}/payloads").status_code == 200
    (event,) = events(client.get(f"/v1/runs/{watched}/events").text)
    assert (event["result"], event["input"], "logs" in event) == (None, None, False)
    assert event["curves"] == {"loss": [], "held_out": []}
    assert client.get(f"/fal-ai/ltx23-trainer-v2/requests/{watched}/status?logs=1").json()["logs"] == []
