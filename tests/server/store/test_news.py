"""Servers on one Postgres hear of what each of them writes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from rows import claimed
from waiting import wait_until

from soundlora.server.endpoints import TRAINING
from soundlora.server.http import status_cache
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.news import Listener
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import State, read_states
from soundlora.server.store.stopping import ask_to_stop
from soundlora.server.store.tables import metadata


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    database = Database(postgres)
    database.migrate()
    yield database
    with database.write() as connection:
        for table in metadata.tables.values():
            connection.execute(sa.delete(table))
    database.close()


@pytest.fixture
def heard(postgres: str) -> Iterator[list[tuple[str, str]]]:
    """What another process would hear."""
    words: list[tuple[str, str]] = []
    database = Database(postgres)
    listener = Listener(database, lambda kind, id: words.append((kind, id)))
    listener.start()
    wait_until(lambda: words == [("", "")])
    words.clear()
    yield words
    listener.stop()
    database.close()


def test_each_step_of_a_request_that_no_worker_tells_is_heard(requests: Requests, heard: list[tuple[str, str]]) -> None:
    id = requests.submit("train", {}).id
    wait_until(lambda: heard == [("queued", id)])
    _, owner = claimed(requests)
    assert ask_to_stop(requests.database, id)
    requests.release(id, owner, lost=True, reason="gone")
    _, owner = claimed(requests)
    requests.cancel(id)
    requests.finish(id, owner, Outcome(200, {}))
    wait_until(lambda: len(heard) == 5)
    assert heard[1:] == [("changed", id), ("queued", id), ("changed", id), ("changed", id)]


def test_a_beat_wakes_nobody(requests: Requests, heard: list[tuple[str, str]]) -> None:
    id = requests.submit("train", {}).id
    _, owner = claimed(requests)
    requests.beat(id, owner, progress={"step": 1}, lines=[(0.0, "INFO", "one")])
    requests.finish(id, owner, Outcome(200, {}))
    wait_until(lambda: ("changed", id) in heard)
    assert heard == [("queued", id), ("changed", id)]


def test_a_lost_connection_is_made_again_and_anything_may_have_happened(
    requests: Requests, heard: list[tuple[str, str]]
) -> None:
    others = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
        "current_database()"
    )
    with requests.database.read() as connection:
        connection.execute(others)
    wait_until(lambda: ("", "") in heard)
    id = requests.submit("train", {}).id
    wait_until(lambda: ("queued", id) in heard)


def test_who_watches_at_one_server_sees_what_another_one_does(
    postgres: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_cache, "LOOK_SECONDS", 3600.0)  # so that no look finds it
    monkeypatch.setattr(status_cache, "CLOSING_SECONDS", 3600.0)
    settings = Settings(data_dir=tmp_path, database_url=postgres)
    one, two = (create_app(settings, executor=False) for _ in range(2))
    with TestClient(one, "http://localhost") as here, TestClient(two, "http://localhost") as there:
        id = here.post(f"/{TRAINING}", json={"training_data_url": "data:x,", "number_of_steps": 100}).json()[
            "request_id"
        ]
        told: list[str] = []
        thread = threading.Thread(target=lambda: told.append(here.get(f"/v1/runs/{id}/events").text), daemon=True)
        thread.start()
        wait_until(lambda: one.state.service.status_cache._watching is not None)
        wait_until(lambda: one.state.service.status_cache._entries[id].watched == 1)
        assert there.put(f"/fal-ai/ltx23-trainer-v2/requests/{id}/cancel").status_code == 200
        thread.join(60)
        assert not thread.is_alive()
    assert '"outcome": "cancelled"' in told[0]


def test_a_state_that_nobody_spoke_of_is_not_read_again_at_once(
    database: Database, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll of a watched run would else wait for a query, though nothing has happened."""
    monkeypatch.setattr(status_cache, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(status_cache, "FRESH_SECONDS", 0.001)
    reads: list[list[str]] = []

    def counted(database: Database, ids: Sequence[str]) -> dict[str, State]:
        reads.append(list(ids))
        return read_states(database, ids)

    monkeypatch.setattr(status_cache, "read_states", counted)
    cache = status_cache.StatusCache(database, requests)
    id = requests.submit(TRAINING, {}).id

    def poll() -> str:
        time.sleep(0.01)
        state = asyncio.run(cache.state(id))
        assert state is not None
        return state.state

    assert [poll() for _ in range(3)] == ["queued"] * 3
    assert reads == [[id]]
    claimed(requests)
    assert poll() == "queued"
    cache.heard_of(id)
    assert poll() == "running"
    assert reads == [[id]] * 2
    cache.heard_of("")
    poll()
    assert reads == [[id]] * 3


def test_sqlite_has_no_listener(database_file: Database) -> None:
    listener = Listener(database_file, lambda kind, id: None)
    listener.start()
    assert not listener._thread.is_alive()
    listener.stop()
