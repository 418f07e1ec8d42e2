"""Garbage is looked for rarely while thousands listen, and there is none to find."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from live_server import live

from soundlora.server.endpoints import TRAINING
from soundlora.server.http import serving
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome

STREAMS = 50


@pytest.fixture
def usual_collections() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def read(url: str, path: str) -> bytes:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_answers_leave_no_garbage_that_only_a_collection_finds(tmp_path: Path, usual_collections: None) -> None:
    app = create_app(Settings(data_dir=tmp_path), executor=False)
    requests = app.state.service.requests
    id = requests.submit(TRAINING, {}).id
    requests.finish(id, requests.claim().owner, Outcome(200, {}))
    with live(app) as url:
        queue = f"/fal-ai/ltx23-trainer-v2/requests/{id}/status"
        for path in (f"/v1/runs/{id}/events", f"{queue}/stream?logs=1", f"{queue}?logs=1"):
            assert b" 200 OK\r\n" in read(url, path)
            time.sleep(0.2)  # until the connection is forgotten
            gc.collect()
            gc.disable()
            for _ in range(STREAMS):
                read(url, path)
            time.sleep(0.2)
            assert gc.collect() < STREAMS
            gc.enable()


def test_full_collections_are_rare_and_leave_out_what_is_there_at_the_start(usual_collections: None) -> None:
    here: list[object] = [[]]
    serving._collect_rarely()
    assert not any(each is here for each in gc.get_objects())
    assert gc.get_threshold()[2] == 1000
