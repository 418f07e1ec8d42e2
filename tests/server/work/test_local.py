"""The executor starts a process a request, and loses none: with small programs in the worker's place."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rows import found
from supervised import Supervised
from waiting import wait_until

from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING
from soundlora.server.settings import Settings
from soundlora.server.store.nodes import FINISH as FINISHING
from soundlora.server.store.nodes import NOW, Node, Nodes
from soundlora.server.store.requests import MAX_ATTEMPTS, Requests
from soundlora.server.work.local import LocalExecutor

START = """
import json, os, signal, sys, time
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.settings import Settings
request_id, owner = sys.argv[1:]
requests = Requests(Database(Settings.from_json(os.environ["SOUNDLORA_WORKER"]).database))
"""
STAYING = """
import json, os, sys, time
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.settings import Settings
requests = Requests(Database(Settings.from_json(os.environ["SOUNDLORA_WORKER"]).database))
asked = 0
if sys.argv[1:]:
    requests.beat(*sys.argv[1:], lines=[(1, 'INFO', 'hanging')])
    time.sleep(600)
for line in sys.stdin:
    request_id, owner, shared = line.split()
    wanted = requests.find(request_id).input
    if wanted == "die":
        sys.exit("it died")
    if wanted == "full" and shared == "shared":
        requests.release(request_id, owner, lost=False, reason="no room")
        print("full", flush=True)
        continue
    if wanted == "fail":
        requests.finish(request_id, owner, Outcome(500, {"process": os.getpid()}))
        print("last", flush=True)
        time.sleep(2)
        break
    asked += 1
    said = {"process": os.getpid(), "asked": asked, "shared": shared, "turn": os.environ["SOUNDLORA_TURN"]}
    requests.finish(request_id, owner, Outcome(200, said | {"threads": os.environ.get("OMP_NUM_THREADS")}))
    print("done", flush=True)
"""
LEASE = 6.0
"""Seconds. A worker has to start in them, also on a busy machine where its branches are counted."""
FINISH = START + "requests.finish(request_id, owner, Outcome(200, {'owner': owner}, units=100))"
DIE = START + "os.kill(os.getpid(), signal.SIGKILL)"
HANG = START + "requests.beat(request_id, owner, lines=[(1, 'INFO', 'hanging')]); time.sleep(600)"
STOPPABLE = (
    START
    + """
def stop(*_):
    requests.release(request_id, owner, lost=False, reason="stopped in good order")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
requests.beat(request_id, owner, lines=[(1, 'INFO', 'ready')])
time.sleep(600)
"""
)


Start = Callable[..., LocalExecutor]


@pytest.fixture
def start(tmp_path: Path, requests: Requests) -> Iterator[Start]:
    """Start an executor whose workers run the program, and a supervisor; stopped at the end of the test."""
    started = []

    def start(program: str, *, until_empty: bool = False, **options: Any) -> LocalExecutor:
        settings = Settings(data_dir=tmp_path, database_url=requests.database.url, **options)
        executor = LocalExecutor(settings, requests, (sys.executable, "-c", program), until_empty=until_empty)
        both = Supervised(executor, requests)
        both.start()
        started.append(both)
        return executor

    yield start
    for both in started:
        both.stop()


@pytest.fixture
def seen(start: Start, requests: Requests, tmp_path: Path) -> Callable[..., tuple[str, LocalExecutor]]:
    """What a worker finds in a variable of its environment, "none" if there is none, and its executor."""

    def seen(variable: str, **options: Any) -> tuple[str, LocalExecutor]:
        requests.submit("train", {})
        found = tmp_path / "seen"
        program = f"import os; open('{found}.new', 'w').write(os.environ.get('{variable}', 'none'))"
        executor = start(f"{program}; os.replace('{found}.new', '{found}')", **options)
        wait_until(found.exists)
        return found.read_text(), executor

    return seen


@pytest.mark.parametrize(
    ("cores", "slots", "named", "threads"), [(1, 1, None, "1"), (2, 1, None, "1"), (9, 2, None, "4"), (8, 1, "8", "8")]
)
def test_workers_leave_a_core_to_the_server(
    seen: Callable[..., tuple[str, LocalExecutor]],
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    slots: int,
    named: str | None,
    threads: str,
) -> None:
    monkeypatch.setattr("soundlora.server.work.local.usable_cores", lambda: cores)
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: 0)
    if named is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", named)
    assert seen("OMP_NUM_THREADS", slots=slots)[0] == threads


@pytest.mark.parametrize(
    ("device", "slots", "visible"), [("", 2, "0"), ("cuda", 2, "0"), ("cuda:1", 1, "none"), ("cpu", 1, "none")]
)
def test_workers_have_a_gpu_each_unless_one_device_was_named(
    seen: Callable[..., tuple[str, LocalExecutor]],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    slots: int,
    visible: str,
) -> None:
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found, executor = seen("CUDA_VISIBLE_DEVICES", device=device)
    assert (found, executor.slots) == (visible, slots)


def said(requests: Requests, request_id: str) -> list[str]:
    return [line.message for line in requests.log_lines(request_id)]


def test_requests_end_in_order_each_in_its_own_process(requests: Requests, start: Start) -> None:
    ids = [requests.submit("train", {"n": number}).id for number in range(3)]
    start(FINISH)
    wait_until(lambda: all(found(requests, request_id).state == "completed" for request_id in ids))
    ended = [found(requests, request_id) for request_id in ids]
    assert len({request.response["owner"] for request in ended}) == 3
    assert [request.attempts for request in ended] == [1, 1, 1]
    started = [request.started_at for request in ended if request.started_at is not None]
    assert len(started) == 3
    assert sorted(started) == started


def test_a_worker_that_dies_is_followed_by_another_and_then_given_up(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {})
    start(DIE)
    wait_until(lambda: found(requests, request.id).state == "completed")
    row = found(requests, request.id)
    assert row.attempts == MAX_ATTEMPTS
    assert (row.status_code, row.error_type, row.units) == (503, "runner_disconnected", 0)
    assert all(f"signal {signal.SIGKILL}" in line for line in said(requests, request.id))


def test_who_wants_no_retry_gets_none(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {}, no_retry=True)
    start(DIE)
    wait_until(lambda: found(requests, request.id).state == "completed")
    assert found(requests, request.id).attempts == 1


def test_the_last_line_of_a_crash_is_in_the_log(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {}, no_retry=True)
    start("raise MemoryError('there is not enough of it')")
    wait_until(lambda: found(requests, request.id).state == "completed")
    assert "MemoryError: there is not enough of it" in said(requests, request.id)[-1]


def test_a_worker_that_falls_silent_is_killed_and_followed(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {}, no_retry=True)
    start(HANG, lease_seconds=LEASE)
    wait_until(lambda: found(requests, request.id).state == "completed")
    assert said(requests, request.id) == ["hanging", "The worker has fallen silent"]


def test_a_request_whose_worker_died_with_its_server_is_taken_up(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {})
    requests.claim()  # by a server that is gone now
    start(FINISH, lease_seconds=LEASE)
    wait_until(lambda: found(requests, request.id).state == "completed")
    row = found(requests, request.id)
    assert (row.status_code, row.attempts) == (200, 2)


def test_stopping_the_server_gives_requests_back_without_counting_it(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {})
    executor = start(STOPPABLE)
    wait_until(lambda: said(requests, request.id) == ["ready"])
    executor.stop()
    row = found(requests, request.id)
    assert (row.state, row.attempts) == ("queued", 0)
    assert said(requests, request.id)[-1] == "stopped in good order"


def test_a_submit_wakes_it_at_once(requests: Requests, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundlora.server.work.queue_loop.TICK_SECONDS", 600)
    executor = start(FINISH)
    for _ in range(2):
        request_id = requests.submit("train", {}).id

        def completed(request_id: str = request_id) -> bool:
            executor.wake()
            return found(requests, request_id).state == "completed"

        wait_until(completed)


def test_slots_bound_what_runs_at_once(requests: Requests, start: Start) -> None:
    ids = [requests.submit("train", {}).id for _ in range(3)]
    executor = start(HANG, slots=2)
    wait_until(lambda: len(requests.held()) == 2)
    time.sleep(1)
    assert [found(requests, request_id).state for request_id in ids] == ["running", "running", "queued"]
    for request_id in ids:
        requests.cancel(request_id)
    for worker in list(executor._workers):
        worker.process.kill()
    wait_until(lambda: all(found(requests, request_id).error_type == "client_cancelled" for request_id in ids))


def ended(requests: Requests, payload: object = None, endpoint: str = GENERATION) -> dict[str, Any]:
    """Submit a generation and return its result."""
    request_id = requests.submit(endpoint, payload).id
    wait_until(lambda: found(requests, request_id).state == "completed")
    response: dict[str, Any] = found(requests, request_id).response
    return response


def test_a_training_of_two_slots_waits_for_both_and_is_no_longer_passed(requests: Requests, start: Start) -> None:
    first = requests.submit(TRAINING, 1)
    program = HANG + " if requests.find(request_id).input else requests.finish(request_id, owner, Outcome(200, {}))"
    executor = start(program, slots=2)
    wait_until(lambda: found(requests, first.id).state == "running")
    pair = requests.submit(TRAINING, 0, gpus=2)
    last = requests.submit(TRAINING, 0)
    large = requests.submit(TRAINING, 0, gpus=3)
    executor.wake()
    wait_until(lambda: [node.free for node in Nodes(requests.database).list()] == [1])
    time.sleep(1.2)
    assert [found(requests, id).state for id in (pair.id, last.id)] == ["queued", "queued"]
    owner = found(requests, first.id).owner
    assert owner is not None
    requests.release(first.id, owner, lost=True, reason="")
    requests.cancel(first.id)
    wait_until(lambda: found(requests, last.id).state == "completed")
    ended, after = found(requests, pair.id), found(requests, last.id)
    assert ended.ended_at is not None
    assert after.started_at is not None
    assert ended.ended_at <= after.started_at
    assert found(requests, large.id).state == "queued"


@pytest.mark.parametrize(("device", "gpus", "most"), [("", 0, 4), ("cpu", 0, 4), ("", 2, 2), ("cuda:1", 2, 1)])
def test_a_training_gets_the_gpus_that_there_are(
    requests: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, most: int
) -> None:
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: gpus)
    settings = Settings(data_dir=tmp_path, database_url=requests.database.url, device=device, slots=4)
    assert LocalExecutor(settings, requests).most == most


def test_a_training_of_two_gpus_sees_both_and_has_both_turns(
    requests: Requests, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: 3)
    id = requests.submit(TRAINING, {}, gpus=2).id
    seen = "{name: os.environ[name] for name in ('CUDA_VISIBLE_DEVICES', 'SOUNDLORA_TURN')}"
    start(START + f"requests.finish(request_id, owner, Outcome(200, {seen}))")
    wait_until(lambda: found(requests, id).state == "completed")
    said = found(requests, id).response
    assert said["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert [Path(path).name for path in said["SOUNDLORA_TURN"].split(":")] == ["0", "1"]


def test_generations_have_one_process_that_stays(requests: Requests, start: Start) -> None:
    start(STAYING)
    first, second = ended(requests), ended(requests, endpoint=GENERATION_WITH_LORA)
    assert first["process"] == second["process"]
    assert (first["asked"], second["asked"]) == (1, 2)


def test_a_generation_has_all_cores(requests: Requests, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundlora.server.work.local.usable_cores", lambda: 9)
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    start(STAYING, slots=2)
    assert ended(requests)["threads"] == "9"


def test_a_generation_does_not_wait_for_the_end_of_a_training(requests: Requests, start: Start) -> None:
    training = requests.submit("train", {}).id
    executor = start(STAYING)
    wait_until(lambda: said(requests, training) == ["hanging"])
    first, second = ended(requests), ended(requests)
    assert first["process"] == second["process"]
    assert (first["shared"], second["shared"]) == ("shared", "shared")
    assert found(requests, training).state == "running"
    end_all(executor, requests, training)


def end_all(executor: LocalExecutor, requests: Requests, *request_ids: str) -> None:
    for request_id in request_ids:
        requests.cancel(request_id)
    for worker in list(executor._workers):
        worker.process.kill()
    wait_until(lambda: all(found(requests, request_id).state == "completed" for request_id in request_ids))


def test_a_base_is_let_go_after_a_while(requests: Requests, start: Start) -> None:
    executor = start(STAYING, warm_seconds=0)
    first = ended(requests)
    wait_until(lambda: not executor._workers)
    assert ended(requests)["process"] != first["process"]


def test_a_process_that_dies_at_a_generation_is_followed_by_another(requests: Requests, start: Start) -> None:
    start(STAYING)
    ended(requests)
    request_id = requests.submit(GENERATION, "die").id
    wait_until(lambda: found(requests, request_id).state == "completed")
    assert found(requests, request_id).attempts == MAX_ATTEMPTS
    assert said(requests, request_id)[-1].endswith("exit code 1): it died")
    assert ended(requests)["asked"] == 1


def test_a_process_that_ends_after_a_failure_gets_no_other_request(requests: Requests, start: Start) -> None:
    start(STAYING)
    failed = ended(requests, "fail")
    waiting = requests.submit(GENERATION, {}, no_retry=True).id
    wait_until(lambda: found(requests, waiting).state == "completed")
    assert found(requests, waiting).status_code == 200
    assert found(requests, waiting).response["process"] != failed["process"]


def test_a_generation_for_which_there_is_no_room_waits_for_the_training(requests: Requests, start: Start) -> None:
    training = requests.submit("train", {}).id
    executor = start(STAYING)
    wait_until(lambda: said(requests, training) == ["hanging"])
    waiting = requests.submit(GENERATION, "full").id
    wait_until(lambda: said(requests, waiting) == ["no room"])
    time.sleep(1)
    assert (found(requests, waiting).state, found(requests, waiting).attempts) == ("queued", 0)
    assert said(requests, waiting) == ["no room"], "it is not tried again and again"
    end_all(executor, requests, training)
    wait_until(lambda: found(requests, waiting).state == "completed")
    assert found(requests, waiting).response["shared"] == "alone"


def test_a_training_on_a_gpu_gets_its_memory(requests: Requests, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: 1)
    executor = start(STAYING)
    ended(requests)
    (kept,) = executor._workers
    training = requests.submit("train", {}).id
    wait_until(lambda: said(requests, training) == ["hanging"])
    wait_until(lambda: kept.process.poll() == 0)
    assert ended(requests)["shared"] == "shared"
    end_all(executor, requests, training)


def test_what_shares_a_device_shares_its_turn(
    requests: Requests, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundlora.server.work.local.gpu_count", lambda: 2)
    executor = start(STAYING)
    training = [requests.submit("train", {}).id for _ in range(2)]
    wait_until(lambda: len(executor._workers) == 2)
    assert sorted(worker.devices for worker in executor._workers) == [(0,), (1,)]
    turns = set()
    for _ in range(3):
        turns.add(ended(requests)["turn"])
        wait_until(lambda: all(worker.request is None for worker in executor._workers if worker.stays))
    assert len(turns) == 1, "the next one comes to where the base is loaded"
    end_all(executor, requests, *training)


def node_of(requests: Requests) -> Node:
    (node,) = wait_until(Nodes(requests.database).list)
    return node


def test_a_drained_node_lets_what_runs_end_and_takes_nothing_more(requests: Requests, start: Start) -> None:
    running = requests.submit("train", {}).id
    executor = start(HANG)
    wait_until(lambda: said(requests, running) == ["hanging"])
    assert Nodes(requests.database).drain(node_of(requests).name, FINISHING) == 1
    waiting = requests.submit("train", {}).id
    wait_until(lambda: executor.stopping)
    assert not executor.over.is_set()
    end_all(executor, requests, running)
    wait_until(executor.over.is_set)
    assert found(requests, waiting).state == "queued"
    Nodes(requests.database).drain(node_of(requests).id, "")
    wait_until(lambda: found(requests, waiting).state == "running")
    end_all(executor, requests, waiting)


def test_a_node_that_is_drained_now_gives_back_what_runs_and_another_one_goes_on(
    requests: Requests, start: Start
) -> None:
    request = requests.submit("train", {})
    executor = start(STOPPABLE, node="left")
    wait_until(lambda: said(requests, request.id) == ["ready"])
    wait_until(lambda: [node.name for node in Nodes(requests.database).list()] == ["left"])
    Nodes(requests.database).drain("left", NOW)
    wait_until(executor.over.is_set)
    row = found(requests, request.id)
    assert (row.state, row.attempts) == ("queued", 0)
    assert said(requests, request.id) == ["ready", "stopped in good order"]
    start(FINISH, node="right")
    wait_until(lambda: found(requests, request.id).state == "completed")
    assert found(requests, request.id).attempts == 1


def test_who_has_ended_is_no_node_any_more(requests: Requests, start: Start) -> None:
    executor = start(FINISH, slots=3)
    node = node_of(requests)
    assert (node.id, node.slots, node.running, node.draining) == (executor.id, 3, 0, "")
    executor.stop()
    assert Nodes(requests.database).list() == []


def test_it_is_over_once_the_queue_is_empty(requests: Requests, start: Start) -> None:
    ids = [requests.submit("train", {}).id for _ in range(2)]
    executor = start(FINISH, until_empty=True)
    wait_until(executor.over.is_set)
    assert [found(requests, request_id).state for request_id in ids] == ["completed", "completed"]


@pytest.mark.parametrize("named", ["generation", GENERATION])
def test_it_takes_requests_of_its_endpoints_alone(requests: Requests, start: Start, named: str) -> None:
    training = requests.submit(TRAINING, {}).id
    generation = requests.submit(GENERATION, {}).id
    executor = start(STAYING, endpoints=(named,), until_empty=True, warm_seconds=0)
    wait_until(executor.over.is_set)
    assert found(requests, generation).state == "completed"
    assert found(requests, training).state == "queued"


def test_a_worker_whose_request_was_taken_from_it_is_ended(requests: Requests, start: Start) -> None:
    request = requests.submit("train", {})
    executor = start(HANG, lease_seconds=LEASE)
    wait_until(lambda: said(requests, request.id) == ["hanging"])
    (worker,) = executor._workers
    requests.cancel(request.id)
    owner = found(requests, request.id).owner
    assert owner is not None
    requests.release(request.id, owner, lost=True, reason="taken by another server's supervisor")
    wait_until(lambda: worker.process.poll() is not None)
    wait_until(lambda: not executor._workers)
