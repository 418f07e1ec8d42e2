"""The further processes of a training on several GPUs: `python -m soundlora.server.work.ranks`, started by a worker.

The worker is the first process of the run, and the only one that reads the queue, writes files and speaks. Each of the
others gets what it needs as a line on its standard input, and ends when that does: with the worker, however it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.system.interrupts import ignore_interrupts
from soundlora.system.meeting import MEETING_VARIABLE
from soundlora.system.operating_system import loopback_interface
from soundlora.wording import wording

RANK = (sys.executable, "-m", "soundlora.server.work.ranks")
_GRACE_SECONDS = 60.0
"""The first process has so long to keep its state once another one is lost. It may wait for that one for ever."""
_END_SECONDS = 10.0


@contextlib.contextmanager
def beside(count: int, folder: Path, told: dict[str, Any]) -> Iterator[None]:
    """Make this process the first of `count` that share a run, within the block. All others have ended after it.

    folder: of the request. told: the arguments of `shared`. Raises OSError where a process can't be started.
    """
    if count == 1:
        yield
        return
    meeting = folder / "meeting"
    shutil.rmtree(meeting, ignore_errors=True)
    meeting.mkdir()
    place = {"WORLD_SIZE": str(count), MEETING_VARIABLE: str(meeting / "processes")}
    if interface := loopback_interface():
        # Nobody outside this machine can reach the processes where they talk to each other.
        place |= {name: os.environ.get(name, interface) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    place |= {"RANK": "0", "LOCAL_RANK": "0"}
    before = {name: os.environ.get(name) for name in place}
    os.environ.update(place)
    over = threading.Event()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(1, count):
            environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = subprocess.Popen(RANK, stdin=subprocess.PIPE, env=environment)
            processes.append(process)
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # It has just died, which is seen below.
                process.stdin.write(json.dumps(told).encode() + b"\n")
                process.stdin.flush()
            threading.Thread(target=_watch, args=(process, over), name="rank", daemon=True).start()
        yield
    finally:
        over.set()
        for process in processes:
            _end(process)
        shutil.rmtree(meeting, ignore_errors=True)
        for name, value in before.items():  # this process may do another run, by itself
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _watch(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    """End this process some time after another one was lost, unless it has noticed by itself."""
    while process.poll() is None:
        if over.wait(0.2):
            return
    if process.returncode and not over.wait(_GRACE_SECONDS):
        print(f"Another process of this run is gone (exit code {process.returncode})", file=sys.stderr, flush=True)
        os._exit(1)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def shared(request: dict[str, Any], mode: str, folder: str, options: dict[str, Any]) -> None:
    """Take this process's part in the training of a request whose data lies on this machine."""
    from soundlora.contract.training import parse_request
    from soundlora.pipeline.inputs import TRAINING_INPUTS
    from soundlora.pipeline.train import train_request

    train_request(parse_request(request, model=TRAINING_INPUTS[mode]), folder, mode=mode, **options)


def main() -> None:
    told = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_follow, name="first", daemon=True).start()
    ignore_interrupts()  # The first process decides when all of them end.
    with wording(endpoint_words):
        shared(**told)


def _follow() -> None:
    """End with the first process."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    time.sleep(0.5)  # It may be about to end in good order.
    os._exit(1)


if __name__ == "__main__":
    main()
