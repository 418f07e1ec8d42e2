"""A server on a port of this machine, and a worker that does what a test tells it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Request, Requests


@contextlib.contextmanager
def live(app: FastAPI) -> Iterator[str]:
    """The server's address; it has ended when the block has."""
    opened = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        app.state.service.closing = True
        server.should_exit = True
        thread.join()
        opened.close()


Work = Callable[[Request, Callable[..., bool]], Outcome]
"""Gets the request and `beat(progress=, lines=)`, which returns whether it was cancelled."""


@contextlib.contextmanager
def working(requests: Requests, work: Work) -> Iterator[None]:
    """Somebody who takes every request from the table and ends it with what `work` returns."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            request = requests.claim()
            if request is None:
                over.wait(0.02)
                continue
            id, owner = request.id, request.owner
            assert owner is not None

            def beat(id: str = id, owner: str = owner, **news: Any) -> bool:
                return requests.beat(id, owner, **news).cancel

            requests.finish(id, owner, work(request, beat))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
