"""A disk without room: nothing that was accepted is lost, and no half of a file is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from support import RATE, BaseNames, Cli, write_clip
from waiting import wait_until
from workplace import Place

from soundlora.server.endpoints import GENERATION
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.tables import files as table

MEBIBYTE = 1024**2
PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small file system can be mounted: {error}")
    if done.returncode:
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room; returns the file to delete for some."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def objects(disk: Path) -> list[Path]:
    return [path for path in disk.rglob("*") if path.is_file() and path.name != "ballast"]


def test_a_result_waits_for_room(disk: Path, quick_base_25: BaseNames, tmp_path: Path) -> None:
    place = Place(tmp_path / "data", storage_url=str(disk / "files"), base=quick_base_25.checkpoint)
    place.settings = replace(place.settings, lease_seconds=3)
    ballast = fill(disk)
    request = place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 25, "seed": 3})
    waiting: list[object] = []

    def make_room() -> None:
        beat = place.find(request.id).beat
        wait_until(lambda: place.find(request.id).beat > beat)
        waiting.extend([objects(disk), (place.settings.runs / request.id / "audio.wav").exists()])
        ballast.unlink()

    found = place.work("can't be stored yet", make_room)
    assert waiting == [[], True]
    assert (found.status_code, found.attempts) == (200, 1)
    (row,) = place.files.of_request(request.id)
    assert place.files.storage.size(row.key) == row.size
    assert len(objects(disk)) == 1
    place.database.close()


def test_without_room_for_long_the_request_goes_back_with_its_folder(
    disk: Path, quick_base_25: BaseNames, tmp_path: Path
) -> None:
    base = quick_base_25.checkpoint
    place = Place(tmp_path / "data", storage_url=str(disk / "files"), patience=0.5, base=base)
    ballast = fill(disk)
    request = place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 25, "seed": 3}, no_retry=True)
    given_back = place.work()
    assert (given_back.state, given_back.attempts) == ("queued", 0)
    assert "finished but could not be stored" in place.said(request.id)[-1]
    assert (place.settings.runs / request.id / "audio.wav").exists()
    assert objects(disk) == []
    ballast.unlink()
    assert place.work().status_code == 200
    place.database.close()


def test_a_run_on_a_full_disk_is_tried_again_and_then_ends_with_the_reason(
    disk: Path, quick_base_25: BaseNames, tmp_path: Path
) -> None:
    """The run's own folder is there, the database and the storage are not."""
    place = Place(tmp_path / "data", patience=0.1, base=quick_base_25.checkpoint)
    place.settings.runs.mkdir(parents=True)
    request = place.requests.submit(GENERATION, {"prompt": "rain", "loras": [{"path": "data:,x"}], "num_frames": 9})
    (disk / request.id).mkdir()
    (place.settings.runs / request.id).symlink_to(disk / request.id)
    ballast = fill(disk)
    for attempt in (1, 2):
        found = place.work()
        assert (found.state, found.attempts) == ("queued", attempt)
    ended = place.work()
    assert (ended.status_code, ended.error_type) == (503, "runner_disconnected")
    assert ended.error is not None
    assert ended.error.startswith("The server's disk is full")
    assert str(tmp_path) not in ended.error
    ballast.unlink()
    place.database.close()


@pytest.mark.parametrize("how", ["one piece", "signed", "parts"])
def test_an_upload_without_room_is_refused_and_leaves_nothing(disk: Path, tmp_path: Path, how: str) -> None:
    app = create_app(Settings(data_dir=tmp_path / "data", storage_url=str(disk / "files")), executor=False)
    service = app.state.service
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:

        def send(content: bytes) -> int:
            if how == "one piece":
                return client.post("/files/upload", content=content).status_code
            given = {"file_name": "clips.zip", "content_type": "application/zip"}
            kind = "initiate-multipart" if how == "parts" else "initiate"
            url = client.post(f"/storage/upload/{kind}", json=given).json()["upload_url"]
            if how == "signed":
                return client.put(url, content=content).status_code
            path, _, query = url.partition("?")
            return client.put(f"{path}/1?{query}", content=content).status_code

        assert send(os.urandom(3 * MEBIBYTE)) == 503
        assert objects(disk) == []
        with service.database.read() as connection:
            assert connection.execute(sa.select(table).where(table.c.size.is_not(None))).all() == []
        assert send(os.urandom(MEBIBYTE)) == 200
        assert [path.stat().st_size for path in objects(disk)] == [MEBIBYTE]


def leave(disk: Path, pages: int) -> Path:
    """Leave so many pages of room; returns the file to delete for more."""
    ballast = fill(disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - pages * PAGE)
    return ballast


@pytest.mark.parametrize("format", ["wav", "flac"])
@pytest.mark.parametrize("lacking", ["all", "its start", "its end", "half of the second"])
def test_cutting_recordings_stops_at_a_clip_and_goes_on_once_there_is_room(
    disk: Path, tmp_path: Path, soundlora: Cli, format: str, lacking: str
) -> None:
    """libsndfile says nothing when the last block of a FLAC is refused, and no more than "System error" of others."""
    samples = np.random.default_rng(0).normal(0, 0.1, 12 * RATE).clip(-0.8, 0.8)
    (tmp_path / "card").mkdir()
    write_clip(tmp_path / "card" / "rain.wav", samples, "heavy rain")
    command = ("prepare", str(tmp_path / "card"), "--format", format, "--out")
    assert soundlora(*command, str(tmp_path / "whole")).code == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    clip = -(-len(whole[f"rain_001.{format}"]) // PAGE)
    plan = -(-len(whole["prepared.json"]) // PAGE)
    room = {"all": 0, "its start": plan, "its end": plan + clip - 1, "half of the second": plan + clip + clip // 2}
    ballast = leave(disk, room[lacking])

    stopped = soundlora(*command, str(disk / "out"))

    name = {"all": "prepared.json", "half of the second": f"rain_002.{format}"}.get(lacking, f"rain_001.{format}")
    written: dict[str, set[str]] = {"all": set(), "half of the second": {"prepared.json", f"rain_001.{format}"}}
    sentence = f"{disk / 'out' / name} can't be written (No space left on device); make room on its disk."
    assert (stopped.code, stopped.err) == (1, f"soundlora: {sentence}\n")
    there = {path.name: path.read_bytes() for path in objects(disk)}
    assert there.keys() == written.get(lacking, {"prepared.json"})
    assert there.items() <= whole.items()
    ballast.unlink()
    again = soundlora(*command, str(disk / "out"))
    assert again.code == 0, again.err
    assert {path.name: path.read_bytes() for path in objects(disk)} == whole
