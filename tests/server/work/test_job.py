"""What a run has at hand; here, that finished results are not lost to a storage that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from soundlora.net.storage import Storage, StorageError
from soundlora.server.endpoints import GENERATION
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome, cancelled
from soundlora.server.store.requests import Requests
from soundlora.server.work import job as module
from soundlora.server.work.job import Job, NotStoredError

LOCKED = sa.exc.OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))


class Clock:
    """Sleeping is quick, and can be interrupted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.interrupt = False

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if self.interrupt:
            raise KeyboardInterrupt
        self.slept.append(seconds)
        self.now += seconds


class Pulse:
    reason: str | None = None

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str, level: str = "INFO") -> None:
        self.lines.append(message)

    def tell_of_files(self) -> None:
        self.lines.append("files")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def job(tmp_path: Path, database: Database, requests: Requests) -> Job:
    requests.submit(GENERATION, {"prompt": "rain"}, key_id="me", file_seconds=50)
    request = requests.claim()
    assert request is not None
    settings = Settings(data_dir=tmp_path)
    job = Job(request, settings, Files(database, Storage(settings.storage)))
    pulse: Any = Pulse()
    job.pulse = pulse
    return job


def failing(*errors: Exception) -> Any:
    """Raises these, one a call, and then returns "stored"."""
    left: Iterator[Exception] = iter(errors)

    def store() -> str:
        for error in left:
            raise error
        return "stored"

    return store


def test_storing_is_tried_until_it_works(job: Job, clock: Clock) -> None:
    assert job.patiently(failing(StorageError("away"), LOCKED, OSError(28, "No space left on device"))) == "stored"
    assert clock.slept == [0.5, 1.0, 2.0]
    assert job.pulse.lines == ["The results can't be stored yet (away); trying again"]  # type: ignore[attr-defined]


def test_after_some_minutes_it_is_given_up(job: Job, clock: Clock) -> None:
    with pytest.raises(NotStoredError, match="StorageError: away"):
        job.patiently(failing(*[StorageError("away")] * 1000))
    assert module.PATIENCE_SECONDS <= clock.now < module.PATIENCE_SECONDS + 20
    assert max(clock.slept) == 15


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), ValueError("wrong")])
def test_what_no_waiting_mends_is_raised(job: Job, clock: Clock, error: Exception) -> None:
    with pytest.raises(type(error)):
        job.patiently(failing(error))
    assert clock.slept == []


@pytest.mark.parametrize(("reason", "raised"), [("cancelled", KeyboardInterrupt), ("timeout", NotStoredError)])
def test_an_interrupt_ends_the_waiting(job: Job, clock: Clock, reason: Any, raised: type[BaseException]) -> None:
    """A run whose time is over while it waits was finished in time, and is not to be called late."""
    clock.interrupt = True
    job.pulse.reason = reason
    with pytest.raises(raised):
        job.patiently(failing(StorageError("away")))


def test_a_file_is_stored_once(job: Job) -> None:
    path = job.folder / "audio.wav"
    path.write_bytes(b"12")
    first = job.publish(path, "audio", "audio/wav")
    again = Job(job.request, job.settings, job.files)
    again.pulse = job.pulse
    assert again.publish(path, "audio", "audio/wav") == first
    path.write_bytes(b"123")
    assert again.publish(path, "audio", "audio/wav")["file_size"] == 3
    rows = job.files.of_request(job.request.id)
    assert [(row.size, row.key_id) for row in rows] == [(2, "me"), (3, "me")]
    assert rows[0].expires_at is not None
    assert 40 < rows[0].expires_at - rows[0].created_at < 60


def test_the_folder_goes_after_a_success_only(job: Job) -> None:
    job.clean_up(cancelled())
    assert job.folder.exists()
    job.clean_up(Outcome(200, {}))
    assert not job.folder.exists()


def test_the_servers_folders_are_not_told(job: Job) -> None:
    assert job.public(f"can't read {job.folder}/run/x") == "can't read run/x"
