"""The one door into the queue: a run that goes on passes it as a submit does."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from soundlora.pipeline.run_mirror import RunMirror
from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import _sweep_states, create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Request
from soundlora.server.store.tables import requests as table
from soundlora.server.work.run_states import prefix_of

INPUT = {"training_data_url": "https://example.com/clips.zip", "number_of_steps": 100}
KEPT = (
    "input",
    "summary",
    "key_id",
    "priority",
    "keep_payloads",
    "file_seconds",
    "webhook_url",
    "base_url",
    "no_retry",
)
FAILED = Outcome(500, {"detail": []}, error="x", error_type="internal_server_error")


def submit(client: TestClient, **more: Any) -> str:
    answer = client.post(f"/{TRAINING}", **{"json": INPUT} | more)
    assert answer.status_code == 200
    return str(answer.json()["request_id"])


def stop(service: Service, id: str) -> Path:
    """The next request, this one, is worked on until its first checkpoint and fails; its folder."""
    claimed = service.requests.claim()
    assert claimed is not None
    assert claimed.id == id
    assert claimed.owner is not None
    folder = service.settings.runs / id
    checkpoints = folder / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step_000050.pt").write_bytes(b"state")
    (folder / "run" / "request.json").write_text(json.dumps({"training_data_url": f"{folder}/training_data.zip"}))
    (folder / "training_data.zip").write_bytes(b"zip")
    service.requests.finish(id, claimed.owner, FAILED)
    return folder


def row(service: Service, id: str) -> Any:
    with service.database.read() as connection:
        return connection.execute(sa.select(table).where(table.c.id == id)).one()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ids(service: Service) -> set[str]:
    with service.database.read() as connection:
        return set(connection.scalars(sa.select(table.c.id)))


def test_a_run_that_goes_on_is_treated_as_it_was_at_first(client: TestClient, service: Service) -> None:
    headers = {
        "X-Fal-Store-IO": "0",
        "X-Fal-Queue-Priority": "low",
        "X-Fal-No-Retry": "1",
        "X-Fal-Request-Timeout": "3600",
        "X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 60}',
        "Host": "studio.localhost",
    }
    first = submit(client, headers=headers, params={"fal_webhook": "https://example.com/hook"})
    stop(service, first)
    again = client.post(f"/v1/runs/{first}/resume").json()["request_id"]
    before, after = row(service, first), row(service, again)
    assert {name: getattr(after, name) for name in KEPT} == {name: getattr(before, name) for name in KEPT}
    assert (after.keep_payloads, after.priority, after.file_seconds) == (False, 1, 60.0)
    assert (after.webhook_url, after.base_url) == ("https://example.com/hook", "http://studio.localhost")
    assert (before.start_before is None, after.start_before) == (False, None)  # it had begun in time


def test_its_folder_passes_over_as_it_is(client: TestClient, service: Service) -> None:
    first = submit(client)
    old = stop(service, first)
    before = contents(old)
    again = client.post(f"/v1/runs/{first}/resume").json()["request_id"]
    assert contents(service.settings.runs / again) == before
    assert not old.exists()
    assert service.requests.queued() == [again]
    late = client.post(f"/v1/runs/{first}/resume")
    assert (late.status_code, "left no checkpoint" in late.json()["error"]["message"]) == (400, True)


def test_the_executor_and_whoever_asks_are_told(client: TestClient, service: Service) -> None:
    first = submit(client)
    stop(service, first)
    woken: list[str] = []
    told: list[str] = []
    executor: Any = SimpleNamespace(wake=lambda: woken.append("executor"), start=None, stop=lambda: None)
    service.executor = executor
    service.status_cache.changed = told.append  # type: ignore[method-assign, assignment]
    again = client.post(f"/v1/runs/{first}/resume").json()["request_id"]
    assert (woken, told) == (["executor"], [again])


@pytest.mark.parametrize("limit", ["max_queue", "max_queue_per_key", "of the key"])
def test_limits_hold_for_it_too(settings: Settings, limit: str) -> None:
    one: Any = {} if limit == "of the key" else {limit: 1}
    app = create_app(replace(settings, **one), executor=False)
    service: Service = app.state.service
    _, secret = service.keys.create("studio", int(limit == "of the key"))
    with TestClient(app, "http://localhost", headers={"Authorization": f"Key {secret}"}) as client:
        first = submit(client)
        folder = stop(service, first)
        before = contents(folder)
        waiting = submit(client)
        full = client.post(f"/v1/runs/{first}/resume")
        assert (full.status_code, full.json()["error"]["type"]) == (429, "rate_limited")
        assert "wait" in full.json()["error"]["message"]
        assert "retry-after" in full.headers
        assert (ids(service), contents(folder)) == ({first, waiting}, before)
        service.requests.cancel(waiting)
        assert client.post(f"/v1/runs/{first}/resume").status_code == 200


def test_a_table_that_takes_nothing_leaves_the_folder_where_it_was(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit(client)
    folder = stop(service, first)
    before = contents(folder)

    def locked(*_: object, **__: object) -> Request:
        raise sa.exc.OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(service.requests, "submit", locked)
        assert client.post(f"/v1/runs/{first}/resume").status_code == 503
    assert contents(folder) == before
    assert [path.name for path in service.settings.runs.iterdir()] == [first]
    assert client.post(f"/v1/runs/{first}/resume").status_code == 200


def test_an_input_that_is_taken_no_more_ends_at_once_and_leaves_the_folder(
    client: TestClient, service: Service
) -> None:
    """As one of an earlier version may be."""
    first = submit(client)
    folder = stop(service, first)
    with service.database.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == first).values(input=json.dumps(INPUT | {"rank": 7})))
    again = client.post(f"/v1/runs/{first}/resume").json()["request_id"]
    ended = service.requests.find(again)
    assert ended is not None
    assert (ended.state, ended.status_code, ended.response["detail"][0]["loc"]) == ("completed", 422, ["body", "rank"])
    assert (folder / "training_data.zip").exists()
    assert not (service.settings.runs / again).exists()
    assert client.get(f"/v1/runs/{first}").json()["resumable"] is True


def finish(service: Service, id: str, steps: int) -> Path:
    """The next request, this one, is worked on to its end; the folder that is kept of it."""
    claimed = service.requests.claim()
    assert claimed is not None
    assert (claimed.id, claimed.owner is None) == (id, False)
    run = service.settings.runs / id / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step_000100.pt").write_bytes(b"state")
    for name in ("config.json", "request.json"):
        (run / name).write_text(json.dumps({"number_of_steps": steps}))
    (run / "lora.safetensors").write_bytes(b"lora")
    (run / "metrics.jsonl").write_text("{}\n")
    service.requests.finish(id, str(claimed.owner), Outcome(200, {}))
    return run


def test_a_finished_training_is_trained_on_in_a_folder_of_its_own(client: TestClient, service: Service) -> None:
    first = submit(client)
    run = finish(service, first, 100)
    before = contents(run)
    assert client.get(f"/v1/runs/{first}").json()["steps_done"] == 100
    answer = client.post(f"/v1/runs/{first}/continue", json={"number_of_steps": 300})
    assert answer.status_code == 200, answer.text
    again = answer.json()["request_id"]
    assert contents(run) == before
    assert row(service, again).input == json.dumps(INPUT | {"number_of_steps": 300})
    made = service.settings.runs / again / "run"
    assert json.loads((made / "request.json").read_text()) == {
        "number_of_steps": 300,
        "lengthened": [{"step": 100, "of": 100}],
    }
    assert (made / "checkpoints" / "step_000100.pt").read_bytes() == b"state"
    assert not (made / "config.json").exists(), "it has not finished"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"number_of_steps": 100}, "number_of_steps: 100 are not more than the 100 that the run has already."),
        ({"number_of_steps": 20001}, "number_of_steps: Input should be less than or equal to 20000"),
        ({"number_of_steps": "many"}, "number_of_steps: Input should be a valid integer"),
        ({}, "number_of_steps: Field required"),
    ],
)
def test_a_number_of_steps_that_can_not_be_is_refused(
    client: TestClient, service: Service, body: dict[str, Any], sentence: str
) -> None:
    first = submit(client)
    finish(service, first, 100)
    answer = client.post(f"/v1/runs/{first}/continue", json=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]["message"]
    assert ids(service) == {first}


def test_a_training_without_its_state_is_not_trained_on(client: TestClient, service: Service) -> None:
    first = submit(client)
    (finish(service, first, 100) / "checkpoints" / "step_000100.pt").unlink()
    answer = client.post(f"/v1/runs/{first}/continue", json={"number_of_steps": 300})
    assert (answer.status_code, "can't be trained on" in answer.json()["error"]["message"]) == (400, True)
    assert client.get(f"/v1/runs/{first}").json()["steps_done"] is None


def test_stop_asks_the_worker_or_makes_a_request_that_keeps_what_was_learnt(
    client: TestClient, service: Service
) -> None:
    waiting = submit(client)
    early = client.post(f"/v1/runs/{waiting}/stop")
    assert (early.status_code, "has not begun" in early.json()["error"]["message"]) == (400, True)
    claimed = service.requests.claim()
    assert claimed is not None
    assert client.post(f"/v1/runs/{waiting}/stop").json() == {"request_id": waiting}
    assert client.get(f"/v1/runs/{waiting}").json()["stop_asked"] is True
    service.requests.finish(waiting, str(claimed.owner), Outcome(200, {}))
    late = client.post(f"/v1/runs/{waiting}/stop")
    assert (late.status_code, "left no checkpoint" in late.json()["error"]["message"]) == (400, True)

    failed = submit(client)
    stop(service, failed)
    again = client.post(f"/v1/runs/{failed}/stop").json()["request_id"]
    assert again != failed
    assert (row(service, again).stop_asked, row(service, failed).stop_asked) == (True, False)
    assert (service.settings.runs / again / "run" / "checkpoints" / "step_000050.pt").exists()


def test_the_data_of_a_training_is_prepared_before_anybody_may_claim_it(client: TestClient, service: Service) -> None:
    training = submit(client)
    sound = client.post("/fal-ai/ltx-2.3-quality/text-to-audio", json={"prompt": "rain"}).json()["request_id"]
    claimed = service.requests.claim(prepared=True)
    assert claimed is not None
    assert claimed.id == sound
    assert service.requests.claim(prepared=True) is None
    assert service.requests.queued() == [training]


# ----------------------------------------------------------------------------------------------------------------------
# runs whose folder is on no machine: the storage has their states


def bring(service: Service, id: str, step: int, *, finished: bool = False) -> None:
    """Let the storage have the run's state, and this machine no longer."""
    folder = service.settings.runs / id
    mirror = RunMirror(folder / "run", service.storage, prefix_of(id))
    mirror.begin()
    mirror.offer(step, finished=finished)
    assert mirror.settle(60)
    mirror.close()
    shutil.rmtree(folder)


def test_a_run_that_another_machine_has_left_is_resumed(client: TestClient, service: Service) -> None:
    first = submit(client)
    stop(service, first)
    bring(service, first, 50)
    assert client.get(f"/v1/runs/{first}").json()["resumable"] is True
    answer = client.post(f"/v1/runs/{first}/resume")
    assert answer.status_code == 200, answer.text
    again = answer.json()["request_id"]
    assert service.run_states.newest(again) == (50, False)
    assert client.post(f"/v1/runs/{first}/resume").status_code == 400
    assert ids(service) == {first, again}


def test_a_run_that_another_machine_has_left_is_stopped_and_kept(client: TestClient, service: Service) -> None:
    first = submit(client)
    stop(service, first)
    bring(service, first, 50)
    answer = client.post(f"/v1/runs/{first}/stop")
    assert answer.status_code == 200, answer.text
    again = answer.json()["request_id"]
    assert (service.run_states.newest(again), row(service, again).stop_asked) == ((50, False), True)


def test_a_run_that_another_machine_has_finished_is_trained_on(client: TestClient, service: Service) -> None:
    first = submit(client)
    finish(service, first, 100)
    bring(service, first, 100, finished=True)
    assert client.get(f"/v1/runs/{first}").json()["steps_done"] == 100
    answer = client.post(f"/v1/runs/{first}/continue", json={"number_of_steps": 300})
    assert answer.status_code == 200, answer.text
    again = answer.json()["request_id"]
    assert service.run_states.newest(again) == (100, False)
    assert service.run_states.newest(first) == (100, True)
    assert not (service.settings.runs / again).exists()


def test_states_go_with_the_payloads(client: TestClient, service: Service) -> None:
    first = submit(client)
    stop(service, first)
    bring(service, first, 50)
    assert client.delete(f"/v1/models/requests/{first}/payloads").status_code == 200
    assert list(service.storage.list(prefix_of(first))) == []


def test_the_sweep_removes_states_that_nobody_may_use(client: TestClient, service: Service) -> None:
    first, second = submit(client), submit(client)
    finish(service, first, 100)
    bring(service, first, 100, finished=True)
    stop(service, second)
    bring(service, second, 50)
    days = service.settings.keep_state_days
    _sweep_states(service, time.time() + (days - 1) * 86400)
    assert sorted(service.run_states.ids()) == sorted([first, second])
    _sweep_states(service, time.time() + (days + 1) * 86400)
    assert service.run_states.ids() == [second]


@pytest.mark.parametrize(("most", "said"), [(1, "gives only one to a run"), (2, "gives at most 2 to a run")])
def test_more_gpus_than_are_allowed_are_refused_in_words(settings: Settings, most: int, said: str) -> None:
    app = create_app(replace(settings, max_gpus=most), executor=False)
    with TestClient(app, "http://localhost") as client:
        service: Service = app.state.service
        ended = service.requests.find(submit(client, json=INPUT | {"gpus": most + 1}))
        assert ended is not None
        (entry,) = ended.response["detail"]
        assert (ended.status_code, entry["loc"], entry["input"]) == (422, ["body", "gpus"], most + 1)
        assert said in entry["msg"]
        waits = service.requests.find(submit(client, json=INPUT | {"gpus": most}))
        assert waits is not None
        assert (waits.state, waits.gpus) == ("queued", most)
        unset = service.requests.find(submit(client, json=INPUT | {"gpus": None}))
        assert unset is not None
        assert (unset.state, unset.gpus) == ("queued", 1)
        wrong = service.requests.find(submit(client, json=INPUT | {"gpus": "all"}))
        assert wrong is not None
        assert (wrong.status_code, wrong.response["detail"][0]["loc"]) == (422, ["body", "gpus"])


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("sent", [-1, 0, 1.5, True, False, [], "x"])
def test_what_is_no_number_of_gpus_takes_no_slot(settings: Settings, most: int, sent: Any) -> None:
    """A request for -3 GPUs that ran would leave room for four others beside it."""
    app = create_app(replace(settings, max_gpus=most), executor=False)
    with TestClient(app, "http://localhost") as client:
        service: Service = app.state.service
        ended = service.requests.find(submit(client, json=INPUT | {"gpus": sent}))
        assert ended is not None
        assert (ended.status_code, ended.gpus) == (422, 1)
        assert ended.response["detail"][0]["loc"] == ["body", "gpus"]
