"""A run shared by two processes, started as `torchrun` starts them."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file
from support import BaseNames

from soundlora import train
from soundlora.errors import InputError
from soundlora.training import workers
from soundlora.training.workers import Workers

RUN = """
import atexit, os, signal, sys
import torch
torch.set_num_threads(1)
def threads(): return len(os.listdir("/proc/self/task"))
atexit.register(lambda before=threads(): print(threads() - before))  # after those that are registered later
from soundlora import train
from soundlora.errors import Interrupted, MachineError
from soundlora.training.trainer import Trainer
data, base, encoder, out, cache, *how = sys.argv[1:]

def step(trainer, number, plain=Trainer.step):
    figures = plain(trainer, number)
    if number == 3 and "interrupted" in how:
        raise KeyboardInterrupt
    if number == 3 and "killed" in how and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2 and "kept" in how and os.environ["RANK"] == "0":
        open(os.path.join(out, "stop"), "w").close()
    return figures

Trainer.step = step
try:
    result = train(data, out, base=base, text_encoder=encoder, rank=4, steps=6, batch_size=4, duration=0.5, cache=cache,
                   validation_prompts=["rain"], trigger_phrase="TRG", name="clips", preserve=0.4,
                   resume="resumed" in how, on_progress=lambda news: print(news.stage))
except (Interrupted, MachineError) as error:
    sys.exit(str(error))
print(result.lora)
"""


class Two:
    """Two processes that train together, when both have ended."""

    def __init__(self, base: BaseNames, data: Path, folder: Path, out: str, *how: str) -> None:
        command = [sys.executable, "-c", RUN, data, base.checkpoint, base.encoder, folder / out, folder / "cache", *how]
        shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
        pipe = subprocess.PIPE
        processes = [
            subprocess.Popen(
                list(map(str, command)), env=shared | {"RANK": str(rank)}, stdout=pipe, stderr=pipe, text=True
            )
            for rank in (0, 1)
        ]
        self.printed, self.said = zip(*(process.communicate() for process in processes), strict=True)
        self.codes = [process.returncode for process in processes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def shared(quick_base: BaseNames, clips_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Two, Path]:
    """Two processes that were left in peace, and the folder of their run."""
    folder = tmp_path_factory.mktemp("shared")
    return Two(quick_base, clips_zip, folder, "two"), folder / "two"


def test_two_processes_train_what_one_does_with_the_same_batch(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path, shared: tuple[Two, Path]
) -> None:
    two, folder = shared
    assert two.codes == [0, 0], two.said
    (*news, left), (*silence, left_there) = (printed.splitlines() for printed in two.printed)
    assert (left, left_there) == ("0", "0")
    assert news[-1] == silence[0] == str(folder / "clips-6.safetensors")
    assert "training" in news
    assert len(silence) == 1
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
        trigger_phrase="TRG",
        name="clips",
        preserve=0.4,
    )
    ours, theirs = load_file(one.lora), load_file(folder / "lora.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.float(), theirs[name].float(), atol=2e-5, rtol=2e-2)
    lines = [(path / "metrics.jsonl").read_text().splitlines() for path in (tmp_path / "one", folder)]
    assert len(lines[0]) == len(lines[1]) == 6
    for alone, both in zip(*lines, strict=True):
        assert json.loads(alone)["clip"] == json.loads(both)["clip"]
        assert json.loads(alone)["preserving"] == json.loads(both)["preserving"]
        assert json.loads(alone)["loss"] == pytest.approx(json.loads(both)["loss"], rel=1e-4, abs=1e-6)
    assert {json.loads(line)["preserving"] for line in lines[0]} == {True, False}


@pytest.mark.parametrize("how", ["interrupted", pytest.param("killed", marks=pytest.mark.slow)])
def test_stopped_in_the_middle_they_go_on(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path, shared: tuple[Two, Path], how: str
) -> None:
    stopped = Two(quick_base, clips_zip, tmp_path, "stopped", how)
    assert stopped.codes == ([1, 1] if how == "interrupted" else [1, -signal.SIGKILL])
    if how == "interrupted":
        assert "Stopped at step 4; the first process keeps the state." in stopped.said[1]
    else:
        assert "Another process of this run is gone" in stopped.said[0]
    state = tmp_path / "stopped" / "checkpoints" / "step_000004.pt"
    assert f"Stopped at step 4; {state} holds the state." in stopped.said[0]
    assert "Traceback" not in "".join(stopped.said)
    assert Two(quick_base, clips_zip, tmp_path, "stopped", "resumed").codes == [0, 0]
    ended, expected = (path / "lora.safetensors" for path in (tmp_path / "stopped", shared[1]))
    assert ended.read_bytes() == expected.read_bytes()


def test_asked_to_stop_they_end_after_the_same_step_and_keep_what_they_have_learnt(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path
) -> None:
    two = Two(quick_base, clips_zip, tmp_path, "kept", "kept")
    assert two.codes == [0, 0], two.said
    folder = tmp_path / "kept"
    config = json.loads((folder / "config.json").read_text())
    assert (config["number_of_steps"], config["asked_steps"]) == (3, 6)
    assert (folder / "clips-3.safetensors").exists()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    assert not (folder / "stop").exists()


def test_a_batch_that_two_processes_cannot_share_is_refused(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workers, "from_environment", lambda _: Workers(0, 2))
    with pytest.raises(InputError, match="batch_size is 3, but 2 processes need a multiple"):
        train(clips_zip, tmp_path / "run", **quick_base.arguments, batch_size=3)
    assert not (tmp_path / "run").exists()


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", called.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: called.append((*a, k)))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(atexit, "register", lambda _: None)
    gpu = torch.device("cuda", 1)
    made = Workers.from_environment()
    assert (made, made.device()) == (Workers(1, 2), gpu)
    # The GPU is chosen before the processes meet: two that talk from the same one never do.
    assert called == [gpu, ("nccl", {"device_id": gpu, "timeout": workers._PATIENCE})]


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from soundlora.training.workers import Workers

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"has one GPU.*--nproc-per-node 1\."):
        Workers.from_environment()


@pytest.mark.parametrize(("asked", "kind"), [(None, "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_processes_meet_by_what_their_devices_talk_with(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, kind: str
) -> None:
    met: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda name, **_: met.append(name))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(atexit, "register", lambda _: None)
    device = Workers.from_environment(asked).device()
    assert device is not None
    assert (device.type, met) == (kind, ["nccl" if kind == "cuda" else "gloo"])


@pytest.mark.parametrize("asked", ["mps", "xpu", "cuda:1"])
def test_devices_that_processes_cannot_share_a_run_on_are_refused(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        InputError, match=f"device is '{asked}', but several processes share a run on CUDA GPUs"
    ) as raised:
        Workers.from_environment(asked)
    assert raised.value.field == "device"
