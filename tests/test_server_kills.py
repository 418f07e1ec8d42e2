"""Servers and workers are killed again and again, while requests come in: none is lost, none ends twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from example_zip import some_clips
from local_http import free_port

from soundlora.net.storage import Storage
from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.requests import MAX_ATTEMPTS, Requests
from soundlora.server.store.tables import ledger

KILLS = int(os.environ.get("SOUNDLORA_KILLS", "50"))
SERVE = "from soundlora.cli.app import main; main()"


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "SOUNDLORA_LEASE_SECONDS": "5"}
        command = [sys.executable, "-c", SERVE, "serve", "--port", str(self.port), "--data-dir", str(self.folder)]
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "serve.log").read_text()
                time.sleep(0.1)

    def submit(self, endpoint: str, body: dict[str, Any]) -> str | None:
        """The id, None when the server could not be asked: then nothing was accepted, as far as the client knows."""
        address = f"http://127.0.0.1:{self.port}/{endpoint}"
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                request_id: str = json.load(answer)["request_id"]
                return request_id
        except (OSError, ValueError):
            return None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def workers(folder: Path) -> list[int]:
    """Process ids of this server's workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            mine = str(folder).encode() in (path / "environ").read_bytes()
        except OSError:
            continue
        if b"soundlora.server.work.worker" in command and mine:
            found.append(int(path.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="workers are found by /proc")
def test_no_request_is_lost_or_ends_twice_however_often_processes_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    random.seed(7)
    folder = tmp_path / "data"
    folder.mkdir()
    server = Server(folder)
    server.start()
    accepted: dict[str, str] = {}
    train: dict[str, Any] = {
        "training_data_url": some_clips(),
        "number_of_steps": 100,
        "rank": 8,
        "audio_duration_seconds": 1,
    }
    for number in range(KILLS):
        endpoint = TRAINING if number % 5 == 0 else GENERATION
        body = train if endpoint == TRAINING else {"prompt": "rain", "num_frames": 9, "seed": number}
        server.wait_until_ready()
        for _ in range(2):
            request_id = server.submit(endpoint, body)
            if request_id is not None:
                accepted[request_id] = endpoint
            time.sleep(random.uniform(0, 4))
        target = random.choice(["server", "worker", "both"])
        if target != "server":
            for process in workers(folder):
                os.kill(process, signal.SIGKILL)
        if target != "worker":
            server.kill()
            server.start()
    assert len(accepted) >= KILLS // 2
    database = Database(Settings(data_dir=folder).database)
    requests, files = Requests(database), Files(database, Storage(Settings(data_dir=folder).storage))
    deadline = time.monotonic() + 60 * len(accepted)
    while any(found.state != "completed" for found in requests.find_many(accepted)):
        assert time.monotonic() < deadline, "requests are stuck"
        time.sleep(1)
    server.stop()
    with database.read() as connection:
        lines = list(connection.execute(sa.select(ledger.c.request_id, ledger.c.units)))
    billed = dict(lines)
    assert len(lines) == len(billed)
    assert set(accepted) <= set(billed)
    outcomes = []
    for found in requests.find_many(accepted):
        outcomes.append(found.status_code)
        assert billed[found.id] == (100 if found.status_code == 200 and found.endpoint == TRAINING else 0)
        if found.status_code != 200:
            # Only one whose workers were killed as often as it was tried.
            assert (found.status_code, found.error_type) == (503, "runner_disconnected"), found.error
            assert found.attempts == MAX_ATTEMPTS
        for row in files.of_request(found.id):
            assert files.storage.size(row.key) == row.size
        said = [line.message for line in requests.log_lines(found.id)]
        # Once a run has a state, no later worker begins at the first step again.
        first = [message for message in said if message.startswith("Step 1 of")]
        assert len(first) <= 1 + sum("worker" in message.lower() for message in said)
    print(f"{KILLS} kills, {len(accepted)} requests: {outcomes.count(200)} done, {outcomes.count(503)} given up")
    assert outcomes.count(200) > len(accepted) // 2
    database.close()
