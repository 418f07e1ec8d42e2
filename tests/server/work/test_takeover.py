"""A training whose machine is gone, with its folder, ends on another machine with the same LoRA."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from example_zip import some_clips
from s3_server import BUCKET, bucket, serving_s3
from support import BaseNames
from workplace import Place, hang_up

from soundlora.server.endpoints import TRAINING
from soundlora.server.store.requests import Request
from soundlora.server.store.tables import ledger
from soundlora.server.work.run_states import RunStates, prefix_of
from soundlora.training.run_folder import RunFolder

STEPS = 200
INPUT: dict[str, Any] = {"number_of_steps": STEPS, "rank": 8, "audio_duration_seconds": 1, "name": "kit"}
Machine = Callable[[], Place]


STORAGES = ["folder", pytest.param("s3", marks=pytest.mark.slow)]


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, quick_base_25: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """Makes machines that share the database and the storage, and nothing else."""
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    places: list[Place] = []

    def make(storage_url: str) -> Place:
        place = Place(
            tmp_path / f"machine-{len(places)}",
            storage_url=storage_url,
            base=quick_base_25.checkpoint,
            database_url=f"sqlite:///{tmp_path / 'soundlora.db'}",
        )
        places.append(place)
        return place

    if request.param == "folder":
        yield lambda: make(str(tmp_path / "storage"))
    else:
        with serving_s3() as url, bucket(url):
            yield lambda: make(f"s3://{BUCKET}/server")
    for place in places:
        place.database.close()


def lora(place: Place, request: Request) -> bytes:
    (row,) = place.files.of_request(request.id, "lora")
    return b"".join(place.files.storage.stream(row.key))


def made(place: Place, request: Request) -> set[tuple[str, str, int | None]]:
    return {(row.role, row.name, row.size) for row in place.files.of_request(request.id)}


def billed(place: Place, request: Request) -> list[float]:
    with place.database.read() as connection:
        return list(connection.scalars(sa.select(ledger.c.units).where(ledger.c.request_id == request.id)))


def wait_for_state(place: Place, request: Request, process: Any) -> None:
    states = RunStates(place.files.storage)
    deadline = time.monotonic() + 300
    while not (states.newest(request.id) or (0, False))[0]:
        assert time.monotonic() < deadline, place.said(request.id)
        assert process.poll() is None, place.said(request.id)
        time.sleep(0.02)


def give_up(place: Place, request: Request, owner: str) -> None:
    """What whoever misses the machine does, here without counting it."""
    place.requests.release(request.id, owner, lost=False, reason="The machine is gone")
    shutil.rmtree(place.settings.data_dir)


@pytest.mark.parametrize("machine", STORAGES, indirect=True)
def test_a_killed_machine_leaves_its_run_to_another(machine: Machine) -> None:
    payload = INPUT | {"training_data_url": some_clips()}
    first = machine()
    straight = first.requests.submit(TRAINING, payload)
    assert first.work().status_code == 200

    request = first.requests.submit(TRAINING, payload)
    claimed, process = first.start()
    assert claimed.owner is not None
    wait_for_state(first, request, process)
    process.kill()
    process.wait()
    hang_up(process)
    give_up(first, request, claimed.owner)

    second = machine()
    ended = second.work()
    assert (ended.id, ended.status_code, ended.units) == (request.id, 200, STEPS), ended.error
    said = second.said(request.id)
    assert "Going on with the run of an earlier worker" in said
    assert any(line.startswith("Going on from step ") for line in said)
    assert not any("Going on from step 0 " in line for line in said)
    assert lora(second, request) == lora(second, straight)
    assert made(second, request) == made(second, straight)
    assert billed(second, request) == [STEPS]
    losses = [{point.step: point.value for point in second.requests.points(id)} for id in (straight.id, request.id)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("machine", [pytest.param("folder", marks=pytest.mark.slow), "s3"], indirect=True)
def test_a_worker_that_is_told_to_end_brings_its_state_before_it_gives_the_request_back(machine: Machine) -> None:
    first = machine()
    request = first.requests.submit(TRAINING, INPUT | {"training_data_url": some_clips(), "number_of_steps": 20000})
    _, process = first.start()
    first.wait_for_line(request.id, process, "Step 1 of 20000")
    process.terminate()
    assert process.wait(120) == 0
    hang_up(process)
    assert first.find(request.id).state == "queued"
    (step,) = RunFolder(first.settings.runs / request.id / "run").checkpoint_steps()
    assert RunStates(first.files.storage).newest(request.id) == (step, False)
    shutil.rmtree(first.settings.data_dir)

    second = machine()
    ended = second.work(f"Going on from step {step} of 20000", lambda: second.requests.cancel(request.id))
    assert ended.error_type == "client_cancelled"
    assert (RunStates(second.files.storage).newest(request.id) or (0, True))[0] >= step


@pytest.mark.parametrize("machine", ["folder", "s3"], indirect=True)
@pytest.mark.slow
def test_twenty_machines_are_killed_at_random(machine: Machine) -> None:
    chance = random.Random(5)
    payload = INPUT | {"training_data_url": some_clips()}
    place = machine()
    straight = place.requests.submit(TRAINING, payload)
    began = time.monotonic()
    assert place.work().status_code == 200
    whole = time.monotonic() - began
    kills = 0
    while kills < int(os.environ.get("SOUNDLORA_KILLS", "20")):
        request = place.requests.submit(TRAINING, payload)
        while place.find(request.id).state != "completed":
            claimed, process = place.start()
            assert claimed.owner is not None
            time.sleep(chance.uniform(0.3, 1.0) * whole)
            process.kill()
            process.wait()
            hang_up(process)
            if place.find(request.id).state != "completed":
                kills += 1
                give_up(place, request, claimed.owner)
                place = machine()
        assert lora(place, request) == lora(place, straight)
        assert made(place, request) == made(place, straight)
        assert billed(place, request) == [STEPS]


@pytest.mark.parametrize("machine", STORAGES, indirect=True)
def test_a_server_that_keeps_no_states_leaves_none(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    place = machine()
    object.__setattr__(place.settings, "keep_state_days", 0)
    request = place.requests.submit(TRAINING, INPUT | {"training_data_url": some_clips(), "number_of_steps": 100})
    assert place.work().status_code == 200
    assert list(place.files.storage.list(prefix_of(request.id))) == []
