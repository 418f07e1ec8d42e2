"""The system's clock jumps by hours in either direction, as it does when it is set right."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from supervised import Supervised
from waiting import wait_until

from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import ledger
from soundlora.server.store.totals import Totals
from soundlora.server.work.local import LocalExecutor

HOUR = 3600.0
JUMPS = [5 * HOUR, -5 * HOUR]
OK = Outcome(200, {"made": 1}, units=7)
LEASE = 6.0
"""Seconds. A worker has to start in them, also on a busy machine where its branches are counted."""
BEATING = """
import os, sys, time
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.settings import Settings
settings = Settings.from_json(os.environ["SOUNDLORA_WORKER"])
request_id, owner = sys.argv[1:]
requests = Requests(Database(settings.database))
requests.beat(request_id, owner, lines=[(1, 'INFO', 'ready')])
while not (settings.data_dir / "end").exists():
    time.sleep(0.1)
    requests.beat(request_id, owner)
requests.finish(request_id, owner, Outcome(200, {"made": 1}, units=7))
"""

Jump = Callable[[float], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Sets the clock of this process; workers' are as they were, as other machines' are."""
    real = time.time
    ahead = 0.0

    def jump(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    return jump


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[Requests]:
    database = Database(Settings(data_dir=tmp_path).database)
    database.migrate()
    yield Requests(database)
    database.close()


def state(requests: Requests, id: str) -> str:
    found = requests.find(id)
    assert found is not None
    return found.state


@pytest.mark.parametrize("seconds", [5 * HOUR, pytest.param(-5 * HOUR, marks=pytest.mark.slow)])
def test_no_lease_is_lost_and_nothing_ends_twice(
    tmp_path: Path, requests: Requests, jump: Jump, seconds: float
) -> None:
    request = requests.submit("train", {}, no_retry=True)
    settings = Settings(data_dir=tmp_path, lease_seconds=LEASE)
    executor = Supervised(LocalExecutor(settings, requests, (sys.executable, "-c", BEATING)), requests)
    executor.start()
    try:
        wait_until(lambda: bool(requests.log_lines(request.id)))
        jump(seconds)
        time.sleep(1.5 * LEASE)
        assert state(requests, request.id) == "running"
        jump(-2 * seconds)
        time.sleep(1)
        (tmp_path / "end").touch()
        wait_until(lambda: state(requests, request.id) == "completed")
        time.sleep(1)
    finally:
        executor.stop()
    with requests.database.read() as connection:
        assert [row.units for row in connection.execute(sa.select(ledger))] == [7]
    found = requests.find(request.id)
    assert found is not None
    assert (found.status_code, found.attempts) == (200, 1)


def test_a_start_deadline_ends_neither_early_nor_hours_late(tmp_path: Path, requests: Requests, jump: Jump) -> None:
    """They wait behind a run that does not end."""
    requests.submit("train", {})
    local = LocalExecutor(Settings(data_dir=tmp_path), requests, (sys.executable, "-c", BEATING))
    executor = Supervised(local, requests)
    executor.start()
    try:
        wait_until(lambda: not requests.queued())
        patient = requests.submit("train", {}, start_seconds=HOUR).id
        hasty = requests.submit("train", {}, start_seconds=4).id
        time.sleep(1.2)  # both were seen
        jump(5 * HOUR)
        time.sleep(1.2)
        assert requests.queued() == [patient, hasty]
        jump(-10 * HOUR)
        wait_until(lambda: state(requests, hasty) == "completed", 10)
        assert requests.queued() == [patient]
        ended = requests.find(hasty)
        assert ended is not None
        assert (ended.status_code, ended.error_type) == (504, "request_timeout")
    finally:
        (tmp_path / "end").touch()
        executor.stop()


def test_a_server_that_starts_after_a_jump_back_gives_no_more_than_the_time_that_was_asked_for(
    requests: Requests, jump: Jump
) -> None:
    id = requests.submit("train", {}, start_seconds=60).id
    jump(-5 * HOUR)
    assert 59 < requests.start_seconds()[id] <= 60


@pytest.mark.parametrize("seconds", JUMPS)
def test_no_run_takes_less_than_no_time(requests: Requests, jump: Jump, seconds: float) -> None:
    id = requests.submit("train", {}).id
    claimed = requests.claim()
    assert claimed is not None
    assert claimed.owner is not None
    jump(seconds)
    requests.finish(id, claimed.owner, OK)
    ended = requests.find(id)
    assert ended is not None
    assert ended.ended_at is not None
    assert ended.started_at is not None
    assert ended.ended_at >= ended.started_at
    totals = Totals(requests.database)
    totals.update()
    assert totals.seconds["train"] >= 0


@pytest.mark.parametrize("seconds", JUMPS)
def test_an_upload_goes_on_after_a_jump(tmp_path: Path, jump: Jump, seconds: float) -> None:
    app = create_app(Settings(data_dir=tmp_path), executor=False)
    files = app.state.service.files
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        given = {"file_name": "clips.zip", "content_type": "application/zip"}
        whole = client.post("/files/upload", content=b"before").json()["access_url"]
        begun = client.post("/storage/upload/initiate", json=given).json()
        jump(seconds)
        assert files.sweep() == 0
        assert client.put(begun["upload_url"], content=b"after").status_code == 200
        assert client.get(begun["file_url"]).content == b"after"
        assert client.get(whole).content == b"before"
