"""States in the storage, without a machine that has the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, bucket, serving_s3

from soundlora.net.storage import Storage, StorageError
from soundlora.pipeline.run_mirror import RunMirror
from soundlora.server.work.run_states import RunStates, prefix_of
from soundlora.training.run_folder import RunFolder


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "folder":
        yield Storage(str(tmp_path / "kept"))
        return
    with serving_s3() as url, bucket(url):
        yield Storage(f"s3://{BUCKET}/kept")


def kept(storage: Storage, folder: Path, request_id: str, *steps: int, finished: bool = False) -> None:
    """A run of 100 steps, of which the storage has these states."""
    run = RunFolder(folder)
    run.create({"number_of_steps": 100, "checkpoint_every": 25, "preview_every": 10}, {"clips": []}, fresh=True)
    run.release()
    mirror = RunMirror(folder, storage, prefix_of(request_id))
    mirror.begin()
    mirror.offer(0)
    for step in steps:
        run.checkpoint_path(step).write_bytes(b"state of %d" % step)
        run.preview_path(step, 0).write_bytes(b"sound of %d" % step)
        if finished and step == steps[-1]:
            run.lora.write_bytes(b"LoRA")
            run.config.write_text(json.dumps({"number_of_steps": step}))
        mirror.offer(step, finished=run.config.exists())
        assert mirror.settle(60)
    assert mirror.settle(60)
    mirror.close()


def test_what_there_is_of_a_run_is_said(storage: Storage, tmp_path: Path) -> None:
    states = RunStates(storage)
    kept(storage, tmp_path / "going", "going", 25, 50)
    kept(storage, tmp_path / "finished", "finished", 100, finished=True)
    kept(storage, tmp_path / "fresh", "fresh")
    assert states.newest("going") == (50, False)
    assert states.newest("finished") == (100, True)
    assert states.newest("fresh") == (0, False)
    assert states.newest("nobody") is None
    assert sorted(states.ids()) == ["finished", "fresh", "going"]
    states.remove("going")
    assert states.newest("going", known=True) is None
    assert sorted(states.ids()) == ["finished", "fresh"]


def test_a_state_is_passed_on_to_one_request(storage: Storage, tmp_path: Path) -> None:
    states = RunStates(storage)
    kept(storage, tmp_path / "run", "old", 25, 50)
    with pytest.raises(RuntimeError, match="not written"), states.passed_on("old", "new"):
        raise RuntimeError("the request was not written")
    assert (states.newest("old"), states.newest("new")) == ((50, False), None)
    with states.passed_on("old", "new"):
        assert states.newest("old") is None, "nobody else takes it meanwhile"
        with pytest.raises(FileNotFoundError), states.passed_on("old", "other"):
            pass
    assert (states.newest("old"), states.newest("new")) == (None, (50, False))
    assert list(storage.list(prefix_of("old"))) == []
    assert RunMirror(tmp_path / "elsewhere", storage, prefix_of("new")).begin()
    found = RunFolder(tmp_path / "elsewhere")
    assert found.checkpoint_path(50).read_bytes() == b"state of 50"
    assert found.read_request() == RunFolder(tmp_path / "run").read_request()


def test_a_finished_run_becomes_a_longer_one_and_stays(storage: Storage, tmp_path: Path) -> None:
    states = RunStates(storage)
    kept(storage, tmp_path / "run", "old", 50, 100, finished=True)
    with pytest.raises(RuntimeError), states.longer("old", "new", 300):
        raise RuntimeError
    assert states.newest("new") is None
    with states.longer("old", "new", 300):
        pass
    assert (states.newest("old"), states.newest("new")) == ((100, True), (100, False))
    assert RunMirror(tmp_path / "elsewhere", storage, prefix_of("new")).begin()
    found = RunFolder(tmp_path / "elsewhere")
    assert not found.lora.exists()
    assert found.checkpoint_steps() == [100]
    assert sorted(path.name for path in found.previews.iterdir()) == [
        "step_000050_prompt_0.wav",
        "step_000100_prompt_0.wav",
    ]
    assert found.read_request() == {
        "number_of_steps": 300,
        "checkpoint_every": 75,
        "preview_every": 10,
        "lengthened": [{"step": 100, "of": 100}],
    }


@pytest.mark.parametrize("request_id", ["fresh", "nobody"])
def test_what_has_no_state_is_not_passed_on(storage: Storage, tmp_path: Path, request_id: str) -> None:
    states = RunStates(storage)
    kept(storage, tmp_path / "run", "fresh")
    with pytest.raises(FileNotFoundError), states.passed_on(request_id, "new"):
        pass
    with pytest.raises(FileNotFoundError), states.longer(request_id, "new", 300):
        pass
    assert states.newest("new") is None


def test_while_the_storage_is_away_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path / "kept"))
    states = RunStates(storage)

    def away(prefix: str) -> Iterator[tuple[str, int]]:
        raise StorageError("away")

    monkeypatch.setattr(storage, "list", away)
    assert states.newest("run", known=True) is None
    with pytest.raises(StorageError):
        states.newest("run")
