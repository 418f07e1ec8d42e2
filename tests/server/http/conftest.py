"""A server without workers, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from soundlora.server.http.app import create_app
from soundlora.server.http.state import Service
from soundlora.server.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """What a test may replace to have another server."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings, executor=False)


@pytest.fixture
def service(app: FastAPI) -> Service:
    service: Service = app.state.service
    return service


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Talks to the app; an error of the server is an answer, as it is to clients."""
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        yield client
