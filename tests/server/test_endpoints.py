"""The endpoints: units, prices, and what a search finds."""

from typing import Any

import pytest
from pydantic import ValidationError

from soundlora.contract.generation import GenerationRequest
from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING, base_of, endpoints, unit_prices
from soundlora.server.settings import Settings


def test_training_bills_steps_and_generation_nothing() -> None:
    offered = endpoints(Settings())
    training = offered[TRAINING]
    request = training.input.model_validate({"training_data_url": "x", "number_of_steps": 300})
    assert (training.units(request, True), training.units(request, False)) == (300, 0)
    prices = {"t2a": 22, "audio-extend-prefix": 22, "audio-extend-suffix": 23, "audio-inpaint": 23, "a2a": 23}
    prices["ic-lora/a2a"] = 23  # ten-thousandths of a dollar a step, as hosted
    hosted = {f"fal-ai/ltx23-trainer-v2/{name}": 100_000 * price for name, price in prices.items()}
    assert unit_prices(Settings()) == hosted | {GENERATION: 0, GENERATION_WITH_LORA: 0}
    assert set(unit_prices(Settings(price_per_step=0)).values()) == {0}
    assert (training.app, offered[GENERATION_WITH_LORA].app) == ("fal-ai/ltx23-trainer-v2", "fal-ai/ltx-2.3-quality")


def test_a_base_can_be_named_where_the_operator_allows_more_than_one() -> None:
    settings = Settings(base="nano", text_encoder="/encoder", allowed_bases=("Lightricks/LTX-2.5",))
    for endpoint, needed in ((TRAINING, {"training_data_url": "x"}), (GENERATION, {"prompt": "rain"})):
        model = endpoints(settings)[endpoint].input
        assert model.model_validate(needed | {"base": "Lightricks/LTX-2.5"}).base == "Lightricks/LTX-2.5"  # type: ignore[attr-defined]
        assert model.model_validate(needed | {"base": "nano"}).base == "nano"  # type: ignore[attr-defined]
        assert model.model_validate(needed).base is None  # type: ignore[attr-defined]
        with pytest.raises(ValidationError, match=r"Input should be 'nano' or 'Lightricks/LTX-2\.5'"):
            model.model_validate(needed | {"base": "/etc/passwd"})
    assert base_of(settings, {"base": "Lightricks/LTX-2.5"}) == ("Lightricks/LTX-2.5", None)
    for payload in ({}, {"base": None}, {"base": "nano"}, {"base": "another"}, [1]):
        assert base_of(settings, payload) == ("nano", "/encoder")


def test_without_other_bases_there_is_no_such_field_and_a_folder_is_not_named() -> None:
    assert "base" not in endpoints(Settings())[TRAINING].input.model_fields
    settings = Settings(base="/weights/ltx", allowed_bases=("nano",))
    assert "/weights" not in str(endpoints(settings)[GENERATION].input.model_json_schema())


@pytest.mark.parametrize(
    ("endpoint", "payload", "summary"),
    [
        (TRAINING, {"trigger_phrase": "ZA", "validation": [{"prompt": "sea"}], "training_data_url": "u"}, "ZA sea u"),
        (TRAINING, {"training_data_url": "https://x/a/my%20clips.zip"}, "https://x/a/my%20clips.zip my clips.zip"),
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
