"""A preparer fetches and checks data, refuses as the training would, and loads no torch."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from example_zip import some_clips, zip_uri
from rows import found
from waiting import wait_until
from workplace import Place, hang_up

from soundlora.server.endpoints import TRAINING
from soundlora.server.store.preparing import Preparing
from soundlora.server.work.preparers import PREPARER
from soundlora.server.work.process import SETTINGS_VARIABLE

ME = "00000000-0000-4000-8000-000000000000"
QUICK = """
import sys, soundlora.server.work.preparer as preparer
preparer.IDLE_SECONDS = 0.5
preparer.main()
sys.exit("torch" in sys.modules)
"""
HANGING = """
import time, soundlora.server.work.preparer as preparer
preparer.check_data = lambda options: time.sleep(600)
preparer.main()
"""


def train(place: Place, **fields: Any) -> str:
    payload = {"training_data_url": some_clips(), "number_of_steps": 100, "rank": 8, "audio_duration_seconds": 2}
    return place.requests.submit(TRAINING, payload | fields, prepared=False).id


def start(place: Place, *command: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {SETTINGS_VARIABLE: place.settings.to_json(), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, ME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def said(process: subprocess.Popen[bytes]) -> bytes:
    """What it says until it ends by itself. Its standard input stays open until then, as that of its executor's."""
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.wait(60) == 0, "it has loaded torch, or failed"
    close(process)
    return output


@pytest.fixture
def empty(tmp_path: Path) -> str:
    text = tmp_path / "notes.txt"
    text.write_text("no sound")
    return zip_uri(text)


def test_bad_data_ends_as_a_training_would_end_it_and_good_data_may_begin(place: Place, empty: str) -> None:
    bad, good = train(place, training_data_url=empty), train(place)
    process = start(place, sys.executable, "-c", QUICK)
    assert said(process).split() == [b"prepared"]
    refused = place.find(bad)
    assert (refused.state, refused.started_at, refused.units) == ("completed", None, 0)
    # The training itself says the same.
    place.requests.submit(TRAINING, place.find(bad).input)
    claimed = place.requests.claim(prepared=True)
    assert claimed is not None
    assert (claimed.id, claimed.attempts) == (good, 1)
    trained = place.work()
    assert (trained.status_code, trained.response) == (refused.status_code, refused.response)
    assert (trained.error, trained.error_type) == (refused.error, refused.error_type)
    assert place.said(bad) == [line for line in place.said(trained.id) if not line.startswith("Opening")]
    assert (place.settings.runs / good / "training_data.zip").exists(), "the training need not fetch it again"


def test_faults_of_the_machine_are_left_to_the_worker(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = train(place)
    program = QUICK.replace("preparer.main()", "preparer.check_data = lambda options: open('/')\npreparer.main()")
    said(start(place, sys.executable, "-c", program))
    claimed = place.requests.claim(prepared=True)
    assert claimed is not None
    assert claimed.id == request_id


@pytest.mark.parametrize("how", ["terminated", "left alone"])
def test_one_that_is_stopped_gives_back_what_it_has(place: Place, how: str) -> None:
    request_id = train(place)
    process = start(place, sys.executable, "-c", HANGING)
    wait_until(lambda: place.said(request_id))
    if how == "terminated":
        process.send_signal(signal.SIGTERM)
    else:
        hang_up(process)
    assert process.wait(60) == 0
    row = found(place.requests, request_id)
    assert (row.state, row.owner, row.attempts) == ("queued", None, 0)
    assert Preparing(place.requests).is_wanted()
    close(process)


def test_a_cancelled_one_is_let_go_and_the_next_is_prepared(place: Place) -> None:
    first = train(place)
    process = start(
        place,
        sys.executable,
        "-c",
        HANGING.replace("sleep(600)", "sleep(600 * (len(asked) < 2))")
        .replace("lambda options:", "lambda options: asked.append(1) or")
        .replace("import time", "asked = []\nimport time"),
    )
    wait_until(lambda: place.said(first))
    second = train(place)
    assert place.requests.cancel(first) == "OK"
    assert process.stdout is not None
    assert process.stdout.readline() == b"prepared\n"
    claimed = place.requests.claim(prepared=True)
    assert claimed is not None
    assert claimed.id == second
    hang_up(process)
    assert process.wait(60) == 0
    close(process)


def test_it_is_the_program_that_executors_start() -> None:
    assert PREPARER[1:] == ("-m", "soundlora.server.work.preparer")
