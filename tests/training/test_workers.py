"""A run shared by two processes, started as `torchrun` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import BaseNames

from soundlora import train
from soundlora.errors import InputError

RUN = """
import sys
import torch
torch.set_num_threads(1)
from soundlora import train
data, base, encoder, out, cache = sys.argv[1:]
result = train(data, out, base=base, text_encoder=encoder, rank=4, steps=6, batch_size=4, duration=0.5, cache=cache,
               validation_prompts=["rain"])
print(result.lora)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_two_processes_train_what_one_does_with_the_same_batch(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path
) -> None:
    common = [sys.executable, "-c", RUN, str(clips_zip), quick_base.checkpoint, str(quick_base.encoder)]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [*common, str(tmp_path / "two"), str(tmp_path / "cache")],
            env=os.environ | address | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    printed = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert printed == [str(tmp_path / "two" / "lora.safetensors")] * 2
    one = train(
        clips_zip,
        tmp_path / "one",
        **quick_base.arguments,
        rank=4,
        steps=6,
        batch_size=4,
        duration=0.5,
        cache=tmp_path / "cache",
        validation_prompts=["rain"],
    )
    ours, theirs = load_file(one.lora), load_file(tmp_path / "two" / "lora.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.float(), theirs[name].float(), atol=2e-5, rtol=2e-2)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 6
    for alone, shared in zip(*lines, strict=True):
        assert json.loads(alone)["clip"] == json.loads(shared)["clip"]
        assert json.loads(alone)["loss"] == pytest.approx(json.loads(shared)["loss"], rel=1e-4)


def test_a_batch_that_two_processes_cannot_share_is_refused(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soundlora import run
    from soundlora.training.workers import Workers

    monkeypatch.setattr(run.Workers, "from_environment", lambda: Workers(0, 2))
    with pytest.raises(InputError, match="batch_size is 3, but 2 processes need a multiple"):
        train(clips_zip, tmp_path / "run", **quick_base.arguments, batch_size=3)
    assert not (tmp_path / "run").exists()


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from soundlora.training import workers

    called: list[object] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", called.append)
    monkeypatch.setattr(workers.dist, "init_process_group", lambda *a, **k: called.append((*a, k)))
    monkeypatch.setattr(workers.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(workers.atexit, "register", lambda _: None)
    gpu = torch.device("cuda", 1)
    made = workers.Workers.from_environment()
    assert (made, made.device()) == (workers.Workers(1, 2), gpu)
    # The GPU is chosen before the processes meet: two that talk from the same one never do.
    assert called == [gpu, ("nccl", {"device_id": gpu})]


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from soundlora.training.workers import Workers

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"has one GPU.*--nproc-per-node 1\."):
        Workers.from_environment()
