"""What workers need, and workers to start there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import claimed, found
from waiting import wait_until

from soundlora.net import remote_file
from soundlora.net.storage import Storage
from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.server.endpoints import unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.requests import Request, Requests
from soundlora.server.work import job, worker
from soundlora.server.work.process import SETTINGS_VARIABLE, WORKER
from soundlora.server.work.turn import TURN_VARIABLE
from soundlora.wording import wording


def hang_up(process: subprocess.Popen[bytes]) -> None:
    """Close the worker's standard input, which its executor holds open while it lives."""
    assert process.stdin is not None
    process.stdin.close()


class Place:
    """A database, a storage and the programs that work on them."""

    def __init__(
        self,
        folder: Path,
        *,
        storage_url: str = "",
        patience: float | None = None,
        base: str = "nano",
        allowed_bases: tuple[str, ...] = (),
        database_url: str = "",
    ) -> None:
        """patience: seconds that workers try to store results, where the usual ones are too long for a test."""
        self.settings = Settings(
            data_dir=folder,
            database_url=database_url,
            storage_url=storage_url,
            base=base,
            allowed_bases=allowed_bases,
        )
        self.database = Database(self.settings.database)
        self.database.migrate()
        self.requests = Requests(self.database, unit_prices(self.settings))
        self.files = Files(self.database, Storage(self.settings.storage))
        self.command, self.patience = WORKER, patience
        if patience is not None:
            program = f"""
import soundlora.net.remote_file as remote_file
import soundlora.server.work.job as job, soundlora.server.work.worker as worker
job.PATIENCE_SECONDS = worker._FULL_SECONDS = {patience}
remote_file._WAITS = ()
worker.main()
"""
            self.command = (sys.executable, "-c", program)

    def start(self) -> tuple[Request, subprocess.Popen[bytes]]:
        request, owner = claimed(self.requests)
        environment = os.environ | {SETTINGS_VARIABLE: self.settings.to_json(), "OMP_NUM_THREADS": "1"}
        command = [*self.command, request.id, owner]
        return request, subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)

    def stay(self, turn: Path) -> subprocess.Popen[bytes]:
        """A worker that does one request after another."""
        environment = os.environ | {SETTINGS_VARIABLE: self.settings.to_json(), "OMP_NUM_THREADS": "1"}
        environment[TURN_VARIABLE] = str(turn)
        return subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def give(self, process: subprocess.Popen[bytes]) -> Request:
        """Claim the next request, and hand it to a worker that stays."""
        request, owner = claimed(self.requests)
        assert process.stdin is not None
        process.stdin.write(f"{request.id} {owner} alone\n".encode())
        process.stdin.flush()
        return request

    def work(self, line: str = "", then: Callable[[], object] | None = None) -> Request:
        """One worker from start to end, in this process. Once the log says `line`, another thread does `then`."""
        request, owner = claimed(self.requests)
        if then is not None:
            threading.Thread(target=self._once, args=(request.id, line, then), daemon=True).start()
        with pytest.MonkeyPatch.context() as patch, wording(endpoint_words):
            if self.patience is not None:
                patch.setattr(job, "PATIENCE_SECONDS", self.patience)
                patch.setattr(worker, "_FULL_SECONDS", self.patience)
                patch.setattr(remote_file, "_WAITS", ())
            worker.work(request.id, owner, self.settings)
        return self.find(request.id)

    def _once(self, request_id: str, line: str, then: Callable[[], object]) -> None:
        wait_until(lambda: any(line in said for said in self.said(request_id)))
        then()

    def find(self, request_id: str) -> Request:
        return found(self.requests, request_id)

    def said(self, request_id: str) -> list[str]:
        return [line.message for line in self.requests.log_lines(request_id)]

    def wait_for_line(self, request_id: str, process: subprocess.Popen[bytes], text: str) -> None:
        """Until the log says it; the worker must live so long."""
        deadline = time.monotonic() + 120
        while not any(text in line for line in self.said(request_id)):
            assert time.monotonic() < deadline, self.said(request_id)
            assert process.poll() is None
            time.sleep(0.1)
