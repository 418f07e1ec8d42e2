from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.runners import fresh_transformer

from soundlora.errors import InputError, MachineError
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.pipeline.resuming import check_same
from soundlora.training.optimizer import Optimizer
from soundlora.training.run_folder import RunFolder, write_json
from soundlora.wording import command_line_words, wording

REQUEST: dict[str, Any] = {"rank": 8, "learning_rate": 2e-4, "clips": {"a.wav": "hash"}, "trigger_phrase": "Ünï"}


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "deep" / "run")


def fresh(seed: int) -> tuple[Adapter, Optimizer]:
    adapter = Adapter.create(fresh_transformer(), 4, seed=seed)
    return adapter, Optimizer(adapter.parameters(), 1e-2, steps=10)


def train(adapter: Adapter, optimizer: Optimizer) -> None:
    parts = [(p * torch.arange(p.numel()).view_as(p)).sum() for p in adapter.parameters()]
    sum(parts, torch.zeros(())).backward()
    optimizer.step()


def test_a_folder_that_is_not_there_or_empty_is_free(folder: RunFolder) -> None:
    folder.check_free()
    folder.path.mkdir(parents=True)
    folder.check_free()


def test_a_folder_with_a_run_is_not_free_and_says_how_to_go_on(folder: RunFolder) -> None:
    folder.create(REQUEST, {})
    with pytest.raises(InputError, match=r"already holds a run.*--out.*--resume"):
        folder.check_free()


def test_a_folder_in_which_another_one_trains_is_refused_until_that_one_has_ended(folder: RunFolder) -> None:
    folder.create(REQUEST, {})
    with pytest.raises(MachineError, match=r"Another process trains in .*--out"):
        RunFolder(folder.path).create(REQUEST, {})
    folder.release()
    RunFolder(folder.path).create(REQUEST, {})


def test_a_folder_with_other_things_or_a_file_is_not_free(folder: RunFolder, tmp_path: Path) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="is not an empty folder"):
        folder.check_free()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is not an empty folder"):
        RunFolder(tmp_path / "file").check_free()
    with pytest.raises(InputError, match=r"can't be made, as .*file is a file"):
        RunFolder(tmp_path / "file" / "deep" / "run").check_free()


def test_only_the_same_request_can_be_resumed(folder: RunFolder) -> None:
    with pytest.raises(InputError, match="holds no run to resume"):
        folder.check_resumable()
    folder.create(REQUEST, {})
    folder.check_resumable()
    check_same(folder.path, folder.read_request(), REQUEST)
    with pytest.raises(InputError, match=r"started with --rank = 8, not 16"):
        check_same(folder.path, folder.read_request(), REQUEST | {"rank": 16})
    with pytest.raises(InputError, match="clips"):
        check_same(folder.path, folder.read_request(), REQUEST | {"clips": {"a.wav": "another hash"}})
    with pytest.raises(InputError, match="started with --seed = 42, not 1"):
        check_same(folder.path, folder.read_request(), REQUEST | {"seed": 1})


def test_data_that_lie_elsewhere_are_the_same_by_their_hashes(folder: RunFolder) -> None:
    folder.create(REQUEST | {"training_data_url": "/old/place/clips.zip"}, {})
    moved = REQUEST | {"training_data_url": "/new/place/clips.zip"}
    check_same(folder.path, folder.read_request(), moved)
    with pytest.raises(InputError, match="clips"):
        check_same(folder.path, folder.read_request(), moved | {"clips": {"a.wav": "another hash"}})


def test_a_new_run_has_its_request_report_and_folders(folder: RunFolder) -> None:
    folder.create(REQUEST, {"kept": 3})
    assert json.loads(folder.request.read_text(encoding="utf-8")) == REQUEST
    assert "Ünï" in folder.request.read_text(encoding="utf-8")
    assert json.loads(folder.report.read_text()) == {"kept": 3}
    assert folder.checkpoints.is_dir()
    assert folder.previews.is_dir()


def test_names_of_files_are_the_documented_ones(folder: RunFolder) -> None:
    names = ("request", "report", "metrics", "checkpoints", "previews", "lora", "config", "preview", "debug_dataset")
    assert [getattr(folder, name).name for name in names] == [
        "request.json",
        "report.json",
        "metrics.jsonl",
        "checkpoints",
        "previews",
        "lora.safetensors",
        "config.json",
        "preview.wav",
        "debug_dataset.zip",
    ]
    assert folder.preview_path(0, 0) == folder.previews / "step_000000_prompt_0.wav"
    assert folder.preview_path(20_000, 1).name == "step_020000_prompt_1.wav"


def test_metrics_are_a_line_a_step_and_can_be_cut_back(folder: RunFolder) -> None:
    assert folder.read_metrics() == []
    folder.truncate_metrics(3)
    folder.create(REQUEST, {})
    for step in range(1, 6):
        folder.log({"step": step, "clip": "ü.wav"})
    assert [line["step"] for line in folder.read_metrics()] == [1, 2, 3, 4, 5]
    folder.truncate_metrics(3)
    folder.log({"step": 4})
    assert [line["step"] for line in folder.read_metrics()] == [1, 2, 3, 4]


def test_a_checkpoint_restores_adapter_and_moments_to_the_bit(folder: RunFolder) -> None:
    folder.create(REQUEST, {})
    adapter, optimizer = fresh(seed=1)
    train(adapter, optimizer)
    path = folder.save_checkpoint(1, adapter, optimizer, {"trigger_phrase": "Ünï"})
    lora = read_lora(folder.checkpoint_lora(1))
    assert lora.metadata == {"trigger_phrase": "Ünï", "step": "1"}
    for name, layer in adapter.layers.items():
        assert torch.equal(lora.pairs[name][1], layer.lora_B.to(torch.bfloat16)), name
    train(adapter, optimizer)

    restored, restored_optimizer = fresh(seed=2)
    assert folder.load_checkpoint(path, restored, restored_optimizer) == 1
    train(restored, restored_optimizer)
    for key, tensor in adapter.state_dict().items():
        assert torch.equal(restored.state_dict()[key], tensor)


def test_the_latest_checkpoint_is_that_of_most_steps(folder: RunFolder) -> None:
    assert folder.latest_checkpoint() is None
    folder.create(REQUEST, {})
    assert folder.latest_checkpoint() is None
    adapter, optimizer = fresh(seed=1)
    for step in (500, 20_000, 1000):
        folder.save_checkpoint(step, adapter, optimizer, {})
    (folder.checkpoints / "step_030000.pt.0a1b2c3d.partial").write_bytes(b"half")
    latest = folder.latest_checkpoint()
    assert latest is not None
    assert latest.name == "step_020000.pt"


def test_a_checkpoints_lora_is_called_by_the_runs_name_and_one_of_an_earlier_version_keeps_its_own(
    folder: RunFolder,
) -> None:
    folder.create(REQUEST | {"name": "Rusty gate!"}, {})
    folder.save_checkpoint(20, *fresh(seed=1), {})
    assert folder.checkpoint_lora(20).name == "Rusty-gate-20.safetensors"
    (folder.checkpoints / "step_000010.safetensors").write_bytes(b"earlier")
    assert folder.checkpoint_lora(10).name == "step_000010.safetensors"
    assert list(folder.checkpoint_loras()) == [10, 20]
    folder.keep_checkpoints(1)
    assert list(folder.checkpoint_loras()) == [20], "a LoRA without its state is a checkpoint too"


@pytest.mark.parametrize(
    ("losses", "count", "kept"),
    [
        ({0: 1.0, 10: 0.7, 20: 0.5, 30: 0.6}, 2, [20, 30]),
        ({0: 1.0, 10: 0.4, 20: 0.5, 30: 0.6}, 1, [10]),
        ({0: 1.0, 10: 0.4, 30: 0.6}, 3, [10, 30, 35]),  # 35, where it was interrupted, was never measured
        ({}, 2, [30, 35]),
        ({}, 9, [10, 20, 30, 35]),
    ],
)
def test_the_best_checkpoints_are_kept_and_the_latest_where_nothing_was_measured(
    folder: RunFolder, losses: dict[int, float], count: int, kept: list[int]
) -> None:
    folder.create(REQUEST, {})
    for step, loss in losses.items():
        folder.log_held_out(step, loss)
    for step in (10, 20, 30, 35):
        folder.save_checkpoint(step, *fresh(seed=1), {})
    folder.keep_checkpoints(count)
    assert folder.checkpoint_steps() == kept
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        f"step_{step:06d}.{kind}" for step in kept for kind in ("pt", "safetensors")
    ]


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "Expecting"), (b"", "Expecting"), (b"[1]", "so the run"), (b"\xff\xfe", "decode")]
)
def test_a_request_that_was_damaged_is_refused_in_a_sentence(folder: RunFolder, content: bytes, words: str) -> None:
    folder.create(REQUEST, {})
    folder.request.write_bytes(content)
    with pytest.raises(InputError, match=rf"request\.json is no JSON object any more.*{words}"):
        folder.read_request()


def test_a_file_whose_writing_fails_is_not_there(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.create(REQUEST, {})
    adapter, optimizer = fresh(seed=1)
    assert folder.save_lora(adapter, {"rank": "4"}, "gate-2.safetensors") == folder.path / "gate-2.safetensors"
    whole = folder.lora.read_bytes()

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("torch.save", broken)
    with pytest.raises(MachineError, match="no space"):
        folder.save_checkpoint(1, adapter, optimizer, {})
    assert folder.latest_checkpoint() is None
    monkeypatch.setattr(adapter, "save", broken)
    with pytest.raises(OSError, match="no space"):
        folder.save_lora(adapter, {}, "gate-2.safetensors")
    assert folder.lora.read_bytes() == (folder.path / "gate-2.safetensors").read_bytes() == whole
    assert read_lora(folder.lora).metadata == {"rank": "4"}


def test_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, {"a": 1})
    write_json(path, {"b": [1, 2]})
    assert json.loads(path.read_text()) == {"b": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]
