"""Two servers and three workers on one Postgres: three keys get equal shares, and either server answers for all.

The servers are processes of their own. The workers are fakes that hold each request for a given time of their own
clock, through the real table, so that shares don't depend on how busy this machine is.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from rows import claimed, found

from soundlora.net.storage import Storage
from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome, cancelled
from soundlora.server.store.keys import Keys
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import metadata

SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from live_server import live
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
with live(create_app(Settings.from_json(sys.stdin.readline()), executor=False)) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
WORKERS = 3
HOLDS = {"small": 20.0, "large": 90.0, "mixed": 45.0}
"""How long a worker holds a request of each key, in seconds."""
COUNTS = {"small": 60, "large": 20, "mixed": 20}
INPUTS: dict[str, dict[str, Any]] = {
    TRAINING: {"training_data_url": "https://example.com/clips.zip"},
    GENERATION: {"prompt": "rain on a roof"},
}


@pytest.fixture
def settings(postgres: str, tmp_path: Path) -> Iterator[Settings]:
    yield Settings(data_dir=tmp_path / "data", database_url=postgres)
    database = Database(postgres)
    with database.write() as connection:
        for table in metadata.tables.values():
            connection.execute(sa.delete(table))
    database.close()


@contextlib.contextmanager
def server(settings: Settings) -> Iterator[httpx2.Client]:
    command = [sys.executable, "-c", SERVER, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings.to_json() + "\n")
        process.stdin.flush()
        try:
            with httpx2.Client(base_url=process.stdout.readline().strip(), timeout=60) as client:
                yield client
        finally:
            process.stdin.close()


class Workers:
    """Whoever is free first takes the next request, holds it for its time, and leaves a file."""

    def __init__(self, settings: Settings, database: Database, names: dict[str, str], folder: Path) -> None:
        self.requests, self.names, self.folder = Requests(database), names, folder
        self.files = Files(database, Storage(settings.storage))
        self.now = 1_700_000_000.0
        self.used: Counter[str] = Counter()
        self.waiting = Counter(COUNTS)
        self.left: dict[str, str] = {}
        self._busy: list[tuple[float, str, str, str]] = []

    def time(self) -> float:
        return self.now

    def take(self) -> None:
        if len(self._busy) == WORKERS:
            self.end()
        request, owner = claimed(self.requests)
        name = self.names[request.key_id]
        self.waiting[name] -= 1
        self.used[name] += int(HOLDS[name])
        self._busy.append((self.now + HOLDS[name], request.id, owner, request.key_id))

    def end(self) -> None:
        self._busy.sort()
        self.now, id, owner, key_id = self._busy.pop(0)
        made = self.folder / "sound.wav"
        made.write_bytes(id.encode())
        row = self.files.add(made, name=made.name, content_type="audio/wav", role="audio", key_id=key_id, request_id=id)
        self.left[id] = row.path
        self.requests.finish(id, owner, Outcome(200, {"audio": row.to_file()}, units=100))

    def end_all(self) -> None:
        while self._busy:
            self.end()


def test_keys_share_workers_and_servers_share_requests(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(settings.database)
    database.migrate()
    keys = {name: Keys(database).create(name) for name in COUNTS}
    secrets = {name: {"Authorization": f"Key {secret}"} for name, (_, secret) in keys.items()}
    workers = Workers(settings, database, {key.id: name for name, (key, _) in keys.items()}, tmp_path)
    for module in ("requests", "finish", "claims", "shares"):
        monkeypatch.setattr(f"soundlora.server.store.{module}.time", workers)

    with server(settings) as one, server(settings) as two:
        servers = (one, two)
        sent: list[tuple[str, str, str]] = []
        for name, count in COUNTS.items():
            for n in range(count):
                endpoint = GENERATION if n % 3 == 0 else TRAINING
                answer = servers[n % 2].post(f"/{endpoint}", json=INPUTS[endpoint], headers=secrets[name])
                assert answer.status_code == 200, answer.text
                sent.append((answer.json()["request_id"], endpoint, name))
        assert len(sent) == 100

        # Shares are compared for as long as all three keys have something to do.
        while all(workers.waiting.values()):
            workers.take()
        fair = sum(workers.used.values()) / len(COUNTS)
        assert all(abs(used - fair) < 0.15 * fair for used in workers.used.values()), workers.used

        # What one server took, the other one cancels: a request that waits, and one that runs.
        waiting = [each for each in sent if found(workers.requests, each[0]).state == "queued"]
        id, endpoint, name = waiting[0]
        other = servers[(sent.index(waiting[0]) + 1) % 2]
        assert other.put(f"/{endpoint}/requests/{id}/cancel", headers=secrets[name]).json()["status"] == "OK"
        assert (
            servers[sent.index(waiting[0]) % 2].get(f"/{endpoint}/requests/{id}", headers=secrets[name]).status_code
            == 499
        )
        workers.end()
        running, owner = claimed(workers.requests)
        name = workers.names[running.key_id]
        first = next(number for number, each in enumerate(sent) if each[0] == running.id) % 2
        assert (
            servers[1 - first]
            .put(f"/{running.endpoint}/requests/{running.id}/cancel", headers=secrets[name])
            .status_code
            == 202
        )
        assert workers.requests.beat(running.id, owner).cancel
        checkpoints = settings.runs / running.id / "run" / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "step_000010.pt").write_bytes(b"state")
        workers.requests.finish(running.id, owner, cancelled())

        # It goes on from the other server, too.
        resumed = servers[1 - first].post(f"/v1/runs/{running.id}/resume", headers=secrets[name])
        assert resumed.status_code == 200, resumed.text
        again = resumed.json()["request_id"]
        status = f"/{running.endpoint}/requests/{again}/status"
        assert servers[first].get(status, headers=secrets[name]).json()["status"] == "IN_QUEUE"
        assert (settings.runs / again / "run" / "checkpoints" / "step_000010.pt").exists()

        while workers.requests.count_queued():
            workers.take()
        workers.end_all()
        assert len(workers.left) == 99  # 100 and one that goes on, without the two that were cancelled
        for number, (id, path) in enumerate(workers.left.items()):
            for client in servers if number % 10 == 0 else (servers[number % 2],):
                assert client.get(path).content == id.encode()
        billed = {
            name: one.get("/v1/models/usage", params={"expand": "summary", "start": "2023-01-01"}, headers=headers)
            for name, headers in secrets.items()
        }
        sums = [sum(each["requests"] for each in answer.json()["summary"]) for answer in billed.values()]
        assert sum(sums) == 101
        assert one.get("/v1/limits", headers=secrets["small"]).json()["waiting"] == 0
    database.close()
