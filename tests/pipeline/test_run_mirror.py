"""The mirror of a run folder: states reach a storage whole or not at all, and come back as they were."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, bucket, serving_s3

from soundlora.errors import InputError, MachineError
from soundlora.net.storage import Storage, StorageError
from soundlora.pipeline.run_mirror import RunMirror
from soundlora.training.run_folder import RunFolder

LONG = 60.0


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "folder":
        yield Storage(str(tmp_path / "kept"))
        return
    with serving_s3() as url, bucket(url):
        yield Storage(f"s3://{BUCKET}/kept")


def begun(path: Path, seed: int = 42) -> RunFolder:
    folder = RunFolder(path)
    folder.create({"seed": seed, "training_data_url": str(path)}, {"clips": []}, fresh=True)
    folder.release()
    return folder


def step(folder: RunFolder, number: int) -> None:
    """Add what a run has after so many steps."""
    for each in range(len(folder.read_metrics()) + 1, number + 1):
        folder.log({"step": each, "loss": 1 / each})
    folder.preview_path(number, 0).write_bytes(b"sound of %d" % number)
    folder.checkpoint_path(number).write_bytes(b"state of %d" % number * 1000)


def brought(folder: RunFolder, storage: Storage, *steps: int, prefix: str = "") -> RunMirror:
    mirror = RunMirror(folder.path, storage, prefix)
    mirror.begin()
    for number in steps:
        step(folder, number)
        mirror.offer(number)
        assert mirror.settle(LONG)
    return mirror


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(storage: Storage, below: str) -> list[str]:
    return sorted(key for key, _ in storage.list(below))


def test_the_newest_state_comes_back_in_an_empty_folder(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    brought(folder, storage, 5, 10, 15)
    other = RunMirror(tmp_path / "elsewhere", storage)
    assert other.begin()
    found, before = content(tmp_path / "elsewhere"), content(folder.path)
    for earlier in ("checkpoints/step_000005.pt", "checkpoints/step_000010.pt"):
        del before[earlier]
    assert found == before
    assert len(RunFolder(tmp_path / "elsewhere").read_metrics()) == 15


def test_two_states_are_kept_and_nothing_beside_them(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    mirror = brought(folder, storage, 5, 10, 15, 20)
    manifests = [json.loads(b"".join(storage.stream(key))) for key in keys(storage, "states")]
    assert [manifest["step"] for manifest in manifests] == [15, 20]
    named = {sha256 for manifest in manifests for _, sha256 in manifest["files"].values()}
    assert {key.rpartition("/")[2] for key in keys(storage, "files")} == named
    mirror.offer(20)
    assert mirror.settle(LONG)
    assert {key.rpartition("/")[2] for key in keys(storage, "files")} < named, "the same state has no file of its own"


def damage(storage: Storage, key: str) -> None:
    storage.put(key, b"\0" * storage.size(key))


@pytest.mark.parametrize("harm", [damage, Storage.delete, lambda storage, key: storage.put(key, b"short")])
def test_a_damaged_state_is_passed_over_for_the_one_before(
    storage: Storage, tmp_path: Path, harm: Callable[[Storage, str], None]
) -> None:
    folder = begun(tmp_path / "run")
    brought(folder, storage, 5, 10)
    _, newest = (json.loads(b"".join(storage.stream(key))) for key in keys(storage, "states"))
    harm(storage, f"files/{newest['files']['checkpoints/step_000010.pt'][1]}")
    said: list[str] = []
    other = RunMirror(tmp_path / "elsewhere", storage, tell=said.append)
    assert other.begin()
    found = RunFolder(tmp_path / "elsewhere")
    assert (found.checkpoint_steps(), found.fetching.exists()) == ([5], False)
    assert len(said) == 1
    assert "after 10 steps" in said[0]
    step(found, 10)
    other.offer(10)
    assert other.settle(LONG)
    third = RunMirror(tmp_path / "third", storage)
    assert third.begin()
    assert RunFolder(tmp_path / "third").checkpoint_steps() == [10]


def test_a_manifest_that_names_files_elsewhere_is_none(storage: Storage, tmp_path: Path) -> None:
    brought(begun(tmp_path / "run"), storage, 5)
    (key,) = keys(storage, "states")
    manifest = json.loads(b"".join(storage.stream(key)))
    manifest["files"]["../stolen"] = manifest["files"]["request.json"]
    storage.put("states/00000009-x.json", json.dumps(manifest).encode())
    storage.put("states/00000008-x.json", b"no JSON")
    said: list[str] = []
    assert RunMirror(tmp_path / "elsewhere", storage, tell=said.append).begin()
    assert not (tmp_path / "stolen").exists()
    assert len(said) == 2


def test_what_a_killed_process_left_is_deleted_by_the_next_one(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    brought(folder, storage, 5)
    before = keys(storage, "files")
    storage.put("files/" + "0" * 64, b"brought, but in no manifest")
    RunMirror(tmp_path / "elsewhere", storage).begin()
    assert keys(storage, "files") == before


def test_a_fetch_that_was_killed_is_done_again(storage: Storage, tmp_path: Path) -> None:
    brought(begun(tmp_path / "run"), storage, 5)
    killed = tmp_path / "elsewhere"
    killed.mkdir()
    (killed / ".fetching").touch()
    (killed / "request.json").write_text("{}")
    assert RunMirror(killed, storage).begin()
    assert content(killed) == content(tmp_path / "run")


def test_whoever_has_done_more_steps_goes_on(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    brought(folder, storage, 5)
    step(folder, 10)  # the machine was killed before this reached the storage
    assert RunMirror(folder.path, storage).begin()
    assert folder.checkpoint_steps() == [5, 10]
    folder.checkpoint_path(10).unlink()
    folder.checkpoint_path(5).unlink()
    assert RunMirror(folder.path, storage).begin()
    assert folder.checkpoint_steps() == [5]


def test_a_folder_with_another_run_is_refused(storage: Storage, tmp_path: Path) -> None:
    brought(begun(tmp_path / "run"), storage, 5)
    other = begun(tmp_path / "other", seed=43)
    before = content(other.path)
    with pytest.raises(InputError, match="holds another run than"):
        RunMirror(other.path, storage).begin()
    assert content(other.path) == before


def test_the_process_that_came_first_stops_for_the_one_that_came_later(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    first = brought(folder, storage, 5)
    second = RunMirror(tmp_path / "elsewhere", storage)
    assert second.begin()
    first.check()
    before = keys(storage, "")
    step(folder, 10)
    first.offer(10)
    assert not first.settle(LONG)
    with pytest.raises(MachineError, match="goes on with the run in"):
        first.check()
    assert keys(storage, "") == before, "it has brought nothing more"
    found = RunFolder(tmp_path / "elsewhere")
    step(found, 10)
    second.offer(10)
    assert second.settle(LONG)


def test_a_storage_that_is_away_for_a_while_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, storage = begun(tmp_path / "run"), Storage(str(tmp_path / "kept"))
    said: list[str] = []
    mirror = RunMirror(folder.path, storage, tell=said.append)
    mirror.begin()
    failures = iter([StorageError("away"), StorageError("still away")])
    put = storage.put

    def failing(key: str, source: Any) -> None:
        for failure in failures:
            raise failure
        put(key, source)

    monkeypatch.setattr(storage, "put", failing)
    step(folder, 5)
    mirror.offer(5)
    assert mirror.settle(LONG)
    assert len(said) == 1
    assert "(away)" in said[0]
    assert len(keys(storage, "states")) == 1


def test_what_was_offered_last_is_brought_when_earlier_states_are_gone(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    mirror = brought(folder, storage)
    mirror.offer(5)  # whose state was deleted already
    assert mirror.settle(LONG)
    assert keys(storage, "states") == []
    step(folder, 10)
    mirror.offer(10)
    assert mirror.settle(LONG)
    assert len(keys(storage, "states")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_the_thread_that_brings_states_gives_way_to_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, found = Storage(str(tmp_path / "kept")), {}
    put = storage.put

    def told(key: str, source: Any) -> None:
        found[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        put(key, source)

    monkeypatch.setattr(storage, "put", told)
    brought(begun(tmp_path / "run"), storage, 1).close()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert found == {"MainThread": own, "mirror": max(own, 10)}


def test_a_finished_run_says_so_only_when_all_of_it_is_there(storage: Storage, tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    mirror = brought(folder, storage, 5)
    folder.lora.write_bytes(b"LoRA")
    folder.config.write_text("{}")
    mirror.offer(5)  # a state of before
    assert mirror.settle(LONG)
    assert RunMirror(tmp_path / "early", storage).begin()
    assert not RunFolder(tmp_path / "early").is_finished()
    # Whoever comes with a finished folder brings the rest.
    late = RunMirror(folder.path, storage)
    assert late.begin()
    assert late.settle(LONG)
    assert RunMirror(tmp_path / "elsewhere", storage).begin()
    assert RunFolder(tmp_path / "elsewhere").is_finished()


def test_runs_below_their_prefixes_keep_apart(storage: Storage, tmp_path: Path) -> None:
    brought(begun(tmp_path / "one", 1), storage, 5, prefix="runs/one")
    brought(begun(tmp_path / "two", 2), storage, 5, prefix="runs/two")
    assert RunMirror(tmp_path / "elsewhere", storage, "runs/two").begin()
    assert json.loads((tmp_path / "elsewhere" / "request.json").read_text())["seed"] == 2


def test_a_run_that_began_without_its_storage_brings_its_states_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, storage = begun(tmp_path / "run"), Storage(str(tmp_path / "kept"))

    def away(key: str, source: Any) -> None:
        raise StorageError("away")

    mirror = RunMirror(folder.path, storage)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", away)
        with pytest.raises(StorageError):
            mirror.begin()
    step(folder, 5)
    mirror.offer(5)
    assert mirror.settle(LONG)
    assert RunMirror(tmp_path / "elsewhere", storage).begin()
    assert content(tmp_path / "elsewhere") == content(folder.path)


def test_a_folder_with_an_older_state_goes_on_from_it_where_the_newer_one_is_damaged(
    storage: Storage, tmp_path: Path
) -> None:
    folder = begun(tmp_path / "run")
    brought(folder, storage, 5, 10, 15)
    (key,) = [key for key in keys(storage, "states") if "-000015-" in key]
    newest = json.loads(b"".join(storage.stream(key)))
    damage(storage, f"files/{newest['files']['checkpoints/step_000015.pt'][1]}")
    folder.checkpoint_path(15).unlink()
    assert RunMirror(folder.path, storage).begin()
    assert (folder.checkpoint_steps(), folder.fetching.exists()) == ([5, 10], False)
