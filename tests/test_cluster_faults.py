"""Postgres crashes, and a network swallows everything, while two machines work: nothing is lost and nothing ends twice.

The workers train nothing. All else is real: executors, leases, pulses, and a Postgres of this test's own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from local_http import free_port
from postgres import QUICK, NoPostgresError, Postgres, started
from waiting import wait_until

from soundlora.server.endpoints import TRAINING
from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import ledger, logs

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Linux only")]

STEPS = 40
LEASE_SECONDS = 20.0
SPLIT_SECONDS = 30.0

WORKER = f"""
import os, sys, time
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.work.process import SETTINGS_VARIABLE
from soundlora.server.work.pulse import Pulse
from soundlora.server.work.worker import _until_written
settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
requests = Requests(Database(settings.database))
id, owner = sys.argv[1:]
with Pulse(
    requests, id, owner, max_seconds=600, lease_seconds=settings.lease_seconds, attached=True
) as pulse:
    for step in range({STEPS}):
        pulse.show({{"step": step}})
        pulse.log(f"step {{step}} by {{owner}}")
        time.sleep(0.1)
_until_written(pulse.tell_the_rest)
_until_written(lambda: requests.finish(id, owner, Outcome(200, {{"by": owner}}, units={STEPS})))
"""

NODE = """
import sys
from pathlib import Path
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.work.local import LocalExecutor
from soundlora.server.work.supervisor import Supervisor
folder, url, lease, worker = sys.argv[1:]
settings = Settings(data_dir=Path(folder), database_url=url, slots=2, lease_seconds=float(lease), device="cpu")
requests = Requests(Database(settings.database))
executor = LocalExecutor(settings, requests, command=(sys.executable, "-c", worker))
supervisor = Supervisor(requests, settings.lease_seconds)
executor.start()
supervisor.start()
print("ready", flush=True)
sys.stdin.read()
executor.stop()
supervisor.stop()
"""


@pytest.fixture
def server() -> Iterator[Postgres]:
    with contextlib.ExitStack() as stack:
        try:
            settings = [each for each in QUICK if not each.startswith("fsync")]  # for it crashes
            yield stack.enter_context(started(settings, port=free_port()))
        except NoPostgresError as error:
            pytest.skip(str(error))


@pytest.fixture
def requests(server: Postgres) -> Iterator[Requests]:
    database = Database(server.url)
    database.migrate()
    yield Requests(database)
    database.close()


@contextlib.contextmanager
def node(folder: Path, url: str, inside: tuple[str, ...] = ()) -> Iterator[None]:
    """A machine that works: a process, in a network of its own where `inside` begins its command."""
    folder.mkdir()
    command = [*inside, sys.executable, "-c", NODE, str(folder), url, str(LEASE_SECONDS), WORKER]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def network() -> Iterator[tuple[str, str, str]]:
    """The name of a network namespace, the name of our end of its only cable, and our address on it."""
    name, end = f"sl{os.getpid()}", f"sl{os.getpid()}h"
    here, there = "10.219.7.1", "10.219.7.2"
    steps = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name],
        ["ip", "address", "add", f"{here}/24", "dev", end],
        ["ip", "link", "set", end, "up"],
        ["ip", "-n", name, "address", "add", f"{there}/24", "dev", "eth0"],
        ["ip", "-n", name, "link", "set", "eth0", "up"],
        ["ip", "-n", name, "link", "set", "lo", "up"],
    ]
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network can be made here: {done.stderr.strip()}")
        yield name, end, here
    except OSError as error:
        pytest.skip(f"no network can be made here: {error}")
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
            subprocess.run(["ip", "link", "delete", end], capture_output=True)


def run_of(requests: Requests) -> set[str]:
    return {id for id, _, _ in requests.held()}


def check(requests: Requests, ids: list[str]) -> None:
    """Each has ended once, by one worker, and nothing that its worker said is missing or said twice."""
    found = {each.id: each for each in requests.find_many(ids)}
    assert {each.status_code for each in found.values()} == {200}, [
        line for id in ids for line in requests.log_lines(id) if line.level != "INFO"
    ]
    with requests.database.read() as connection:
        lines = list(connection.execute(sa.select(ledger.c.request_id, ledger.c.units)))
        said = list(connection.execute(sa.select(logs.c.request_id, logs.c.message)))
    assert sorted(lines) == sorted((id, STEPS) for id in ids)
    for id, each in found.items():
        owner = each.response["by"]
        mine = [message for request, message in said if request == id and message.endswith(f"by {owner}")]
        assert mine == [f"step {step} by {owner}" for step in range(STEPS)]


def test_postgres_crashes_while_two_machines_work(server: Postgres, requests: Requests, tmp_path: Path) -> None:
    ids = [requests.submit(TRAINING, {}).id for _ in range(8)]
    with node(tmp_path / "a", server.url), node(tmp_path / "b", server.url):
        for _ in range(3):
            wait_until(lambda: len(run_of(requests)) >= 2)
            time.sleep(1.5)
            server.stop("immediate")
            time.sleep(3)
            server.start()
        wait_until(lambda: all(each.state == "completed" for each in requests.find_many(ids)), 180)
    check(requests, ids)
    # No worker fell silent: while the database is away nobody's silence is counted.
    assert {each.attempts for each in requests.find_many(ids)} == {1}


def test_a_machine_is_cut_off_for_half_a_minute(
    server: Postgres, requests: Requests, network: tuple[str, str, str], tmp_path: Path
) -> None:
    name, end, here = network
    server.let_in("10.219.7.0/24")
    server.stop("fast")
    server.start()
    ids = [requests.submit(TRAINING, {}).id for _ in range(8)]
    far = f"postgresql://postgres@{here}:{server.port}/postgres"
    inside = ("ip", "netns", "exec", name)
    with node(tmp_path / "far", far, inside):
        taken = wait_until(lambda: run_of(requests) if len(run_of(requests)) == 2 else set())
        time.sleep(0.5)
        subprocess.run(["ip", "link", "set", end, "down"], check=True)
        with node(tmp_path / "near", server.url):
            time.sleep(SPLIT_SECONDS)
            wait_until(lambda: all(each.attempts == 2 for each in requests.find_many(taken)), 240)
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
            wait_until(lambda: all(each.state == "completed" for each in requests.find_many(ids)), 240)
    check(requests, ids)
    again = {each.id: each.attempts for each in requests.find_many(ids)}
    # What the machine had taken was done by the other one meanwhile, and its own work counted for nothing.
    assert {again[id] for id in taken} == {2}
