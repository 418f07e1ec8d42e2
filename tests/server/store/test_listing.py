"""Lists of requests, and runs that go on as new requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rows import claimed, found

from soundlora.net.storage import Storage
from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.settings import Settings
from soundlora.server.store import listing as runs
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome, cancelled
from soundlora.server.store.requests import Request, Requests


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def table(settings: Settings) -> Requests:
    database = Database(settings.database)
    database.migrate()
    return Requests(database)


def ended(table: Requests, outcome: Outcome, endpoint: str = TRAINING, **more: Any) -> Request:
    id = table.submit(endpoint, {"training_data_url": "https://x.example/a.zip"}, **more).id
    _, owner = claimed(table)
    table.finish(id, owner, outcome)
    return found(table, id)


def test_a_list_is_of_one_key_and_is_narrowed(table: Requests) -> None:
    done = ended(table, Outcome(200, {}), summary="zapgun laser")
    failed = ended(table, Outcome(422, {}, error="no", error_type="value_error"))
    stopped = ended(table, cancelled())
    sound = ended(table, Outcome(200, {}), GENERATION)
    waiting = table.submit(TRAINING, {})
    table.submit(TRAINING, {}, key_id="somebody else")

    def ids(**wanted: Any) -> list[str]:
        return [each.id for each in runs.page(table.database, table, "", **wanted).found]

    assert ids() == [waiting.id, sound.id, stopped.id, failed.id, done.id]
    assert ids(state="active") == [waiting.id]
    assert ids(state="succeeded", endpoints=[TRAINING]) == [done.id]
    assert ids(state="failed") == [failed.id]
    assert ids(state="cancelled") == [stopped.id]
    assert ids(search="ZAPGUN") == [done.id]
    assert ids(search="%") == []
    assert ids(search=done.id[:8]) == [done.id]
    assert [runs.outcome(each) for each in (done, failed, stopped, waiting)] == [
        "succeeded",
        "failed",
        "cancelled",
        None,
    ]
    first = runs.page(table.database, table, "", limit=2)
    assert [each.id for each in first.found] == [waiting.id, sound.id]
    assert ids(before=first.next) == [stopped.id, failed.id, done.id]
    table.delete_payloads(done.id)
    assert done.id not in ids()


def test_previews_and_checkpoints_are_told_by_their_names(tmp_path: Path, table: Requests) -> None:
    files = Files(table.database, Storage(str(tmp_path / "files")))
    for role, name in (
        ("preview", "step_000100_prompt_1.wav"),
        ("preview", "step_000000_prompt_0.wav"),
        ("preview", "else.wav"),
        ("checkpoint", "step_000100.safetensors"),
        ("checkpoint", "rusty-gate-200.safetensors"),
    ):
        path = tmp_path / name
        path.write_bytes(b"x")
        files.add(path, name=name, content_type="audio/wav", role=role, key_id="", request_id="r")
    rows = files.of_request("r")
    assert [(each["step"], each["prompt"]) for each in runs.previews(rows)] == [(0, 0), (100, 1)]
    assert [each["step"] for each in runs.checkpoints(rows)] == [100, 200]


def test_the_folder_of_a_cancelled_run_passes_over_unchanged(settings: Settings, table: Requests) -> None:
    stopped = ended(table, cancelled())
    old, new = settings.runs / stopped.id, settings.runs / "new"
    assert not runs.resumable(stopped, settings)
    (old / "run" / "checkpoints").mkdir(parents=True)
    (old / "run" / "checkpoints" / "step_000050.pt").write_bytes(b"state")
    stored = json.dumps({"training_data_url": f"{old}/training_data.zip", "rank": 8})
    (old / "run" / "request.json").write_text(stored)
    assert runs.resumable(stopped, settings)
    folder = runs.passed_on(settings, stopped.id, "new")
    folder.__enter__()
    assert (new / "run" / "request.json").exists()
    failure = RuntimeError("the request could not be written")
    assert folder.__exit__(RuntimeError, failure, None) is not True
    assert (runs.resumable(stopped, settings), new.exists()) == (True, False)
    with runs.passed_on(settings, stopped.id, "new"):
        pass
    assert (new / "run" / "request.json").read_text() == stored
    assert not old.exists()
    assert not runs.resumable(stopped, settings)
    with pytest.raises(FileNotFoundError), runs.passed_on(settings, stopped.id, "other"):
        pass


def test_a_run_that_has_succeeded_is_not_resumed(settings: Settings, table: Requests) -> None:
    done = ended(table, Outcome(200, {}))
    checkpoints = settings.runs / done.id / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step_000050.pt").write_bytes(b"state")
    assert not runs.resumable(done, settings)


def test_folders_go_with_what_they_were_kept_for(settings: Settings, either_database: Database) -> None:
    """Those of failed runs, when nobody may use them any more; all others stay."""
    table = Requests(either_database)
    failure = Outcome(422, {"detail": []}, error="no", error_type="value_error")
    kept = ended(table, failure)
    short = ended(table, failure, file_seconds=60.0)
    unkept = ended(table, failure, keep_payloads=False)
    deleted = ended(table, cancelled())
    running = table.submit(TRAINING, {}, keep_payloads=False, file_seconds=1.0)
    claimed(table)
    waiting = table.submit(TRAINING, {}, file_seconds=1.0)
    every = {each.id for each in (kept, short, unkept, deleted, running, waiting)}
    for name in [*every, "0" * 36, "notes"]:
        (settings.runs / name / "run" / "checkpoints").mkdir(parents=True)
        (settings.runs / name / "run" / "checkpoints" / "step_000010.pt").touch()
    (settings.runs / "a file").touch()
    assert short.ended_at is not None
    table.delete_payloads(deleted.id)

    assert runs.sweep_folders(settings, either_database, short.ended_at + 59) == 1
    assert {each.name for each in settings.runs.iterdir()} == every - {deleted.id} | {"0" * 36, "notes", "a file"}
    assert runs.resumable(short, settings)
    assert table.forget_unkept(short.ended_at + 3600) == 1
    assert runs.sweep_folders(settings, either_database, short.ended_at + 61) == 2
    left = every - {deleted.id, short.id, unkept.id}
    assert {each.name for each in settings.runs.iterdir()} == left | {"0" * 36, "notes", "a file"}
    assert not runs.resumable(short, settings)
    assert runs.sweep_folders(settings, either_database, short.ended_at + 61) == 0


def test_a_server_that_has_run_nothing_has_no_folders(settings: Settings, table: Requests) -> None:
    assert runs.sweep_folders(settings, table.database, 0.0) == 0
