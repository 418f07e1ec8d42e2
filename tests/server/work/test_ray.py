"""A Ray cluster does the requests: a head on this machine, and real workers. Nothing is lost with the head."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ray_head import SECONDS, Head, started_driver, started_head, train
from waiting import wait_until
from workplace import Place

from soundlora.server.endpoints import GENERATION
from soundlora.server.store.nodes import NOW, Nodes
from soundlora.server.store.tables import ledger
from soundlora.server.work.ray_driver import RayDriver

pytestmark = pytest.mark.slow

SOUND = {"prompt": "rain", "num_frames": 9}


@pytest.fixture
def head() -> Iterator[Head]:
    with started_head() as head:
        yield head


@pytest.fixture
def outside() -> bool:
    """Whether the driver is on no machine of the cluster."""
    return False


@pytest.fixture(params=[1])
def driver(place: Place, head: Head, outside: bool, request: pytest.FixtureRequest) -> Iterator[RayDriver]:
    """Its parameter is the number of its slots."""
    address = head.address_from_outside if outside else head.address
    with started_driver(place, address, slots=request.param) as driver:
        yield driver


def wait_for_step(place: Place, request_id: str) -> None:
    def steps() -> bool:
        assert place.find(request_id).state != "completed", place.said(request_id)
        return any(line.startswith("Step") for line in place.said(request_id))

    wait_until(steps, SECONDS)


def billed(place: Place) -> list[tuple[str, int]]:
    with place.database.read() as connection:
        rows = connection.execute(sa.select(ledger.c.request_id, ledger.c.units))
        return sorted((row.request_id, row.units) for row in rows)


@pytest.mark.parametrize("outside", [False, True], ids=["within", "outside"])
def test_nothing_is_lost_or_done_twice_when_the_head_is_killed(place: Place, head: Head, driver: RayDriver) -> None:
    training = train(place, 300)
    first, second = (place.requests.submit(GENERATION, SOUND | {"seed": seed}).id for seed in (1, 2))
    wait_until(lambda: place.find(second).state == "completed", SECONDS)
    wait_for_step(place, training)
    head.kill()
    # What was accepted meanwhile waits.
    late = place.requests.submit(GENERATION, SOUND | {"seed": 3}).id
    wait_until(lambda: place.find(training).state == "queued", SECONDS)
    head.start()
    ids = sorted([training, first, second, late])
    wait_until(lambda: all(place.find(id).state == "completed" for id in ids), SECONDS)
    assert [place.find(id).status_code for id in ids] == [200] * 4
    assert billed(place) == sorted((id, 300 if id == training else 0) for id in ids)
    said = place.said(training)
    assert sum(line.startswith("Fetching") for line in said) == 1


@pytest.mark.parametrize("outside", [False, True], ids=["within", "outside"])
def test_a_training_is_cancelled_by_its_own_beat_and_given_back_by_a_drain(place: Place, driver: RayDriver) -> None:
    cancelled = train(place, 20_000)
    wait_for_step(place, cancelled)
    assert wait_until(driver.running) == [cancelled]
    place.requests.cancel(cancelled)
    wait_until(lambda: place.find(cancelled).state == "completed", SECONDS)
    assert place.find(cancelled).error_type == "client_cancelled"
    drained = train(place, 20_000)
    wait_for_step(place, drained)
    (node,) = Nodes(place.database).list()
    Nodes(place.database).drain(node.id, NOW)
    wait_until(driver.over.is_set, SECONDS)
    row = place.find(drained)
    assert (row.state, row.attempts) == ("queued", 0)
    assert any((place.settings.runs / drained / "run" / "checkpoints").glob("*.pt")), "it goes on from there"


@pytest.mark.parametrize("driver", [2], indirect=True)
def test_a_training_of_two_slots_is_done_beside_smaller_ones(place: Place, driver: RayDriver) -> None:
    ids = [train(place, 100), train(place, 100, gpus=2), train(place, 100)]
    large = train(place, 100, gpus=3)
    wait_until(lambda: all(place.find(id).state == "completed" for id in ids), SECONDS)
    found = [place.find(id) for id in ids]
    assert [(each.status_code, each.attempts, each.units) for each in found] == [(200, 1, 100)] * 3
    assert place.find(large).state == "queued"


def test_generations_share_a_gpu_and_leave_it_to_a_training(place: Place) -> None:
    with (
        started_head(gpus=1) as head,
        started_driver(place, head.address, slots=2, generation_gpus=0.5) as driver,
    ):
        sounds = [place.requests.submit(GENERATION, SOUND | {"seed": seed}).id for seed in (1, 2)]
        wait_until(lambda: set(sounds) <= set(driver.running()), SECONDS)
        wait_until(lambda: all(place.find(id).state == "completed" for id in sounds), SECONDS)
        # The base stays loaded for ten minutes, in two halves of the GPU. A training needs all of it.
        training = train(place, 100)
        wait_until(lambda: place.find(training).state == "completed", SECONDS)
        late = place.requests.submit(GENERATION, SOUND | {"seed": 3}).id
        wait_until(lambda: place.find(late).state == "completed", SECONDS)
    assert [place.find(id).status_code for id in (*sounds, training, late)] == [200] * 4


def generators() -> set[str]:
    """Return the processes of Ray on this machine that keep a base loaded, by their ids."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cmdline").read_bytes().startswith(b"ray::Generating"):
                found.add(path.name)
    return found


def test_a_training_beside_it_costs_a_generator_nothing(place: Place) -> None:
    with started_head(gpus=2) as head, started_driver(place, head.address, slots=2, generation_gpus=0.5):
        first = place.requests.submit(GENERATION, SOUND).id
        wait_until(lambda: place.find(first).state == "completed", SECONDS)
        before = generators()
        training = train(place, 300)
        wait_until(lambda: place.find(training).state == "completed", SECONDS)
        time.sleep(5)  # until the task has ended, too
        second = place.requests.submit(GENERATION, SOUND).id
        wait_until(lambda: place.find(second).state == "completed", SECONDS)
        assert len(before) == 1
        assert generators() == before
