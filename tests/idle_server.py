"""The server without workers: tests end its requests themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome

ADDRESS = "http://127.0.0.1:8420"


class IdleServer:
    """`client` asks it, `service` is what its routes have at hand."""

    def __init__(self, client: httpx2.Client, service: Service) -> None:
        self.client, self.service = client, service

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of an answer that must be well."""
        answer = self.client.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, endpoint: str = TRAINING, key_id: str = "", **more: Any) -> str:
        return self.service.requests.submit(endpoint, {"trigger_phrase": "rain"}, key_id=key_id, **more).id

    def start(self) -> str:
        """Give the next request to a worker; its token."""
        claimed = self.service.requests.claim()
        assert claimed is not None
        assert claimed.owner is not None
        return claimed.owner

    def done(self, outcome: Outcome, endpoint: str = TRAINING, key_id: str = "", **more: Any) -> str:
        """A request that ended so."""
        request_id = self.submit(endpoint, key_id, **more)
        self.service.requests.finish(request_id, self.start(), outcome)
        return request_id


@contextlib.contextmanager
def idle_server(folder: Path, **settings: Any) -> Iterator[IdleServer]:
    app = create_app(Settings(data_dir=folder, **settings), executor=False)
    with TestClient(app, base_url=ADDRESS, client=("127.0.0.1", 50000)) as client:
        yield IdleServer(client, app.state.service)
