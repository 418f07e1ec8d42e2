"""A training on several slots: its processes share the run, and none of them stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from example_zip import some_clips
from safetensors.torch import load_file
from waiting import wait_until
from workplace import Place, hang_up

from soundlora import train
from soundlora.server.endpoints import TRAINING
from soundlora.server.store.requests import Request
from soundlora.server.store.stopping import ask_to_stop

FIELDS: dict[str, Any] = {"rank": 8, "audio_duration_seconds": 1, "number_of_steps": 100, "gpus": 2}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDLORA_DEVICE", "cpu")


def submit(place: Place, **more: Any) -> Request:
    return place.requests.submit(TRAINING, {"training_data_url": some_clips(), **FIELDS} | more, gpus=2)


def ranks() -> list[int]:
    """The further processes of workers that a test has started, also of those that have gone."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            session = int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[3])
        except OSError:  # it has just ended
            continue
        if b"soundlora.server.work.ranks" in command and session == os.getsid(0):
            found.append(int(folder.name))
    return found


def begun(place: Place, request: Request, lines: int = 1) -> subprocess.Popen[bytes]:
    """A worker that has trained some steps."""
    _, process = place.start()
    before = len([line for line in place.said(request.id) if line.startswith("Step ")])
    wait_until(
        lambda: len([line for line in place.said(request.id) if line.startswith("Step ")]) >= before + lines, 120
    )
    assert process.poll() is None
    return process


def test_two_processes_train_a_request_as_one_does_with_the_same_batch(place: Place, tmp_path: Path) -> None:
    request = submit(place)
    done = place.work()
    assert (done.status_code, done.units) == (200, 100), done.error
    # The worker's next run is its own, as the one below is.
    assert not {"WORLD_SIZE", "RANK", "LOCAL_RANK", "SOUNDLORA_MEETING"} & set(os.environ)
    (row,) = place.files.of_request(request.id, "lora")
    place.files.storage.copy_to(row.key, tmp_path / "two.safetensors")
    (row,) = place.files.of_request(request.id, "metrics")
    both = b"".join(place.files.storage.stream(row.key)).decode().splitlines()
    one = train(
        some_clips(), tmp_path / "one", base=place.settings.base, rank=8, duration=1, steps=100, batch_size=2,
        validation_prompts=[], device="cpu",
    )  # fmt: skip
    alone = (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()
    assert len(both) == len(alone) == 100
    for number in range(100):
        ours, theirs = json.loads(both[number]), json.loads(alone[number])
        assert ours["clip"] == theirs["clip"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4 if number < 10 else 1e-2)
    ours, theirs = load_file(tmp_path / "two.safetensors"), load_file(one.lora)
    for name, tensor in ours.items():
        same = torch.nn.functional.cosine_similarity(tensor.float().flatten(), theirs[name].float().flatten(), dim=0)
        assert same > 0.995, name


@pytest.mark.slow
def test_whoever_of_them_is_lost_or_stopped_none_stays_and_the_run_goes_on(place: Place) -> None:
    request = submit(place, number_of_steps=20000)
    process = begun(place, request)
    (other,) = ranks()
    os.kill(other, signal.SIGKILL)
    assert process.wait(120) == 0
    hang_up(process)
    found = place.find(request.id)
    assert (found.state, found.attempts) == ("queued", 1)
    assert any("lost one of the processes of this run" in line for line in place.said(request.id))
    states = place.settings.runs / request.id / "run" / "checkpoints"
    assert list(states.glob("*.pt"))

    process = begun(place, request)
    owner = place.find(request.id).owner
    assert owner is not None
    process.kill()
    process.wait()
    wait_until(lambda: not ranks(), 60)
    hang_up(process)
    place.requests.release(request.id, owner, lost=True, reason="it died")

    process = begun(place, request)
    assert ask_to_stop(place.database, request.id)
    assert process.wait(120) == 0
    hang_up(process)
    found = place.find(request.id)
    assert (found.status_code, found.units) == (200, 0), found.error
    assert len([line for line in place.said(request.id) if "Going on with the run" in line]) == 2
    assert not ranks()


@pytest.mark.slow
def test_a_cancelled_one_ends_whole(place: Place) -> None:
    request = submit(place, number_of_steps=20000)
    process = begun(place, request)
    assert len(ranks()) == 1
    place.requests.cancel(request.id)
    assert process.wait(60) == 0
    hang_up(process)
    assert place.find(request.id).error_type == "client_cancelled"
    assert not ranks()
