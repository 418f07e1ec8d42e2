"""The storage is away while a worker has results for it: they wait, and nobody trains twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from example_zip import some_clips
from moto.server import ThreadedMotoServer
from s3_server import BUCKET, bucket
from supervised import Supervised
from support import BaseNames
from waiting import wait_until
from workplace import Place

from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.work.local import LocalExecutor


class S3:
    """Can be stopped and started again at the same address. It keeps what it had."""

    def __init__(self) -> None:
        self._server: ThreadedMotoServer | None = None
        self._port = 0

    def start(self) -> str:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None


@pytest.fixture
def s3() -> Iterator[S3]:
    s3 = S3()
    with bucket(s3.start()):
        yield s3
        if s3._server is None:
            s3.start()
    s3.stop()


@pytest.fixture
def place(s3: S3, quick_base_25: BaseNames, tmp_path: Path) -> Iterator[Place]:
    """It gives up after a second, and beats every one."""
    where = f"s3://{BUCKET}/there"
    place = Place(tmp_path / "data", storage_url=where, base=quick_base_25.checkpoint, patience=1)
    place.settings = replace(place.settings, lease_seconds=3)
    yield place
    place.database.close()


def test_a_result_waits_for_the_storage(s3: S3, place: Place) -> None:
    place.patience = None
    s3.stop()
    request = place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 9, "seed": 3})

    def come_back() -> None:
        beat = place.find(request.id).beat
        wait_until(lambda: place.find(request.id).beat > beat)
        s3.start()

    found = place.work("can't be stored yet", come_back)
    assert (found.status_code, found.attempts) == (200, 1)
    (row,) = place.files.of_request(request.id)
    assert place.files.storage.size(row.key) == row.size


def test_cancelling_ends_the_waiting(s3: S3, place: Place) -> None:
    place.patience = None
    s3.stop()
    request = place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 9})
    cancelled = place.work("can't be stored yet", lambda: place.requests.cancel(request.id))
    assert cancelled.error_type == "client_cancelled"


@pytest.mark.slow
def test_a_finished_run_is_stored_by_a_later_worker_which_does_not_train(s3: S3, place: Place) -> None:
    s3.stop()
    payload = {"training_data_url": some_clips(), "number_of_steps": 100, "rank": 8, "audio_duration_seconds": 1}
    request = place.requests.submit(TRAINING, payload)
    given_back = place.work()
    assert (given_back.state, given_back.attempts) == ("queued", 0)
    lora = place.settings.runs / request.id / "run" / "lora.safetensors"
    content = lora.read_bytes()
    again = place.work()
    assert again.state == "queued"
    s3.start()
    done = place.work()
    assert (done.status_code, done.attempts, done.units) == (200, 1, 100), done.error
    (row,) = place.files.of_request(request.id, "lora")
    assert b"".join(place.files.storage.stream(row.key)) == content
    said = place.said(request.id)
    assert len([line for line in said if line.startswith("Step 100 of")]) == 1
    assert len([line for line in said if "could not be stored" in line]) == 2
    for row in place.files.of_request(request.id):
        assert place.files.storage.size(row.key) == row.size


AWAY_SECONDS = 60.0


@pytest.mark.slow
def test_a_minute_without_the_storage_costs_no_run_anything(s3: S3, tmp_path: Path) -> None:
    """A server's executor with a training that runs, a sound that is finished meanwhile, and a training that waits."""
    place = Place(tmp_path / "data", storage_url=f"s3://{BUCKET}/there")
    place.settings = replace(place.settings, lease_seconds=10, prepare_slots=0)
    clips = {"training_data_url": some_clips(), "rank": 8, "audio_duration_seconds": 1}
    prompt = {"validation": [{"prompt": "fast high laser zaps"}]}
    long = place.requests.submit(TRAINING, clips | prompt | {"number_of_steps": 1200}).id
    next_ = place.requests.submit(TRAINING, clips | {"number_of_steps": 100}).id

    def step() -> int:
        return int((place.find(long).progress or {}).get("step") or 0)

    server = Supervised(LocalExecutor(place.settings, place.requests), place.requests)
    server.start()
    try:
        wait_until(lambda: step() > 10 and place.files.of_request(long, "preview"), 180)
        s3.stop()
        away_since, before = time.monotonic(), step()
        sound = place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 9, "seed": 3}).id
        wait_until(lambda: any("can't be stored yet" in line for line in place.said(sound)), 180)
        wait_until(lambda: step() > before, 60)
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - away_since)))
        assert [place.find(id).status_code for id in (long, sound, next_)] == [None] * 3
        s3.start()
        wait_until(lambda: all(place.find(id).state == "completed" for id in (long, sound, next_)), 400)
    finally:
        server.stop()
    for id, steps in ((long, 1200), (sound, None), (next_, 100)):
        found = place.find(id)
        assert (found.status_code, found.attempts) == (200, 1), found.error
        rows = place.files.of_request(id)
        assert rows
        for row in rows:
            assert place.files.storage.size(row.key) == row.size
        if steps:
            assert found.units == steps
            said = [line for line in place.said(id) if line.startswith(f"Step {steps} of")]
            assert len(said) == 1
    assert len(place.files.of_request(long, "preview")) == 5
    assert len(place.files.of_request(long, "checkpoint")) == 4
    states = [key for key, _ in place.files.storage.list(f"runs/{long}/states")]
    assert any("finished" in key for key in states)
    place.database.close()
