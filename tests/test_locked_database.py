"""Another process holds the database's lock for seconds: everybody waits, and nothing is lost for it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from supervised import Supervised

from soundlora.server.endpoints import GENERATION
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.work.local import LocalExecutor
from soundlora.server.work.pulse import Pulse
from soundlora.server.work.worker import _until_written

HELD_SECONDS = 1.5
HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[Requests]:
    database = Database(Settings(data_dir=tmp_path).database)
    database.migrate()
    yield Requests(database)
    database.close()


@contextmanager
def locked(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Another process writes and does not come to an end, until the function is called or the block is over."""
    path = str(tmp_path / "soundlora.db")
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"

    def free() -> None:
        if process.poll() is None:
            process.communicate()

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(path, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
    try:
        yield free
    finally:
        free()


def test_a_submit_waits(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path), executor=False)
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client, locked(tmp_path) as free:
        timer = threading.Timer(HELD_SECONDS, free)
        timer.start()
        answer = client.post(f"/{GENERATION}", json={"prompt": "rain"})
        timer.join()
    assert answer.status_code == 200
    assert app.state.service.requests.queued() == [answer.json()["request_id"]]


def test_beats_wait_and_nothing_said_is_lost(tmp_path: Path, requests: Requests) -> None:
    requests.submit("train", {})
    request = requests.claim()
    assert request is not None
    assert request.owner is not None
    with Pulse(requests, request.id, request.owner, max_seconds=60) as pulse, locked(tmp_path):
        for number in range(4):
            pulse.show({"step": number})
            pulse.log(str(number))
            time.sleep(HELD_SECONDS / 4)
        during = requests.find(request.id)
        assert during is not None
        assert during.progress is None or during.progress["step"] < 3
    assert pulse.reason is None
    after = requests.find(request.id)
    assert after is not None
    assert (after.state, after.progress) == ("running", {"step": 3})
    assert [line.message for line in requests.log_lines(request.id)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("busy_milliseconds", [30_000, 100])
def test_a_result_waits(tmp_path: Path, requests: Requests, busy_milliseconds: int) -> None:
    """Also when the driver's own patience is over long before the lock is."""
    requests.submit("train", {})
    request = requests.claim()
    assert request is not None
    owner = request.owner
    assert owner is not None

    def finish() -> None:
        with requests.database.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={busy_milliseconds}")
        requests.finish(request.id, owner, Outcome(200, {"made": 1}))

    with locked(tmp_path) as free:
        timer = threading.Timer(HELD_SECONDS, free)
        timer.start()
        _until_written(finish)
        timer.join()
    found = requests.find(request.id)
    assert found is not None
    assert (found.state, found.response) == ("completed", {"made": 1})


BEATING = """
import json, os, sys, time
import sqlalchemy as sa
from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.settings import Settings
request_id, owner = sys.argv[1:]
requests = Requests(Database(Settings.from_json(os.environ["SOUNDLORA_WORKER"]).database))
requests.beat(request_id, owner, lines=[(1, 'INFO', 'ready')])
while True:
    time.sleep(0.1)
    requests.beat(request_id, owner)
"""


def test_a_lock_that_outlasts_the_lease_costs_no_worker_its_run(tmp_path: Path, requests: Requests) -> None:
    lease_seconds = 2.0
    request = requests.submit("train", {}, no_retry=True)
    settings = Settings(data_dir=tmp_path, lease_seconds=lease_seconds)
    executor = Supervised(LocalExecutor(settings, requests, (sys.executable, "-c", BEATING)), requests)
    executor.start()
    try:
        deadline = time.monotonic() + 60
        while not requests.log_lines(request.id):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (worker,) = executor.executor._workers
        with locked(tmp_path):
            time.sleep(lease_seconds + HELD_SECONDS)
            assert worker.process.poll() is None
        time.sleep(lease_seconds + 1)
        assert worker.process.poll() is None
        found = requests.find(request.id)
        assert found is not None
        assert (found.state, found.attempts) == ("running", 1)
    finally:
        executor.stop()
