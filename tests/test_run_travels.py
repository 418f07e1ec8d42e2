"""A run that is killed and whose folder is gone ends elsewhere as one that was never touched."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, bucket, serving_s3
from support import BaseNames

# Imports once, then forks: most of a process's life shall be the run. One thread, as threads do not survive a fork.
CHILD = """
import json, os, sys
os.environ["OMP_NUM_THREADS"] = "1"
import torch
torch.set_num_threads(1)
import soundlora.pipeline.train
data, base, encoder, cache = sys.argv[1:]
for line in sys.stdin:
    out, sync = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            soundlora.pipeline.train.train(
                data, out, base=base, text_encoder=encoder, rank=4, steps=60, duration=0.5, cache=cache,
                validation_prompts=["rain"], preview_every=20, checkpoint_every=7, hold_out=1, sync=sync or None,
            )
        except BaseException as error:
            print("failed", repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


class Machines:
    """One after the other begins the same run in a folder of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, out: Path, sync: str = "") -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([str(out), sync]) + "\n")
        self.process.stdin.flush()
        return int(self.read())

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()  # its input ends, and so does it


def everything(folder: Path) -> dict[str, bytes]:
    """Files by name, but for the states, of which the newest alone travels."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pt"
    }


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], str]]:
    if request.param == "folder":
        yield lambda number: str(tmp_path / f"kept-{number}")
        return
    with serving_s3() as url, bucket(url):
        yield lambda number: f"s3://{BUCKET}/kept-{number}"


def travel(base: BaseNames, clips: Path, tmp_path: Path, place: Callable[[int], str], kills: int) -> None:
    cache = str(tmp_path / "cache")
    machines = Machines(str(clips), base.checkpoint, str(base.encoder), cache)
    machines.start(tmp_path / "straight")
    assert machines.read() == "0"
    began = time.monotonic()
    machines.start(tmp_path / "warm", place(0))
    assert machines.read() == "0"
    whole = time.monotonic() - began
    assert everything(tmp_path / "warm") == everything(tmp_path / "straight")
    chance = random.Random(3)
    killed, runs = 0, 0
    while killed < kills:
        runs += 1
        number = 0
        while True:
            number += 1
            out = tmp_path / f"machine-{runs}-{number}"
            child = machines.start(out, place(runs))
            if killed < kills:
                time.sleep(chance.uniform(0.1, 0.9) * whole)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            status = machines.read()
            if status == "0":
                break
            assert status == str(signal.SIGKILL.value), status
            killed += 1
            shutil.rmtree(out, ignore_errors=True)
        assert everything(out) == everything(tmp_path / "straight")
    machines.close()


@pytest.mark.parametrize("place", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_a_run_ends_elsewhere_to_the_bit(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path, place: Callable[[int], str]
) -> None:
    travel(quick_base, clips_zip, tmp_path, place, kills=1)


@pytest.mark.parametrize("place", ["folder", "s3"], indirect=True)
@pytest.mark.slow
def test_twenty_machines_that_vanish_leave_no_trace(
    quick_base: BaseNames, clips_zip: Path, tmp_path: Path, place: Callable[[int], str]
) -> None:
    travel(quick_base, clips_zip, tmp_path, place, kills=20)
