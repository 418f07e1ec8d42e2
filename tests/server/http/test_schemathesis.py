"""Calls made up from the two OpenAPI documents: no answer of 500, and every answer as it is described."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from idle_server import IdleServer
from live_server import live
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from soundlora.server.endpoints import GENERATION_WITH_LORA, TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome

pytestmark = pytest.mark.slow

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
"""An operation and kind of input; one can be given many more by hand."""

OPERATIONS = [
    ("own", "GET", "/v1/models"),
    ("own", "GET", "/v1/models/pricing"),
    ("own", "POST", "/v1/models/pricing/estimate"),
    ("own", "GET", "/v1/meta"),
    ("own", "GET", "/v1/models/requests/by-endpoint"),
    ("own", "GET", "/v1/models/requests/search"),
    ("own", "DELETE", "/v1/models/requests/{request_id}/payloads"),
    ("own", "GET", "/v1/models/billing-events"),
    ("own", "GET", "/v1/models/usage"),
    ("own", "GET", "/v1/limits"),
    ("own", "GET", "/api/openapi/queue/openapi.json"),
    ("own", "GET", "/models/{endpoint_id}/llms.txt"),
    ("own", "GET", "/.well-known/jwks.json"),
    ("own", "GET", "/health"),
    ("own", "GET", "/metrics"),
    ("own", "GET", "/v1/runs"),
    ("own", "GET", "/v1/runs/{run_id}"),
    ("own", "PATCH", "/v1/runs/{run_id}"),
    ("own", "POST", "/v1/runs/{run_id}/resume"),
    ("own", "POST", "/v1/runs/{run_id}/continue"),
    ("own", "POST", "/v1/runs/{run_id}/stop"),
    ("own", "POST", "/v1/datasets/inspect"),
    *(
        (endpoint_id, method, f"/{endpoint_id}{path}")
        for endpoint_id in (TRAINING, GENERATION_WITH_LORA)
        for method, path in (
            ("POST", ""),
            ("GET", "/requests/{request_id}"),
            ("GET", "/requests/{request_id}/status"),
            ("PUT", "/requests/{request_id}/cancel"),
        )
    ),
]
UNTRIED = {
    ("GET", "/v1/runs/{run_id}/events"),  # it does not end
    ("GET", "/v1/machine"),  # it takes nothing
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdleServer]:
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("server")), executor=False)
    with live(app) as url, httpx2.Client(base_url=url) as client:
        yield IdleServer(client, app.state.service)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def documents(server: IdleServer) -> dict[str, Any]:
    found = {"own": server.get("/openapi.json")}
    for endpoint_id in (TRAINING, GENERATION_WITH_LORA):
        found[endpoint_id] = server.get("/api/openapi/queue/openapi.json", params={"endpoint_id": endpoint_id})
    return {name: schemathesis.openapi.from_dict(document) for name, document in found.items()}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("document", "method", "path"), OPERATIONS, ids=lambda value: str(value))
def test_answers_are_as_described(
    server: IdleServer,
    session: requests.Session,
    documents: dict[str, Any],
    document: str,
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    file = {"url": "/files/a/b"}
    done = Outcome(200, {"lora_file": file, "config_file": file})
    known = server.submit(outcome=done) if document != GENERATION_WITH_LORA else server.submit(document)
    operation = documents[document][path][method]
    turns = iter(range(10**9))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        for name in {"request_id", "run_id"} & set(case.path_parameters):
            if next(turns) % 2:
                case.path_parameters[name] = known
        answer = case.call(base_url=str(server.client.base_url), session=session)
        if answer.content == b"Invalid HTTP request received.":
            return  # uvicorn's own words, about an address that is too long
        case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # nothing about the call could be wrong
        answers()


def test_every_operation_of_ours_is_tried(server: IdleServer) -> None:
    paths = server.get("/openapi.json")["paths"]
    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert described == UNTRIED | {(method, path) for document, method, path in OPERATIONS if document == "own"}
