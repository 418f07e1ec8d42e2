from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from soundlora.contract.conditioned import REQUESTS, InpaintRequest, audio_of
from soundlora.contract.modes import MODES
from soundlora.contract.training import TrainingRequest, parse_request
from soundlora.errors import InputError

URL = {"training_data_url": "a.zip"}


def errors(mode: str, **fields: Any) -> list[tuple[tuple[Any, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        REQUESTS[mode].model_validate(URL | fields)
    return [(error["loc"], error["type"]) for error in caught.value.errors()]


def test_every_mode_has_a_request_with_the_shared_fields_and_defaults() -> None:
    assert REQUESTS.keys() == MODES.keys()
    for request in REQUESTS.values():
        for name, field in TrainingRequest.model_fields.items():
            if name != "validation":
                assert request.model_fields[name].default == field.default, name


@pytest.mark.parametrize("mode", ["extend-prefix", "extend-suffix"])
def test_the_seconds_that_are_given_are_fewer_than_the_bucket(mode: str) -> None:
    assert REQUESTS[mode].model_validate(URL).model_dump()["conditioning_seconds"] == 1
    assert errors(mode, conditioning_seconds=5) == [(("conditioning_seconds",), "less_than")]
    assert errors(mode, audio_duration_seconds=1) == [(("conditioning_seconds",), "less_than")]
    assert errors(mode, conditioning_seconds=0) == [(("conditioning_seconds",), "greater_than")]
    assert errors(mode, conditioning_seconds=True)[0][0] == ("conditioning_seconds",)
    assert errors(mode, conditioning_seconds=9, audio_duration_seconds="x")[0][0] == ("audio_duration_seconds",)


@pytest.mark.parametrize(
    ("mode", "entry", "expected"),
    [
        ("extend-prefix", {}, (("validation", 0, "audio_url"), "missing")),
        ("inpaint", {"audio_url": "a.wav"}, (("validation", 0, "spans"), "missing")),
        ("inpaint", {"audio_url": "a.wav", "spans": []}, (("validation", 0, "spans"), "too_short")),
        ("inpaint", {"audio_url": "a.wav", "spans": [[2, 1]]}, (("validation", 0, "spans", 0), "value_error")),
        ("inpaint", {"audio_url": "a.wav", "spans": [[-1, 1]]}, (("validation", 0, "spans", 0), "value_error")),
        ("inpaint", {"audio_url": "a.wav", "spans": [[1]]}, (("validation", 0, "spans", 0), "too_short")),
        ("a2a", {"audio_url": "a.wav"}, (("validation", 0, "reference_audio_url"), "missing")),
        ("a2a", {"reference_audio_url": ""}, (("validation", 0, "reference_audio_url"), "string_too_short")),
    ],
)
def test_a_preview_says_what_is_given_of_it(mode: str, entry: dict[str, Any], expected: Any) -> None:
    assert errors(mode, validation=[{"prompt": "rain"} | entry]) == [expected]


def test_at_most_two_previews_in_every_mode() -> None:
    entry = {"prompt": "rain", "audio_url": "a.wav", "reference_audio_url": "a.wav", "spans": [[0, 1]]}
    for mode in MODES:
        assert errors(mode, validation=[entry] * 3) == [(("validation",), "too_long")]
        (first, _) = REQUESTS[mode].model_validate(URL | {"validation": [entry] * 2}).validation
        assert audio_of(first) == (None if mode == "t2a" else "a.wav")


def test_errors_become_sentences() -> None:
    def sentence(mode: str, **fields: Any) -> str:
        with pytest.raises(InputError) as caught:
            parse_request(URL | fields, model=REQUESTS[mode])
        return str(caught.value)

    assert sentence("extend-prefix", conditioning_seconds=5) == (
        "conditioning_seconds is 5, but it must be less than the bucket of 5 s."
    )
    assert sentence("a2a", condition_probability=2) == (
        "condition_probability is 2, but it must be a number from 0 to 1."
    )
    assert sentence("a2a", validation=[{"prompt": "x"}]) == (
        "validation[0].reference_audio_url is missing, but it is required."
    )
    spans = [{"prompt": "x", "audio_url": "a", "spans": [[2, 1]]}]
    assert "a list of [start, end] in seconds" in sentence("inpaint", validation=spans)


def test_a_share_of_samples_is_our_own_field_of_the_conditioned_modes_alone() -> None:
    assert InpaintRequest.model_fields["condition_probability"].default == 1
    assert "condition_probability" not in TrainingRequest.model_fields
