"""soundlora work, nodes and drain: what other machines run beside a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from example_zip import zip_uri
from support import Cli
from waiting import wait_until

from soundlora.server.endpoints import TRAINING
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.nodes import Nodes
from soundlora.server.store.requests import Requests

SOUNDLORA = (sys.executable, "-c", "from soundlora.cli.app import main; main()")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(Settings(data_dir=tmp_path / "data").database)
    database.migrate()
    return database


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*SOUNDLORA, "work", "--data-dir", str(tmp_path / "data"), "--node", "lab", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_it_does_what_is_in_the_queue_and_ends(tmp_path: Path, database: Database) -> None:
    """An empty data set is enough to see it: its refusal takes no training."""
    text = tmp_path / "notes.txt"
    text.write_text("no sound")
    requests = Requests(database)
    request = requests.submit(TRAINING, {"training_data_url": zip_uri(text)}, prepared=False)
    process = start(tmp_path, "--until-empty")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert said.startswith("soundlora works as lab: 1 trainings at a time; Ctrl-C ends it")
    found = requests.find(request.id)
    assert found is not None
    assert (found.state, found.status_code) == ("completed", 422)
    assert Nodes(database).list() == []


def test_it_is_drained_from_anywhere(tmp_path: Path, database: Database, soundlora: Cli) -> None:
    process = start(tmp_path)
    wait_until(lambda: Nodes(database).list())
    here = ("--data-dir", tmp_path / "data")
    (node,) = json.loads(soundlora("nodes", "--json", *here).out)
    assert (node["name"], node["slots"], node["running"], node["gone"]) == ("lab", 1, 0, False)
    assert "lab" in soundlora("nodes", *here).out
    unknown = soundlora("drain", "nobody", *here)
    assert (unknown.code, "There is no node nobody" in unknown.err, "lab" in unknown.err) == (2, True, True)
    assert soundlora("drain", "lab", "--now", "--undo", *here).code == 2
    assert soundlora("drain", "lab", *here).out == "lab takes no more requests.\n"
    assert process.wait(60) == 0
    assert "There are no nodes" in soundlora("nodes", *here).out
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(tmp_path: Path, database: Database, number: signal.Signals) -> None:
    process = start(tmp_path)
    wait_until(lambda: Nodes(database).list())
    process.send_signal(number)
    assert process.wait(60) == 0
    assert Nodes(database).list() == []
    process.communicate()


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--executor", "none", "work without an executor does nothing"),
        ("--executor", "slurm", "it must be local, none, auto, or the address of a Ray cluster"),
        ("--endpoints", "paintings", "There is no endpoint 'paintings'"),
    ],
)
def test_what_it_can_not_do_is_said(soundlora: Cli, tmp_path: Path, flag: str, value: str, sentence: str) -> None:
    outcome = soundlora("work", "--data-dir", tmp_path, flag, value)
    assert outcome.code == 2
    assert sentence in outcome.err
