"""A run that is killed again and again, at any moment, ends as one that never was."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import BaseNames

KILLS = 50

# Imports once, then forks: most of a process's life shall be the run, not the start of Python. One thread, as threads
# do not survive a fork.
CHILD = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "1"
import torch
torch.set_num_threads(1)
from pathlib import Path
import soundlora.pipeline.train
from soundlora.training.run_folder import RunFolder
data, base, encoder, out, cache = sys.argv[1:]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            soundlora.pipeline.train.train(
                data, out, base=base, text_encoder=encoder, rank=4, steps=60, duration=0.5, cache=cache,
                validation_prompts=["rain"], preview_every=20, checkpoint_every=7, hold_out=1,
                resume=RunFolder(Path(out)).request.exists(),
            )
        except BaseException as error:
            print("failed", repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


class Runner:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return int(self.read())

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()  # its input ends, and so does it


def everything(folder: Path) -> dict[str, bytes]:
    """Files by name, but for the states: those of moments that a kill chose are left over."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".pt", ".partial")
    }


@pytest.mark.slow
def test_fifty_kills_leave_no_trace(quick_base: BaseNames, clips_zip: Path, tmp_path: Path) -> None:
    common = (str(clips_zip), quick_base.checkpoint, str(quick_base.encoder))
    straight = Runner(*common, str(tmp_path / "straight"), str(tmp_path / "cache"))
    began = time.monotonic()
    straight.start()
    assert straight.read() == "0"
    whole = time.monotonic() - began
    straight.close()
    chance = random.Random(1)
    kills, rounds = 0, 0
    while kills < KILLS:
        out = tmp_path / f"killed_{rounds}"
        runner = Runner(*common, str(out), str(tmp_path / "cache"))
        while True:
            child = runner.start()
            time.sleep(chance.uniform(0.0, 0.5) * whole)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            status = runner.read()
            if status == "0":
                break
            assert status == str(signal.SIGKILL.value), status
            kills += 1
        runner.close()
        assert everything(out) == everything(tmp_path / "straight")
        rounds += 1
