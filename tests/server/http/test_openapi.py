"""The endpoints' descriptions of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from idle_server import ADDRESS, IdleServer, idle_server

from soundlora.contract.training import TrainingRequest
from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING

ALL = (TRAINING, GENERATION, GENERATION_WITH_LORA)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IdleServer]:
    with idle_server(tmp_path) as server:
        yield server


def document(server: IdleServer, endpoint_id: str) -> Any:
    return server.get("/api/openapi/queue/openapi.json", params={"endpoint_id": endpoint_id})


@pytest.mark.parametrize("endpoint_id", ALL)
def test_the_document_has_the_documented_parts(server: IdleServer, endpoint_id: str) -> None:
    found = document(server, endpoint_id)

    assert found["openapi"] == "3.0.4"
    assert found["info"]["title"] == f"Queue OpenAPI for {endpoint_id}"
    assert found["info"]["x-fal-metadata"]["endpointId"] == endpoint_id
    assert found["components"]["securitySchemes"]["apiKeyAuth"]["name"] == "Authorization"
    request = f"/{endpoint_id}/requests/{{request_id}}"
    assert set(found["paths"]) == {f"/{endpoint_id}", request, f"{request}/status", f"{request}/cancel"}
    assert found["servers"] == [{"url": ADDRESS}]
    schemas = found["components"]["schemas"]
    name = {TRAINING: "Ltx23TrainerV2T2a", GENERATION: "Ltx23QualityTextToAudio"}.get(
        endpoint_id, "Ltx23QualityTextToAudioLora"
    )
    assert {"QueueStatus", "File", name + "Input", name + "Output"} < set(schemas)
    for schema in schemas.values():
        assert schema["x-fal-order-properties"] == list(schema["properties"])


@pytest.mark.parametrize("endpoint_id", ALL)
def test_every_reference_leads_somewhere_and_nothing_is_newer_than_3_0(server: IdleServer, endpoint_id: str) -> None:
    found = document(server, endpoint_id)

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                walk(each)
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].rpartition("/")[2] in found["components"]["schemas"]
            assert value.get("type") != "null"
            assert "const" not in value
            assert "$defs" not in value
            for each in value.values():
                walk(each)

    walk(found)


def test_the_input_is_the_trainers(server: IdleServer) -> None:
    found = document(server, TRAINING)["components"]["schemas"]["Ltx23TrainerV2T2aInput"]

    assert list(found["properties"]) == [
        *TrainingRequest.model_fields,
        "name",
        "slide_from",
        "slide_to",
        "slide_prompt",
        "preset",
        "adapter",
        "alpha",
        "rslora",
        "schedule",
        "b_rate",
        "caption_dropout",
        "preserve",
        "noise_levels",
        "shorter_durations",
        "short",
        "windows",
        "captions_from",
        "caption_template",
        "optimizer",
    ]
    assert found["required"] == ["training_data_url"]
    assert found["properties"]["rank"]["enum"] == [8, 16, 32, 64, 128]
    steps = found["properties"]["number_of_steps"]
    assert (steps["default"], steps["minimum"], steps["maximum"]) == (2000, 100, 20000)
    assert found["properties"]["validation"]["items"] == {"$ref": "#/components/schemas/ValidationPrompt"}
    file = document(server, TRAINING)["components"]["schemas"]["File"]["properties"]
    assert (file["file_size"]["type"], file["file_size"]["nullable"]) == ("integer", True)


def test_an_unknown_endpoint_has_no_document(server: IdleServer) -> None:
    assert server.client.get("/api/openapi/queue/openapi.json?endpoint_id=fal-ai/flux").status_code == 404
    assert server.client.get("/models/fal-ai/flux/llms.txt").status_code == 404


@pytest.mark.parametrize("endpoint_id", ALL)
def test_the_same_in_words(server: IdleServer, endpoint_id: str) -> None:
    answer = server.client.get(f"/models/{endpoint_id}/llms.txt")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    for part in ("## Overview", "## Pricing", "## Input Schema", "## Output Schema", "## Usage Examples"):
        assert part in answer.text
    assert f"`{ADDRESS}/{endpoint_id}`" in answer.text
    if endpoint_id == TRAINING:
        assert "$0.0022 per step" in answer.text
        steps = answer.text.partition("**`number_of_steps`**")[2].partition("- **`")[0]
        assert "Default: `2000`" in steps
        assert "Range: `100` to `20000`" in steps
    else:
        assert "free on this server" in answer.text


def test_the_servers_own_document_is_sound(server: IdleServer) -> None:
    found = server.get("/openapi.json")

    assert "/v1/models/requests/by-endpoint" in found["paths"]
    for schema in found["components"]["schemas"].values():
        jsonschema_rs.meta.validate(json.loads(json.dumps(schema)))
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            if path.startswith(("/v1/models", "/v1/meta")):
                answers = operation["responses"]
                assert answers["400"]["content"]["application/json"]["schema"] == {
                    "$ref": "#/components/schemas/PlatformError"
                }, (method, path)
    operations = [each["operationId"] for methods in found["paths"].values() for each in methods.values()]
    assert len(set(operations)) == len(operations)
