"""What there is and what it costs, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from idle_server import ADDRESS, IdleServer, idle_server

from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING
from soundlora.server.store.finish import Outcome

TRAININGS = [
    f"fal-ai/ltx23-trainer-v2/{name}"
    for name in ("t2a", "audio-extend-prefix", "audio-extend-suffix", "audio-inpaint", "a2a", "ic-lora/a2a")
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IdleServer]:
    with idle_server(tmp_path, price_per_step=0.003) as server:
        yield server


def ids(answer: Any) -> list[str]:
    return [model["endpoint_id"] for model in answer["models"]]


def test_all_endpoints_are_listed(server: IdleServer) -> None:
    answer = server.get("/v1/models")

    assert ids(answer) == [*TRAININGS, GENERATION, GENERATION_WITH_LORA]
    assert answer["models"][0]["metadata"]["model_url"] == f"{ADDRESS}/{TRAINING}"
    assert answer["models"][0]["openapi"] is None
    assert (answer["next_cursor"], answer["has_more"]) == (None, False)


def test_models_are_found_by_words_and_category(server: IdleServer) -> None:
    assert ids(server.get("/v1/models?q=LoRAs")) == [GENERATION_WITH_LORA]
    assert ids(server.get("/v1/models?category=training")) == TRAININGS
    assert ids(server.get("/v1/models?q=inpainting")) == ["fal-ai/ltx23-trainer-v2/audio-inpaint"]
    assert ids(server.get(f"/v1/models?endpoint_id={GENERATION}")) == [GENERATION]
    model = server.get(f"/v1/models?endpoint_id={TRAINING}&expand=openapi-3.0")["models"][0]
    assert model["openapi"] == server.get(f"/api/openapi/queue/openapi.json?endpoint_id={TRAINING}")


def test_prices_are_those_of_the_settings(server: IdleServer) -> None:
    prices = server.get("/v1/models/pricing")["prices"]

    assert prices[0] == {"endpoint_id": TRAINING, "unit_price": 0.003, "unit": "step", "currency": "USD"}
    assert [price["unit_price"] for price in prices] == [0.003] * 6 + [0, 0]
    answer = server.client.get("/v1/models/pricing?endpoint_id=fal-ai/flux")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


def estimated(server: IdleServer, kind: str, **endpoints: Any) -> Any:
    named = {TRAINING if name == "training" else GENERATION: value for name, value in endpoints.items()}
    body = {"estimate_type": kind, "endpoints": named}
    return server.client.post("/v1/models/pricing/estimate", json=body)


def test_an_estimate_by_units(server: IdleServer) -> None:
    answer = estimated(server, "unit_price", training={"unit_quantity": 2000}, generation={"unit_quantity": 5})

    assert answer.json() == {"estimate_type": "unit_price", "total_cost": 6.0, "currency": "USD"}


def test_an_estimate_by_the_past(server: IdleServer) -> None:
    nothing_yet = estimated(server, "historical_api_price", training={"call_quantity": 10})
    assert nothing_yet.status_code == 400
    assert "ask for an estimate by unit_price" in nothing_yet.json()["error"]["message"]

    for units in (1000, 2000):
        server.done(Outcome(200, {}, units=units))
    server.done(Outcome(500, {}))
    server.done(Outcome(200, {}, units=9000), key_id="somebody else")

    answer = estimated(server, "historical_api_price", training={"call_quantity": 10}, generation={"call_quantity": 1})
    assert answer.json()["total_cost"] == 45.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"{}",
        b'{"estimate_type": "guess", "endpoints": {}}',
        b'{"estimate_type": "unit_price", "endpoints": {}}',
        b'{"estimate_type": "unit_price", "endpoints": {"fal-ai/ltx23-trainer-v2/t2a": {"unit_quantity": -1}}}',
        b'{"estimate_type": "unit_price", "endpoints": {"fal-ai/ltx23-trainer-v2/t2a": {"unit_quantity": NaN}}}',
        b'{"estimate_type": "unit_price", "endpoints": {"fal-ai/ltx23-trainer-v2/t2a": {"call_quantity": 1}}}',
    ],
)
def test_a_wrong_estimate_gets_the_documented_error(server: IdleServer, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = server.client.post("/v1/models/pricing/estimate", content=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "validation_error"


@pytest.mark.parametrize("name", ["", "fal-ai/flux", f" {TRAINING}", f"{TRAINING},{GENERATION}"])
def test_an_estimate_for_what_there_is_not(server: IdleServer, name: str) -> None:
    body = {"estimate_type": "unit_price", "endpoints": {name: {"unit_quantity": 1}}}
    answer = server.client.post("/v1/models/pricing/estimate", json=body)

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


def test_meta(server: IdleServer) -> None:
    assert server.get("/v1/meta") == {"webhook_ip_ranges": []}
