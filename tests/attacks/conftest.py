"""A server without workers on each kind of database, as attackers find it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.engine import make_url
from target import Target

from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty database for the tests of one file; those on Postgres are skipped where there is none."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('database') / 'soundlora.db'}"
    found = make_url(request.getfixturevalue("postgres"))
    name = f"attacked_{uuid.uuid4().hex}"
    engine = sa.create_engine(found.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return found.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def target(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), database_url=database_url)
    app = create_app(settings, executor=False)
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000), raise_server_exceptions=False) as client:
        yield Target(app, client)
