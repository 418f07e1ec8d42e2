"""/health and /metrics."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from idle_server import IdleServer, idle_server

from soundlora import __version__
from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.store.finish import Outcome

_SAMPLE = re.compile(r'soundlora_[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? [0-9.e+-]+')


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IdleServer]:
    with idle_server(tmp_path) as server:
        yield server


def samples(server: IdleServer) -> dict[str, float]:
    answer = server.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.endswith("\n")
    lines = answer.text.splitlines()
    for line in lines:
        assert line.startswith(("# HELP soundlora_", "# TYPE soundlora_")) or _SAMPLE.fullmatch(line), line
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name.removeprefix("soundlora_"): float(value) for name, value in pairs}


def test_an_idle_server_has_its_gauges(server: IdleServer) -> None:
    found = samples(server)

    assert found[f'queue_length{{endpoint="{TRAINING}"}}'] == 0
    assert found[f'steps_per_second{{endpoint="{TRAINING}"}}'] == 0
    assert found["webhooks_waiting"] == 0


def test_what_waits_runs_and_ended_is_counted(server: IdleServer) -> None:
    server.done(Outcome(200, {}, units=2000))
    server.done(Outcome(200, {}, units=500))
    server.done(Outcome(422, {}, error_type='quoted "type"'))
    running = server.submit()
    owner = server.start()
    server.service.requests.beat(running, owner, progress={"steps_per_second": 18.5})
    server.submit(), server.submit(), server.submit(GENERATION)

    found = samples(server)

    assert found[f'queue_length{{endpoint="{TRAINING}"}}'] == 2
    assert found[f'queue_length{{endpoint="{GENERATION}"}}'] == 1
    assert found[f'running{{endpoint="{TRAINING}"}}'] == 1
    assert found[f'steps_per_second{{endpoint="{TRAINING}"}}'] == 18.5
    assert found[f'completed_total{{endpoint="{TRAINING}",status="200",error_type=""}}'] == 2
    assert found[f'completed_total{{endpoint="{TRAINING}",status="422",error_type="quoted \\"type\\""}}'] == 1
    assert found[f'units_total{{endpoint="{TRAINING}"}}'] == 2500
    assert found[f'run_seconds_bucket{{endpoint="{TRAINING}",le="1"}}'] == 3
    assert found[f'run_seconds_bucket{{endpoint="{TRAINING}",le="+Inf"}}'] == 3
    assert found[f'run_seconds_count{{endpoint="{TRAINING}"}}'] == 3
    assert samples(server) == found


def test_metrics_want_a_key_where_there_are_keys(server: IdleServer) -> None:
    _, secret = server.service.keys.create("prometheus")
    time.sleep(1.1)  # keys are read once a second

    assert server.client.get("/metrics").status_code == 401
    assert server.client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert server.client.get("/health").json() == {"status": "ok", "version": __version__}


def test_a_server_without_its_database_is_not_healthy(server: IdleServer) -> None:
    data = server.service.settings.data_dir
    for file in data.glob("soundlora.db*"):
        file.unlink()
    data.rename(data.with_name("away"))
    # Last, as what runs in the background might open another connection before the files are gone.
    server.service.database.engine.dispose()
    try:
        answer = server.client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "no database")
        error = server.client.get("/v1/models/billing-events")
        assert (error.status_code, error.json()["error"]["type"]) == (503, "server_error")
    finally:
        data.with_name("away").rename(data)
