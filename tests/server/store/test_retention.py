"""Files of old runs: which go, in which order, and which never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows import claimed

from soundlora.net.storage import Storage
from soundlora.server.settings import Settings
from soundlora.server.store import duties
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome
from soundlora.server.store.listing import sweep_folders
from soundlora.server.store.marks import Marks
from soundlora.server.store.requests import Requests
from soundlora.server.store.retention import DAY, Pruned, prune

SIZES = {"lora": 1000, "preview": 10, "checkpoint": 100}
Made = Callable[..., str]


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
def files(database: Database, tmp_path: Path) -> Files:
    return Files(database, Storage(str(tmp_path / "storage")))


@pytest.fixture
def run(requests: Requests, files: Files, tmp_path: Path) -> Made:
    """Makes a run with a file of each role and a state in the storage; it has ended unless it goes on running."""

    def make(*, ends: bool = True) -> str:
        requests.submit("train", {})
        request, owner = claimed(requests)
        for role, size in SIZES.items():
            path = tmp_path / role
            path.write_bytes(b"x" * size)
            files.add(path, name=role, content_type="x/y", role=role, key_id="", request_id=request.id)
        files.storage.put(f"runs/{request.id}/state.pt", b"x" * 500)
        if ends:
            requests.finish(request.id, owner, Outcome(200, {"made": 1}, units=100))
        return request.id

    return make


def kept(files: Files, id: str) -> set[str]:
    state = {"state" for _ in files.storage.list(f"runs/{id}")}
    return {row.role for row in files.of_request(id)} | state


def ended_at(requests: Requests, id: str) -> float:
    found = requests.find(id)
    assert found is not None
    assert found.ended_at is not None
    return found.ended_at


ALL = {*SIZES, "state"}


def test_old_files_go_and_the_history_stays(requests: Requests, files: Files, run: Made, tmp_path: Path) -> None:
    old, new = run(), run()
    now = (ended_at(requests, old) + ended_at(requests, new)) / 2 + 3 * DAY
    upload = files.add(tmp_path / "lora", name="clips.zip", content_type="x/y", role="upload", key_id="")
    assert prune(files, keep_days=3, keep_bytes=0, now=now, dry_run=True) == Pruned(1, 3, 1610, 1610)
    assert (kept(files, old), kept(files, new)) == (ALL, ALL)
    assert prune(files, keep_days=3, keep_bytes=0, now=now) == Pruned(1, 3, 1610, 1610)
    assert (kept(files, old), kept(files, new)) == (set(), ALL)
    assert files.find(upload.id) is not None
    found = requests.find(old)
    assert found is not None
    assert (found.input, found.response, found.units) == ({}, {"made": 1}, 100)


def test_above_the_size_states_and_previews_go_first_and_the_oldest_of_them(files: Files, run: Made) -> None:
    first, second = run(), run()

    def left(keep_bytes: int) -> tuple[set[str], set[str]]:
        prune(files, keep_days=0, keep_bytes=keep_bytes, now=0.0)
        return kept(files, first), kept(files, second)

    assert left(2 * 1610) == (ALL, ALL)
    assert left(1000 + 1610) == ({"lora"}, ALL)
    assert left(2000) == ({"lora"}, {"lora"})
    assert left(1999) == (set(), {"lora"})


def test_nothing_goes_of_what_runs_or_has_a_star(database: Database, files: Files, run: Made) -> None:
    running, starred, named = run(ends=False), run(), run()
    marks = Marks(database)
    marks.change(starred, "", {"starred": True})
    marks.change(named, "", {"name": "mine"})
    gone = prune(files, keep_days=1, keep_bytes=1, now=1e12)
    assert (gone.results, gone.kept) == (1, 2 * 1610)
    assert [kept(files, id) for id in (running, starred, named)] == [ALL, ALL, set()]


def test_folders_without_a_star_go_by_age_too(
    database: Database, requests: Requests, run: Made, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, keep_days=5, keep_state_days=30)
    plain, starred = run(), run()
    Marks(database).change(starred, "", {"starred": True})
    for id in (plain, starred):
        (settings.runs / id).mkdir(parents=True)
    now = ended_at(requests, starred)
    assert sweep_folders(settings, database, now + 4 * DAY) == 0
    assert sweep_folders(settings, database, now + 6 * DAY) == 1
    assert (settings.runs / starred).exists()


def test_of_many_servers_one_does_the_duty(database: Database) -> None:
    def take(now: float) -> list[bool]:
        return [duties.take(database, "prune", now, DAY) for _ in range(3)]

    assert take(1000.0) == [True, False, False]
    assert take(1000.0 + duties.LEASE_SECONDS) == [True, False, False]  # the first one died
    duties.done(database, "prune", 5000.0, DAY)
    assert take(5000.0 + DAY - 1) == [False] * 3
    assert take(5000.0 + DAY) == [True, False, False]
    assert take(-9e9) == [True, False, False]  # the clock was wrong before


@pytest.mark.parametrize("given", [{"keep_days": 3.0}, {"keep_bytes": 10}, {}])
def test_a_server_prunes_once_a_day_where_that_is_wished(tmp_path: Path, given: dict[str, Any]) -> None:
    from soundlora.server.http.app import create_app, prune_daily

    service = create_app(Settings(data_dir=tmp_path, **given), executor=False).state.service
    ids = []
    for _ in range(2):
        id = service.requests.submit("train", {}).id
        _, owner = claimed(service.requests)
        service.requests.finish(id, owner, Outcome(200, {}))
        (tmp_path / "lora").write_bytes(b"x" * 100)
        service.files.add(tmp_path / "lora", name="a", content_type="x/y", role="lora", key_id="", request_id=id)
        ids.append(id)
        now = ended_at(service.requests, id) + 4 * DAY
        prune_daily(service, now)
    left = [bool(service.files.of_request(id)) for id in ids]
    assert left == ([False, True] if given else [True, True])
    service.database.close()
