"""The endpoints: units, prices, and what a search finds."""

from typing import Any

import pytest

from soundlora.contract.generation import GenerationRequest
from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING, endpoints, unit_prices
from soundlora.server.settings import Settings


def test_training_bills_steps_and_generation_nothing() -> None:
    offered = endpoints(Settings())
    training = offered[TRAINING]
    request = training.input.model_validate({"training_data_url": "x", "number_of_steps": 300})
    assert (training.units(request, True), training.units(request, False)) == (300, 0)
    assert unit_prices(Settings()) == {TRAINING: 2_200_000, GENERATION: 0, GENERATION_WITH_LORA: 0}
    assert unit_prices(Settings(price_per_step=0))[TRAINING] == 0
    assert (training.app, offered[GENERATION_WITH_LORA].app) == ("fal-ai/ltx23-trainer-v2", "fal-ai/ltx-2.3-quality")


@pytest.mark.parametrize(
    ("endpoint", "payload", "summary"),
    [
        (TRAINING, {"trigger_phrase": "ZA", "validation": [{"prompt": "sea"}], "training_data_url": "u"}, "ZA sea u"),
        (TRAINING, {"training_data_url": "data:application/zip;base64,AAAA"}, ""),
        (TRAINING, {"trigger_phrase": 5, "validation": ["x", {"prompt": None}]}, ""),
        (TRAINING, [1, 2], ""),
        (GENERATION, {"prompt": "wind\0\ud800", "loras": [{"path": "a"}, "b"]}, "wind? a"),
    ],
)
def test_a_search_finds_what_people_wrote(endpoint: str, payload: Any, summary: str) -> None:
    assert endpoints(Settings())[endpoint].summary(payload) == summary


def test_fields_that_were_not_sent_are_told_from_those_that_were() -> None:
    request = GenerationRequest.model_validate({"prompt": "rain", "guidance_scale": None, "num_frames": 121})
    assert request.model_fields_set == {"prompt", "num_frames"}
    assert (request.num_inference_steps, request.guidance_scale, request.loras) == (15, 1.0, [])
