"""The request: the endpoint's defaults, ranges and loosenesses, and one plain sentence for each mistake."""

import contextlib
import hashlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundlora.contract.fields import File
from soundlora.contract.training import (
    DEFAULT_NEGATIVE_PROMPT,
    TrainingRequest,
    TrainingResult,
    billable_units,
    parse_request,
    preview_frames,
    preview_seconds,
    price,
)
from soundlora.errors import InputError

URL = {"training_data_url": "set.zip"}


def test_the_defaults_are_those_of_the_endpoint() -> None:
    assert parse_request(URL).model_dump() == {
        "training_data_url": "set.zip",
        "rank": 32,
        "number_of_steps": 2000,
        "learning_rate": 0.0002,
        "trigger_phrase": "",
        "audio_duration_seconds": 5,
        "audio_normalize": True,
        "audio_preserve_pitch": True,
        "validation": [],
        "validation_negative_prompt": DEFAULT_NEGATIVE_PROMPT,
        "validation_frame_rate": 24,
        "stg_scale": 1.0,
        "debug_dataset": False,
        "number_of_frames": 89,
        "frame_rate": 24,
        "resolution": "medium",
        "aspect_ratio": "1:1",
        "auto_scale_input": False,
        "split_input_into_scenes": True,
        "split_input_duration_threshold": 30,
        "validation_number_of_frames": 89,
        "validation_resolution": "high",
        "validation_aspect_ratio": "1:1",
    }


def test_the_negative_prompt_is_the_exact_one() -> None:
    digest = hashlib.sha256(DEFAULT_NEGATIVE_PROMPT.encode()).hexdigest()
    assert digest == "3b57a0df38897410505431c481fdc9b8e4b6e86d18b1c425a1bc26ab96067379"


def test_null_means_the_default_and_unknown_fields_are_ignored() -> None:
    nulls = dict.fromkeys(TrainingRequest.model_fields) | URL | {"seed": 7, "unheard_of": None}
    assert parse_request(nulls) == parse_request(URL)


@pytest.mark.parametrize("rank", [8, 16, 32, 64, 128])
def test_ranks_may_be_strings(rank: int) -> None:
    assert parse_request(URL | {"rank": rank}).rank == rank
    assert parse_request(URL | {"rank": str(rank)}).rank == rank


def test_video_fields_take_anything() -> None:
    loose = {"number_of_frames": "many", "resolution": 7, "auto_scale_input": [1], "frame_rate": -3}
    assert parse_request(URL | loose).number_of_frames == "many"


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("number_of_steps", 100, 20_000),
        ("learning_rate", 1e-6, 1),
        ("audio_duration_seconds", 0.5, 60),
        ("validation_frame_rate", 8, 60),
        ("stg_scale", 0, 3),
    ],
)
def test_ranges_hold_at_both_ends(field: str, low: float, high: float) -> None:
    step = 1 if isinstance(low, int) and high > 3 else 1e-9
    assert getattr(parse_request(URL | {field: low}), field) == low
    assert getattr(parse_request(URL | {field: high}), field) == high
    for value in (low - step, high + step, math.nan, math.inf, -math.inf, True):
        with pytest.raises(
            InputError, match=rf"{field} is .*, but it must be a (whole )?number from {low:g} to {high:g}\."
        ):
            parse_request(URL | {field: value})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "training_data_url is missing, but it is required."),
        ({"training_data_url": None}, "training_data_url is missing, but it is required."),
        ({"training_data_url": ""}, "training_data_url is empty, but it is required."),
        (URL | {"rank": 7}, "rank is 7, but it must be one of 8, 16, 32, 64 or 128."),
        (URL | {"rank": "high"}, "rank is 'high', but it must be one of 8, 16, 32, 64 or 128."),
        (URL | {"number_of_steps": 50}, "number_of_steps is 50, but it must be a whole number from 100 to 20000."),
        (
            URL | {"number_of_steps": 150.5},
            "number_of_steps is 150.5, but it must be a whole number from 100 to 20000.",
        ),
        (URL | {"learning_rate": "fast"}, "learning_rate is 'fast', but it must be a number from 1e-06 to 1."),
        (URL | {"trigger_phrase": 5}, "trigger_phrase is 5, but it must be text."),
        (URL | {"debug_dataset": "maybe"}, "debug_dataset is 'maybe', but it must be true or false."),
        (URL | {"validation": [{"prompt": "a"}] * 3}, "validation has 3 entries, but at most 2 are allowed."),
        (URL | {"validation": "rain"}, "validation is 'rain', but it must be a list of prompts."),
        (URL | {"validation": ["rain"]}, "validation[0] is 'rain', but it must be an object with a \"prompt\"."),
        (URL | {"validation": [{}]}, "validation[0].prompt is missing, but it is required."),
        (URL | {"validation": [{"prompt": 4}]}, "validation[0].prompt is 4, but it must be text."),
    ],
)
def test_each_mistake_has_one_plain_sentence(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_request(data)
    assert str(caught.value) == sentence


def test_the_sentence_names_what_the_user_typed() -> None:
    names = {"number_of_steps": "--steps", "training_data_url": "DATA", "validation": "--validation-prompt"}
    with pytest.raises(InputError, match=r"^--steps is 1, but"):
        parse_request(URL | {"number_of_steps": 1}, names)
    with pytest.raises(InputError, match=r"^DATA is empty"):
        parse_request({"training_data_url": ""}, names)
    with pytest.raises(InputError, match=r"^--validation-prompt has 3 entries"):
        parse_request(URL | {"validation": [{"prompt": ""}] * 3}, names)


def test_a_long_value_is_shortened_in_the_sentence() -> None:
    with pytest.raises(InputError) as caught:
        parse_request(URL | {"trigger_phrase": ["x" * 10_000]})
    assert len(str(caught.value)) < 130


def test_a_request_that_is_no_object_is_refused() -> None:
    with pytest.raises(InputError, match="must be a JSON object"):
        parse_request(["training_data_url"])  # type: ignore[arg-type]


@given(
    st.dictionaries(
        st.sampled_from(sorted(TrainingRequest.model_fields)), st.from_type(object) | st.floats() | st.text()
    )
)
def test_any_values_give_a_request_or_a_sentence(data: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        assert 100 <= parse_request(data).number_of_steps <= 20_000


def test_absent_files_of_the_result_are_null() -> None:
    result = TrainingResult(lora_file=File(url="a"), config_file=File(url="b", file_size=3)).model_dump()
    assert list(result) == ["lora_file", "config_file", "audio", "video", "debug_dataset"]
    assert result["audio"] is result["video"] is result["debug_dataset"] is None
    assert result["config_file"]["file_size"] == 3


def test_billing() -> None:
    assert billable_units(2000, succeeded=True) == 2000
    assert billable_units(20, succeeded=True) == 100
    assert billable_units(2000, succeeded=False) == 0
    assert price(2000) == 4.4
    assert price(100) == 0.22
    assert price(0) == 0


@pytest.mark.parametrize(
    ("duration", "rate", "frames"),
    [
        (5, 24, 121),
        (0.5, 8, 9),
        (0.5, 24, 9),
        (60, 60, 3601),
        (13 / 24, 24, 17),
        (12.9 / 24, 24, 9),
        (0.1, 50, 9),
        (2.1, 10, 25),
    ],
)
def test_preview_frames(duration: float, rate: int, frames: int) -> None:
    assert preview_frames(duration, rate) == frames
    assert preview_seconds(duration, rate) == frames / rate


@given(st.floats(0.5, 60), st.integers(8, 60))
def test_no_other_frame_count_is_nearer(duration: float, rate: int) -> None:
    frames = preview_frames(duration, rate)
    assert frames % 8 == 1
    for other in (frames - 8, frames + 8):
        if other >= 9:
            assert abs(frames / rate - duration) <= abs(other / rate - duration) + 1e-8
